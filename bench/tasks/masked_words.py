"""Tasks without labels: which of N words was masked. Bansal et al. (2020), SMLMT, arXiv:2009.08445.

N words of the vocabulary are drawn; for each, K + Q different sentences that hold it and none of
the other N - 1; the word is masked wherever it stands in them; and the way is which word it was
(their section 3.2). To tell the ways apart is to tell words from what is around them, as in masked
language models, but for a new few words each time: as many tasks as there are sets of words.

A word is a whole one: a token that begins a word, that no other continues, with a letter or digit
in it. It has to stand in K + Q sentences. The most frequent of such words (``common``) are left
out: what is around "the" could be around anything. Words are drawn one after the other; one whose
sentences overlap too much with those of the words before it is passed over.

The report lists no share of tasks that guessed wrong, as it does for ``instances`` and
``clusters``: ways are words, and no guess of the examples' classes.

Shapes: N ways, S sentences, T tokens, V kinds of tokens, W words.
"""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal
from weakref import WeakKeyDictionary

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Generator, Tensor
from torch.nn.utils.rnn import pad_sequence

from bench.contract import AbstractSource, AbstractTasks, AtLeastTwo, Form, Task, TaskShape
from bench.groups import draw_from
from bench.tokens import MASK, SPECIAL

TRIES = 20  # orders of the words, before their sentences are said to overlap too much


@dataclass(frozen=True, kw_only=True)
class MaskedWords(AbstractTasks):
    """Random words, each a class: sentences that hold it, with the word masked."""

    reference: ClassVar[str] = "arXiv:2009.08445"
    modalities: ClassVar[tuple[str, ...] | None] = ("text",)
    uses_labels: ClassVar[bool] = False
    common: Annotated[float, Field(ge=0, lt=1)] = 0.05  # share of the words that is left out, the
    # most frequent first; of CLINC150 about 40 words, those in more than 3 % of its sentences
    ways: AtLeastTwo | None = None
    shots: PositiveInt | Literal["match"] | None = None
    queries: NonNegativeInt | None = None

    def examples_needed(self, shape: TaskShape) -> int:
        """Each is of one word, and drawn once."""
        return shape.num_support + shape.num_queries

    def sample(self, source: AbstractSource, shape: TaskShape, rng: Generator) -> Task:
        """Draw words until each has sentences of its own, then sentences, and mask the words.

        Raises:
            ValueError: too few words stand in enough sentences.
        """
        lines, least = _lines_of(source), shape.shots + shape.queries
        words_W = lines.frequent(least, self.common)
        for _ in range(TRIES):
            order = torch.randperm(len(words_W), generator=rng, device=words_W.device)
            words_N = lines.apart(words_W[order], shape.ways, least)
            if len(words_N) == shape.ways:
                break
        else:
            raise ValueError(_too_few(len(words_W), shape, source))
        members_NM = pad_sequence(lines.own(words_N), batch_first=True, padding_value=-1)
        task = draw_from(members_NM, source, shape, rng)
        assert task.classes is not None
        hidden_N = words_N[task.classes]
        return replace(
            task,
            support_x=lines.masked(task.support_x, hidden_N[task.support_y]),
            query_x=lines.masked(task.query_x, hidden_N[task.query_y]),
            classes=None,  # of all words, and what is asked is to tell a task's few
        )


def _too_few(words: int, shape: TaskShape, source: AbstractSource) -> str:
    found = f"{words} words stand in {shape.shots + shape.queries} of {source.num_examples}"
    works = "lower shots or queries of tasks"
    if words < shape.ways:
        return f"masked_words: only {found} sentences, of {shape.ways} ways: {works}, or ways"
    return f"masked_words: {found} sentences, but no {shape.ways} apart from each other: {works}"


@dataclass(frozen=True, kw_only=True)
class _Lines:
    """Which sentences hold each word.

    ``sentence_P`` has the sentences of word 0, then of word 1, ...: those of word w begin at
    ``first_V[w]``, and are ``count_V[w]``. ``piece_V``: which tokens continue a word.
    """

    sentence_P: Tensor
    first_V: list[int]
    count_V: Tensor
    piece_V: Tensor
    total: int

    def frequent(self, least: int, common: float) -> Tensor:
        """Return words [W] in at least so many sentences, the most frequent first, left out."""
        count_V, word_V = self.count_V.sort(descending=True, stable=True)
        enough = int((count_V >= least).sum())
        return word_V[round(common * enough) : enough]

    def apart(self, drawn_W: Tensor, ways: int, least: int) -> Tensor:
        """Return the first so many of the drawn words that leave each other enough sentences.

        One after the other is kept, unless it leaves one of those kept, or itself, fewer than
        ``least`` of its own.
        """
        kept = drawn_W[:ways]
        if len(kept) < ways or min(map(len, self.own(kept))) >= least:
            return kept  # as one after the other would have it: what is own only shrinks
        kept = drawn_W[:0]
        for place in range(len(drawn_W)):
            more = torch.cat([kept, drawn_W[place : place + 1]])
            if min(map(len, self.own(more))) >= least:
                kept = more
            if len(kept) == ways:
                break
        return kept

    def own(self, words_N: Tensor) -> list[Tensor]:
        """Return the sentences of each word that hold none of the others."""
        each = [self.sentence_P[self.first_V[w] : self.first_V[w + 1]] for w in words_N.tolist()]
        held_S = torch.bincount(torch.cat(each), minlength=self.total)
        return [sentences[held_S[sentences] == 1] for sentences in each]

    def masked(self, x_BT: Tensor, word_B: Tensor) -> Tensor:
        """Put a mask wherever its word stands whole in a sentence."""
        found_BT = (x_BT == word_B.unsqueeze(1)) & ~_continued(x_BT, self.piece_V)
        return x_BT.masked_fill(found_BT, MASK)


_KNOWN: WeakKeyDictionary[AbstractSource, _Lines] = WeakKeyDictionary()
"""What follows from a source and takes a while to gather, kept as long as the source is."""


def _lines_of(source: AbstractSource) -> _Lines:
    if source not in _KNOWN:
        every = torch.arange(source.num_examples, device=source.device)
        _KNOWN[source] = _gathered(source.examples(every), source.form)
    return _KNOWN[source]


def _gathered(x_ST: Tensor, form: Form) -> _Lines:
    """Find the whole words of every sentence."""
    piece_V = torch.tensor([one.startswith("##") for one in form.vocabulary], device=x_ST.device)
    letters = [any(map(str.isalnum, one)) for one in form.vocabulary]
    word_V = torch.tensor(letters, device=x_ST.device) & ~piece_V
    word_V[: len(SPECIAL)] = False
    sentence_P, place_P = (word_V[x_ST] & ~_continued(x_ST, piece_V)).nonzero(as_tuple=True)
    pairs_P = torch.unique(x_ST[sentence_P, place_P] * len(x_ST) + sentence_P)  # sorted, by word
    count_V = torch.bincount(pairs_P // len(x_ST), minlength=len(word_V))
    return _Lines(
        sentence_P=pairs_P % len(x_ST),
        first_V=[0, *count_V.cumsum(0).tolist()],
        count_V=count_V,
        piece_V=piece_V,
        total=len(x_ST),
    )


def _continued(x_BT: Tensor, piece_V: Tensor) -> Tensor:
    """Say of each token whether the one after it continues the word."""
    after_BT = piece_V[x_BT[:, 1:]]
    return torch.cat([after_BT, torch.zeros_like(after_BT[:, :1])], dim=1)
