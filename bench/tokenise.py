"""Sentences to ids of tokens, by a vocabulary that is built on the training classes alone.

Words are split at spaces and punctuation (as BERT's are), after Unicode's normal form NFKC and
lower case, and then into the longest pieces that the vocabulary holds, where pieces that continue a
word are written ``##piece``: WordPiece (Schuster and Nakajima 2012,
doi:10.1109/ICASSP.2012.6289079), by the library tokenizers, whose trainer merges the most frequent
pairs. A class that is not seen in training has words of its own, and pieces keep what whole words
would lose: of the words of CLINC150's test classes 5.2 % are not among the 4,000 most frequent ones
of its training classes, and 37 % of the sentences hold such a word; of 4,000 pieces none is
unknown, and words of the test classes are 10 % continuing pieces.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from bench.contract import AtLeastTwo, Examples
from bench.tokens import PAD, SPECIAL, UNKNOWN

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.normalizers import Normalizer
    from tokenizers.pre_tokenizers import PreTokenizer

Vocabulary = Annotated[int, Field(ge=100)]  # how many tokens at most, the special ones included
Length = AtLeastTwo  # tokens that are kept of a sentence
PIECE = "##"  # before a piece that continues a word
LEAST = 2  # times a pair has to stand in the training classes, or it is no evidence of a piece


def tokenised(
    sentences: Mapping[str, Sequence[str]],
    splits: Mapping[str, tuple[str, ...]],
    *,
    vocabulary: int,
    length: int,
    notes: Iterable[str] = (),
) -> Examples:
    """Return sentences of each class as ids [N, length] int32, padded at the end, cut there.

    The vocabulary is that of the classes of ``splits["train"]``, whatever the order of these and
    of their sentences.
    """
    training = [one for name in splits["train"] for one in sentences[name]]
    tokenizer = _built(training, vocabulary)
    names = tokenizer.get_vocab()
    arrays, cut = {}, 0
    for name, each in sentences.items():
        found = [tokenizer.encode(one).ids or [UNKNOWN] for one in each]
        cut += sum(len(ids) > length for ids in found)
        arrays[name] = np.full((len(found), length), PAD, np.int32)
        for row, ids in zip(arrays[name], found, strict=True):
            row[: len(ids)] = ids[:length]
    total = sum(map(len, sentences.values()))
    said = [f"{cut:,} of {total:,} sentences hold more than {length} tokens and are cut there"]
    return Examples(
        arrays=arrays,
        splits=splits,
        vocabulary=tuple(sorted(names, key=names.__getitem__)),
        notes=(*notes, *(said if cut else ())),
    )


def _built(sentences: Iterable[str], size: int) -> "Tokenizer":
    """Return a tokenizer of at most ``size`` tokens: special ones, characters, then pieces.

    The library numbers characters in the order of a hash table that is another in each process,
    and breaks ties between pairs by these numbers. Named as special tokens, they come in order.
    """
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.trainers import WordPieceTrainer

    words = _words(sentences)
    characters = _characters(words, size // 4)  # each both begins and continues: half of all
    known = sorted(word for word in words if characters.issuperset(word))
    single = sorted(characters)
    trainer = WordPieceTrainer(
        vocab_size=size,
        min_frequency=LEAST,
        special_tokens=[*SPECIAL, *single, *(PIECE + one for one in single)],
        show_progress=False,
    )
    bare = Tokenizer(WordPiece(unk_token=SPECIAL[UNKNOWN]))
    bare.pre_tokenizer = WhitespaceSplit()
    bare.train_from_iterator((" ".join([word] * words[word]) for word in known), trainer)
    whole = Tokenizer(WordPiece(bare.get_vocab(), unk_token=SPECIAL[UNKNOWN]))
    whole.normalizer, whole.pre_tokenizer = _rules()
    return whole


def _words(sentences: Iterable[str]) -> Counter[str]:
    """Return how often each word stands in the sentences."""
    normal, split = _rules()
    return Counter(
        word for one in sentences for word, _ in split.pre_tokenize_str(normal.normalize_str(one))
    )


def _rules() -> tuple["Normalizer", "PreTokenizer"]:
    """Return what makes a sentence plain, and what cuts it into words."""
    from tokenizers.normalizers import NFKC, Lowercase, Replace, Sequence
    from tokenizers.pre_tokenizers import BertPreTokenizer

    return Sequence([NFKC(), Replace("’", "'"), Lowercase()]), BertPreTokenizer()


def _characters(words: Mapping[str, int], most: int) -> set[str]:
    """Return the most frequent characters; of equally frequent ones, the first in Unicode."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for one in word:
            counts[one] += count
    return set(sorted(counts, key=lambda one: (-counts[one], one))[:most])
