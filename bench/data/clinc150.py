"""CLINC150: what people ask an assistant for, 150 intents of 150 sentences."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench.contract import AbstractData, Examples
from bench.dataset import stamp
from bench.errors import UserError
from bench.splits import by_hash
from bench.tokenise import Length, Vocabulary, tokenised

FOLDER, FILE = "clinc150", "data_full.json"
PARTS = ("train", "val", "test")  # of each intent, in the file
OUTSIDE = tuple(f"oos_{part}" for part in PARTS)
INTENTS, EACH = 150, 150
DIGEST = "e01e197547b2d49b28214bfb979898b7507a359c7cf249814839cb5257003892"
TWICE = (  # what they say is in the docstring of the class
    "03d788486b3ced61423cc1b3a65bd542e049bb977508b5e35b0b593c84d3b137",
    "334fc69b91e27f4c051d300a73fb396536ad170b72938bb397cb866df17d9aad",
    "e2104affbf48b54479549592ba6f1bdcd9cb9e24c3164d48981a5c153015843f",
)
SITE = "https://github.com/clinc/oos-eval"


@dataclass(frozen=True, kw_only=True)
class Clinc150(AbstractData):
    """CLINC150 (Larson et al. 2019): 96, 24 and 30 intents of 150 sentences each.

    The authors split the sentences of each intent in train, val and test; here they are put
    together, and the intents split by the hash of their names, since a few-shot test is of classes
    that training has not seen. Their sentences of no intent are left out. It is found below the
    root folder in ``clinc150/data_full.json``.

    Four sentences stand under two intents: "what's your designation", "where did you grow up" and
    "turn up your volume" in two splits, "what is on my to do list" twice in train. They are left.
    """

    reference: ClassVar[str] = "arXiv:1909.02027"
    modality: ClassVar[str] = "text"
    encoder: ClassVar[str] = "transformer"
    augment: ClassVar[str] = "word_dropout"
    vocabulary: Vocabulary = 4000
    length: Length = 24  # tokens; 99 % of the sentences have at most 21

    @property
    def digest(self) -> str | None:  # type: ignore[override]  # here it follows from the tokens
        """What the set hashes to when it is cut into tokens by default."""
        return DIGEST if self == Clinc150() else None

    @property
    def known_duplicates(self) -> tuple[str, ...]:  # type: ignore[override]  # and so do these
        """The sentences that stand in two splits, by default as they are cut into tokens."""
        return TWICE if self == Clinc150() else ()

    def read(self, root: Path | None) -> Examples:
        """Read all 22,500 sentences."""
        file = _found(root)
        sentences, outside = _read(file)
        return tokenised(
            sentences,
            by_hash(sentences),
            vocabulary=self.vocabulary,
            length=self.length,
            notes=[f"{outside:,} sentences of no intent (out of scope) are left out"],
        )

    def fingerprint(self, root: Path | None) -> str:
        """Return the hash of the names, sizes and times of what is in its folder."""
        return stamp(_found(root).parent)


def _found(root: Path | None) -> Path:
    file = (root or Path()) / FOLDER / FILE
    if root is None or not file.is_file():
        found = f"no file {file}" if root else "no root folder is set"
        where = str(root) if root else "the folder that --data or $BENCH_DATA names"
        raise UserError("data clinc150", found, _fetch(f"{where}/{FOLDER}/{FILE}"))
    return file


def _read(file: Path) -> tuple[Mapping[str, list[str]], int]:
    """Return the sentences of each intent, and how many there are of none."""
    where = f"data clinc150: {file}"
    try:
        content = json.loads(file.read_bytes())
        sentences: dict[str, list[str]] = {}
        for part in PARTS:
            for sentence, intent in content[part]:
                sentences.setdefault(str(intent), []).append(str(sentence))
        outside = sum(len(content[part]) for part in OUTSIDE)
    except (ValueError, KeyError, TypeError) as error:
        found = f"it is not the file of the set ({type(error).__name__}: {error})"
        raise UserError(where, found, _fetch(str(file))) from error
    sizes = sorted({len(each) for each in sentences.values()})
    if len(sentences) != INTENTS or sizes != [EACH]:
        found = f"{len(sentences)} intents of {' or '.join(map(str, sizes)) or 'no'} sentences"
        raise UserError(where, found, f"It has {INTENTS} of {EACH}. {_fetch(str(file))}")
    return dict(sorted(sentences.items())), outside


def _fetch(place: str) -> str:
    return f"Fetch data/data_full.json of {SITE} (CC BY 3.0) and put it at {place}."
