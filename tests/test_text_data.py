"""Sets of sentences: CLINC150, a user's CSV, how both are cut into tokens, and every mistake."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.data.clinc150 import Clinc150
from bench.data.text_csv import TextCsv
from bench.dataset import open_dataset
from bench.errors import UserError
from bench.splits import by_hash
from bench.tokenise import tokenised
from bench.tokens import SPECIAL, UNKNOWN

TOPICS = ["weather", "music", "travel", "cooking", "sport", "money"]
SPLITS = {"train": ("a", "b"), "val": ("c",), "test": ("d",)}


def sentences(topic: str, count: int = 4) -> list[str]:
    """Return sentences of a topic."""
    return [f"Tell me {'more ' * n}about the {topic}, please!" for n in range(count)]


def write(folder: Path, lines: list[str], *, encoding: str = "utf-8", name: str = "a.csv") -> Path:
    """Write a file of lines."""
    file = folder / name
    file.write_bytes("\n".join(lines).encode(encoding))
    return file


def rows(*header: str) -> list[str]:
    """Return a good file, by topics."""
    lines = [f'"{one}",{topic}' for topic in TOPICS for one in sentences(topic)]
    return [",".join(header or ("text", "label")), *lines]


def spelled(ids: np.ndarray, vocabulary: tuple[str, ...]) -> str:
    """Return tokens in words, padding left out."""
    return " ".join(vocabulary[one] for one in ids if one)


def refusal(source: TextCsv | Clinc150, root: Path | None = None) -> str:
    """Return the message of the error that reading raises."""
    with pytest.raises(UserError) as caught:
        source.read(root)
    return str(caught.value)


# --- tokens ---------------------------------------------------------------------------------


def test_only_training_classes_make_the_vocabulary() -> None:
    """Words of other classes are spelled in pieces, and change no token."""
    texts = {"a": ["rain rain rain"] * 3, "b": ["snow falls"] * 3, "c": ["rains"], "d": ["snowing"]}
    examples = tokenised(texts, SPLITS, vocabulary=100, length=9)
    other = texts | {"c": ["thunder thunder thunder"], "d": ["ice ice ice ice"] * 4}
    again = tokenised(other, SPLITS, vocabulary=100, length=9)
    assert examples.vocabulary == again.vocabulary
    assert examples.vocabulary[:4] == SPECIAL
    assert {"rain", "snow", "falls"} < set(examples.vocabulary)
    assert spelled(examples.arrays["c"][0], examples.vocabulary) == "rain ##s"
    assert examples.arrays["d"][0].tolist() == [UNKNOWN] + [0] * 8  # no training word has a g
    assert spelled(again.arrays["c"][0], again.vocabulary).startswith("[UNK]")


def test_sentences_are_plain_padded_and_cut() -> None:
    """Case, typographic quotes and forms of letters go; long sentences are cut, and counted."""
    texts = {name: ["It’s ﬁne", "it's fine , it's fine"] for name in "abcd"}
    examples = tokenised(texts, SPLITS, vocabulary=100, length=5, notes=["said before"])
    short, long = examples.arrays["a"]
    assert examples.arrays["a"].dtype == np.int32
    assert spelled(short, examples.vocabulary) == "it ' s fine"
    assert short[4] == 0
    assert spelled(long, examples.vocabulary) == "it ' s fine ,"
    assert examples.notes == (
        "said before",
        "4 of 8 sentences hold more than 5 tokens and are cut there",
    )


def test_a_vocabulary_is_as_large_as_asked() -> None:
    """More characters than fit are unknown, the rarest first; so are sentences of such alone."""
    common = "abcdefghijklmnopqrstuvwxy"
    rare = "".join(chr(0x4E00 + n) for n in range(200))
    texts = {"a": [common] * 3, "b": [rare, " ".join(rare)], "c": [rare], "d": ["\x00"]}
    examples = tokenised(texts, SPLITS, vocabulary=100, length=5)
    assert len(examples.vocabulary) <= 100
    assert set(common) < set(examples.vocabulary)
    assert examples.arrays["c"][0].tolist() == [UNKNOWN, 0, 0, 0, 0]
    assert examples.arrays["d"][0][0] == UNKNOWN


SCRIPT = """
import hashlib, json, sys
import numpy as np
from bench.tokenise import tokenised
rng = np.random.default_rng(5)
letters = list("abcdefghijklmnopqrstuvwxyz'")
words = ["".join(rng.choice(letters, rng.integers(2, 9))) for _ in range(900)]
texts = {name: [" ".join(rng.choice(words, 8)) for _ in range(150)] for name in "abcd"}
order = np.random.default_rng(int(sys.argv[1]))
names = order.permutation(list(texts))
texts = {name: [texts[name][n] for n in order.permutation(150)] for name in names}
splits = {"train": tuple(order.permutation(["a", "b"])), "val": ("c",), "test": ("d",)}
made = tokenised(texts, splits, vocabulary=600, length=30)
rows = {name: sorted(array.tolist()) for name, array in sorted(made.arrays.items())}
print(hashlib.sha256(json.dumps([made.vocabulary, rows]).encode()).hexdigest())
"""


def test_the_vocabulary_is_one_in_every_process() -> None:
    """Six processes, of one and two threads, with classes and sentences in other orders, agree."""
    found = set()
    for number in range(6):
        environment = os.environ | {"RAYON_NUM_THREADS": str(1 + number % 2)}
        environment |= {"TOKENIZERS_PARALLELISM": ("true", "false")[number // 3]}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(number)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout)
    assert len(found) == 1


# --- CLINC150 -------------------------------------------------------------------------------


def test_clinc150_is_whole(real_data: Path) -> None:
    """150 intents of 150 sentences, the digest that is known, and what was left out."""
    if not (real_data / "clinc150").is_dir():
        pytest.skip("CLINC150 is not there")
    dataset = open_dataset(Clinc150(), "clinc150", real_data)
    assert {split: len(names) for split, names in dataset.splits.items()} == {
        "train": 96,
        "val": 24,
        "test": 30,
    }
    assert dataset.counts == (150,) * 150
    assert (dataset.form.shape, len(dataset.form.vocabulary)) == ((24,), 4000)
    assert dataset.notes == (
        "1,200 sentences of no intent (out of scope) are left out",
        "50 of 22,500 sentences hold more than 24 tokens and are cut there",
    )
    assert not (dataset.part("test").examples == UNKNOWN).any()


def clinc(folder: Path, content: object) -> str:
    """Return why a file that holds this is no CLINC150."""
    (folder / "clinc150").mkdir(exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "clinc150" / "data_full.json").write_text(text)
    return refusal(Clinc150(), folder)


def test_what_is_no_clinc150_is_refused(tmp_path: Path) -> None:
    """A file that is missing, damaged, of another set or not whole, says what to fetch."""
    fetch = "Fetch data/data_full.json of https://github.com/clinc/oos-eval"
    assert f"no file {tmp_path}/clinc150/data_full.json. {fetch}" in refusal(Clinc150(), tmp_path)
    assert "no root folder is set" in refusal(Clinc150())
    assert f"put it at {tmp_path}/clinc150" in clinc(tmp_path, "{")
    assert "it is not the file of the set (JSONDecodeError" in clinc(tmp_path, "{")
    assert "it is not the file of the set (KeyError: 'train')" in clinc(tmp_path, {"data": []})
    parts: dict[str, list[list[str]]] = {
        name + part: [] for part in ("train", "val", "test") for name in ("", "oos_")
    }
    assert "0 intents" in clinc(tmp_path, parts)
    parts["train"] = [["how are you", "greeting"]] * 3 + [["bye", "goodbye"]]
    assert "2 intents of 1 or 3 sentences. It has 150 of 150" in clinc(tmp_path, parts)
    assert "it is not the file of the set" in clinc(tmp_path, parts | {"val": [["a", "b", "c"]]})


# --- a user's CSV ---------------------------------------------------------------------------


def test_rows_become_classes_split_by_hash(tmp_path: Path) -> None:
    """Every row is an example of its label; quotes, blank lines and Windows' marks do no harm."""
    lines = rows()
    lines[3:3] = ["", '"two', 'lines ""quoted""",weather']
    write(tmp_path, lines, encoding="utf-8-sig")
    dataset = open_dataset(TextCsv(path="a.csv"), "text_csv", tmp_path)
    assert dict(zip(dataset.classes, dataset.counts, strict=True)) == {
        topic: 4 + (topic == "weather") for topic in TOPICS
    }
    expected = by_hash(TOPICS)
    assert dataset.splits == {split: tuple(sorted(expected[split])) for split in expected}
    assert dataset.form.modality == "text"
    texts = {spelled(one, dataset.form.vocabulary) for one in dataset.examples}
    assert len(texts) == 25


def test_columns_go_by_their_names(tmp_path: Path) -> None:
    """Any order, any names, any further columns, and another delimiter."""
    lines = ["id;intent;utterance"]
    lines += [f"{n};{topic};{one}" for topic in TOPICS for n, one in enumerate(sentences(topic))]
    file = write(tmp_path, lines)
    source = TextCsv(path=str(file), text="utterance", label="intent", delimiter=";")
    assert {name: len(each) for name, each in source.read(None).arrays.items()} == {
        topic: 4 for topic in sorted(TOPICS)
    }


def domains(**of: str) -> list[str]:
    """Return a file with a split for each topic."""
    lines = [f'"{one}",{topic},{of[topic]}' for topic in of for one in sentences(topic)]
    return ["text,label,part", *lines]


def test_a_column_can_say_the_split(tmp_path: Path) -> None:
    """One domain is trained on and another tested, as the rows say."""
    lines = domains(weather="test", music="train", travel="train", cooking="val", sport="test")
    write(tmp_path, lines)
    source = TextCsv(path="a.csv", split="part")
    assert source.read(tmp_path).splits == {
        "train": ("music", "travel"),
        "val": ("cooking",),
        "test": ("sport", "weather"),
    }
    write(tmp_path, [*lines, "rain,weather,train"])
    assert "a.csv:22: class 'weather' is in train, and on line 2 in test" in refusal(
        source, tmp_path
    )
    write(tmp_path, [*lines, "rain,weather,tset"])
    assert "a.csv:22: the split is 'tset'. Did you mean test?" in refusal(source, tmp_path)
    write(tmp_path, domains(weather="test", music="train", travel="train"))
    assert "no row says val" in refusal(source, tmp_path)


GOOD = rows()
MISTAKES = {
    "empty text": ([*GOOD, "  ,weather"], r"a.csv:26: the text is empty. Fill it in"),
    "empty label": ([*GOOD, "rain,"], r"a.csv:26: the label is empty"),
    "one example": (
        [*GOOD[:5], "rain,wether", *GOOD[5:]],
        r"a.csv:6: class 'wether' has one example",
    ),
    "ragged": ([*GOOD, "rain, and snow,weather"], r"a.csv:26: 3 values, under a header of 2"),
    "header": (
        rows("Text", "label"),
        r"a.csv:1: no columns are called 'text': the header is 'Text,label'. .*text, label",
    ),
    "near": (rows("text", "lable"), r"called 'label': the header is 'text,lable'. Did you mean"),
    "twice": (rows("text", "label,label"), r"a.csv:1: 2 columns are called 'label'"),
    "no header": (GOOD[1:], r"a.csv:1: no columns are called 'text': the header is 'Tell me "),
    "other delimiter": (
        [one.replace(",", ";") for one in GOOD],
        r"a.csv:1: no columns are called 'text': the header is 'text;label'",
    ),
    "open quote": ([*GOOD, '"rain,weather'], r"a.csv:26: it is not CSV \(unexpected end of data"),
    "few": (GOOD[:9], r"a.csv: 2 classes. At least three are needed"),
    "empty": ([], r"a.csv:1: the file is empty. Its first line names the columns"),
    "header alone": (GOOD[:1], r"a.csv: 0 classes"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_by_file_and_line(tmp_path: Path, name: str) -> None:
    """Each mistake in a file is one error that says where, what, and what would work."""
    lines, pattern = MISTAKES[name]
    write(tmp_path, lines)
    with pytest.raises(UserError, match=pattern):
        TextCsv(path="a.csv").read(tmp_path)


def test_another_encoding_is_told_by_its_first_byte(tmp_path: Path) -> None:
    """A file that is not UTF-8 names the line of the first byte that shows it."""
    write(tmp_path, [*rows(), "über allen gipfeln,weather"], encoding="latin-1")
    assert "a.csv:26: the byte 0xfc is not UTF-8. Save the file as UTF-8." in refusal(
        TextCsv(path="a.csv"), tmp_path
    )


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The whole path is told, for reading and for the fingerprint."""
    source = TextCsv(path="b.csv")
    assert f"no file {tmp_path}/b.csv" in refusal(source, tmp_path)
    with pytest.raises(UserError, match=r"b\.csv"):
        source.fingerprint(tmp_path)


def test_a_changed_file_has_another_fingerprint(tmp_path: Path) -> None:
    """More rows, or later ones, are seen without reading them."""
    file = write(tmp_path, rows())
    source = TextCsv(path="a.csv")
    first = source.fingerprint(tmp_path)
    assert source.fingerprint(tmp_path) == first
    os.utime(file, ns=(1, 1))
    assert source.fingerprint(tmp_path) != first
