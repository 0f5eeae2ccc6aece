"""Text against loops over words that share no code with bench.

Shapes: B sentences, T tokens, V kinds of tokens, D features, H heads, K features of a head.
"""

from collections.abc import Iterator
from math import erf, exp, log, sqrt

import numpy as np
import pytest
import torch
from torch import Generator, Tensor
from torch.func import grad, vmap

from bench.augment.word_dropout import WordDropout
from bench.contract import AbstractNetwork, AbstractSource, Form, TaskShape, Tensors
from bench.encoder.transformer import Transformer
from bench.pretext.masked_word import MaskedWord
from bench.pretext.next_word import NextWord, prefix
from bench.pretext.text_simclr import TextSimclr
from bench.stages.network import Network
from bench.tasks.masked_words import MaskedWords
from bench.tokens import SPECIAL

Floats = np.ndarray
PAD, UNKNOWN, MASK, START = range(4)
WORDS = (
    "[PAD]",
    "[UNK]",
    "[MASK]",
    "[START]",
    *["the", "of", "cat", "dog", "bird", "sun", "run", "##ning", "##s", ",", "sea"],
)
FORM = Form(shape=(7,), modality="text", vocabulary=WORDS)
D = 5


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """Compute in float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def rng(seed: int = 11) -> Generator:
    """Return a generator that starts from a seed."""
    return Generator().manual_seed(seed)


def ids(*sentences: str) -> Tensor:
    """Return sentences of words of the vocabulary, padded; other words are unknown."""
    rows = []
    for one in sentences:
        row = [WORDS.index(word) if word in WORDS else UNKNOWN for word in one.split()]
        rows.append(row + [PAD] * (FORM.shape[0] - len(row)))
    return torch.tensor(rows)


SENTENCES = ids(
    "the cat run ##ning , dog",
    "dog",
    "sun of the sea bird cat dog",
    "mystery riddle",
    "mystery sea sun",
)


class Bag(AbstractNetwork):
    """The sum of a vector for each token and place; remembers what it was shown."""

    def __init__(self, outputs: int) -> None:
        """Draw the weights."""
        draws = rng(5)
        self.table = torch.randn(FORM.shape[0], len(WORDS), D, generator=draws)
        self.top = torch.randn(D, outputs, generator=draws)
        self.shown: list[Tensor] = []
        self.dropped: list[float] = []

    def encode(self, x: Tensor, *, dropout: float = 0.0) -> Tensor:
        """Return sums, made a little different by dropout."""
        self.shown.append(x)
        self.dropped.append(dropout)
        places = torch.arange(x.shape[1])
        change = torch.linspace(1, 1 + dropout, len(x)).unsqueeze(1)
        return self.table[places, x].sum(1) * change

    def head(self, z_BD: Tensor, child: str | None = None) -> Tensor:
        """Return linear scores."""
        assert child is None
        return z_BD @ self.top

    def augment(self, x: Tensor, rng: Generator) -> Tensor:
        """Refuse: no pretext of text asks for views."""
        raise PermissionError

    @property
    def params(self) -> Tensors:
        """Return nothing: the loss alone is looked at."""
        return {}

    def using(self, params: Tensors) -> AbstractNetwork:
        """Return itself: it has nothing to replace."""
        return self

    def scores(self, sentence: list[int]) -> list[float]:
        """Encode one sentence and apply the head, in loops."""
        z = [sum(float(self.table[t, w, d]) for t, w in enumerate(sentence)) for d in range(D)]
        return [
            sum(z[d] * float(self.top[d, v]) for d in range(D)) for v in range(self.top.shape[1])
        ]


def surprise(scores: list[float], right: int) -> float:
    """Return minus the log of the probability of the right answer."""
    highest = max(scores)
    return log(sum(exp(one - highest) for one in scores)) + highest - scores[right]


# --- pretexts -------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.15, 0.4, 0.9])
def test_masked_words_are_predicted_as_a_bag(ratio: float) -> None:
    """The loss is the mean over sentences of the mean surprise at the words that were masked."""
    net = Bag(len(WORDS))
    loss, _ = MaskedWord(ratio=ratio).loss(net, {}, SENTENCES, rng())
    (shown,) = net.shown
    expected = []
    for before, after in zip(SENTENCES.tolist(), shown.tolist(), strict=True):
        hidden = [t for t in range(7) if before[t] != after[t]]
        assert all(after[t] == MASK and before[t] > START for t in hidden)
        words = sum(one > START for one in before)
        wanted = min(max(round(ratio * words), 1), max(words - 1, 1)) if words else 0
        assert len(hidden) == wanted
        if hidden:
            scores = net.scores(after)
            expected.append(sum(surprise(scores, before[t]) for t in hidden) / len(hidden))
    assert len(expected) == 4  # one sentence holds no known word
    assert float(loss) == pytest.approx(sum(expected) / 4, rel=1e-10)


def test_every_word_is_masked_as_often() -> None:
    """Of a sentence of six words each is masked in about two of five draws, and with any other."""
    x_BT = SENTENCES[:1].expand(6000, -1)
    masked_BT = MaskedWord(ratio=0.4).mask(x_BT, rng())
    assert set(masked_BT.sum(1).tolist()) == {2}
    assert masked_BT.double().mean(0).tolist() == pytest.approx([1 / 3] * 6 + [0], abs=0.02)
    assert len({tuple(one) for one in masked_BT.tolist()}) == 15


def test_the_next_word_is_predicted_from_those_before_it() -> None:
    """The loss is the mean surprise at the word after the cut; what follows is not shown."""
    net = Bag(len(WORDS))
    loss, _ = NextWord().loss(net, {}, SENTENCES, rng())
    (shown,) = net.shown
    expected = []
    for before, after in zip(SENTENCES.tolist(), shown.tolist(), strict=True):
        cut = 0 if after[0] == START else sum(one != PAD for one in after)
        assert after == ([START] if cut == 0 else before[:cut]) + [PAD] * (7 - max(cut, 1))
        if any(one > START for one in before):
            assert before[cut] > START
            expected.append(surprise(net.scores(after), before[cut]))
    assert float(loss) == pytest.approx(sum(expected) / 4, rel=1e-10)


def test_cuts_are_before_every_known_word_as_often() -> None:
    """Of a sentence with an unknown word each other is asked for in its share of draws."""
    x_BT = SENTENCES[4:].expand(6000, -1)
    place_B = NextWord().cut(x_BT, rng())
    assert torch.bincount(place_B, minlength=7).tolist() == pytest.approx(
        [0, 3000, 3000, 0, 0, 0, 0], abs=200
    )


def test_a_prefix_does_not_depend_on_what_follows() -> None:
    """Sentences that are equal up to the cut look the same."""
    first, second = ids("the cat run", "the cat sun of dog")
    cut = torch.tensor([2, 2])
    seen = prefix(torch.stack([first, second]), cut)
    assert torch.equal(seen[0], seen[1])


def test_simcse_finds_the_second_view() -> None:
    """The loss is SimCSE's equation 4 in loops, on two views that the encoder made by dropout."""
    net = Bag(4)
    pretext = TextSimclr(temperature=0.3, dropout=0.2)
    loss, _ = pretext.loss(net, {}, SENTENCES, rng())
    assert net.dropped == [0.2]
    (shown,) = net.shown
    assert shown.tolist() == SENTENCES.tolist() * 2
    vectors = (net.encode(shown, dropout=0.2) @ net.top).tolist()
    first, second = vectors[:5], vectors[5:]

    def cosine(a: list[float], b: list[float]) -> float:
        dot = sum(i * j for i, j in zip(a, b, strict=True))
        return dot / sqrt(sum(i * i for i in a)) / sqrt(sum(j * j for j in b))

    expected = 0.0
    for i, one in enumerate(first):
        every = [exp(cosine(one, other) / 0.3) for other in second]
        expected -= log(every[i] / sum(every)) / 5
    assert float(loss) == pytest.approx(expected, rel=1e-10)


# --- views ----------------------------------------------------------------------------------


def test_words_are_dropped_and_the_gaps_closed() -> None:
    """A view is a sentence in its order without some words, others unknown, and never empty."""
    x_BT = SENTENCES.repeat(400, 1)
    views = WordDropout(delete=0.3, hide=0.2)(x_BT, rng())
    for before, after in zip(x_BT.tolist(), views.tolist(), strict=True):
        left = [one for one in after if one != PAD]
        assert left
        assert after == left + [PAD] * (7 - len(left))
        rest = iter(one for one in before if one != PAD)
        assert all(any(one in (old, UNKNOWN) for old in rest) for one in left)


def test_words_are_dropped_as_often_as_is_said() -> None:
    """The shares are those of the parameters, but for the word that each sentence keeps."""
    x_BT = SENTENCES[2:3].expand(20_000, -1)
    views = WordDropout(delete=0.3, hide=0.2)(x_BT, rng())
    kept = (views != PAD).double().mean().item()
    hidden = (views == UNKNOWN).double().mean().item()
    assert kept == pytest.approx(0.7, abs=0.01)  # 0.3 ** 7 of the sentences would be empty
    # The kept one, which is the one of 7 with the highest draw, is not hidden either.
    assert hidden == pytest.approx(0.2 * (0.7 - 1 / 7), abs=0.01)
    alone = WordDropout(delete=0.9, hide=0.9)(SENTENCES[1:2].expand(200, -1), rng())
    assert torch.equal(alone, SENTENCES[1:2].expand(200, -1))


# --- tasks ----------------------------------------------------------------------------------


class Lines(AbstractSource):
    """Sentences, and no labels."""

    def __init__(self, x_ST: Tensor) -> None:
        """Take the sentences."""
        self._x, self.num_examples, self.form = x_ST, len(x_ST), FORM
        self.device = torch.device("cpu")

    def examples(self, index: Tensor) -> Tensor:
        """Gather sentences."""
        return self._x[index]

    def augment(self, x: Tensor, rng: Generator) -> Tensor:
        """Refuse."""
        raise PermissionError

    def classes(self) -> tuple[Tensor, Tensor]:
        """Refuse."""
        raise PermissionError


TEXT = [
    *(f"the cat run of sea{' ,' * n}" for n in range(2)),
    *(f"the dog sun of{' ,' * n}" for n in range(3)),
    *(f"the bird run ##ning of{' ,' * n}" for n in range(2)),
    *(f"the cat dog of{' ,' * n}" for n in range(2)),
    *(f"run the cat sun{' ,' * n}" for n in range(2)),
    "the run ##s run",
]


def whole_words(sentence: str) -> list[str]:
    """Return the words of a sentence that stand whole, each token if it is none."""
    tokens = sentence.split()
    return [
        "-" if after.startswith("##") or one.startswith("##") or one == "," else one
        for one, after in zip(tokens, [*tokens[1:], ""], strict=True)
    ]


def test_smlmt_tasks_are_those_of_a_search() -> None:
    """Each task is of words that loops allow, and all sets of words that they allow are drawn."""
    source, shape = Lines(ids(*TEXT)), TaskShape(ways=2, shots=1, queries=1)
    tasks = MaskedWords(common=0.3)  # of the, of, cat, run, dog, sun, sea, bird: the first two
    holders = {
        word: {n for n, one in enumerate(TEXT) if word in whole_words(one)}
        for word in WORDS[4:]
        if word not in (",", "##s", "##ning")
    }
    enough = sorted((w for w in holders if len(holders[w]) >= 2), key=lambda w: -len(holders[w]))
    assert enough[:2] == ["the", "of"]
    assert len(enough) == 8
    allowed = {
        frozenset((a, b))
        for a in enough[2:]
        for b in enough[2:]
        if a != b and len(holders[a] - holders[b]) >= 2 and len(holders[b] - holders[a]) >= 2
    }
    rows = source.examples(torch.arange(len(TEXT))).tolist()
    drawn = set()
    for seed in range(400):
        task = tasks.sample(source, shape, rng(seed))
        x = torch.cat([task.support_x, task.query_x]).tolist()
        words, numbers = [], []
        for hidden in x:
            fits = {
                (n, word)
                for n, one in enumerate(TEXT)
                for word in enough
                if [
                    MASK if w == word else row
                    for w, row in zip([*whole_words(one), *[""] * 7], rows[n], strict=False)
                ]
                == hidden
            }
            assert len(fits) == 1, "exactly one word of one sentence was masked, wherever it stands"
            number, word = fits.pop()
            words.append(word)
            numbers.append(number)
        assert task.support_y.tolist() == task.query_y.tolist() == [0, 1]
        assert words[:2] == words[2:]
        assert len(set(numbers)) == 4
        for number, word in zip(numbers, words, strict=True):
            assert {w for w in set(words) if number in holders[w]} == {word}
        drawn.add(frozenset(words))
    assert drawn == allowed


def test_words_that_overlap_are_passed_over() -> None:
    """Six words of one sentence each beside ten that always stand together: the six are found."""
    vocabulary = [*SPECIAL, *(f"own{n}" for n in range(6)), *(f"shared{n}" for n in range(10))]
    own = [[4 + n, 0, 0] for n in range(6) for _ in range(2)]
    shared = [[10 + a, 10 + (a + 1) % 10, 10 + (a + 2) % 10] for a in range(10)]
    source = Lines(torch.tensor(own + shared))
    source.form = Form(shape=(3,), modality="text", vocabulary=tuple(vocabulary))
    tasks = MaskedWords(common=0.0)
    for seed in range(50):
        task = tasks.sample(source, TaskShape(ways=6, shots=1, queries=1), rng(seed))
        assert len(task.support_x) == 6
        assert (task.support_x == MASK).any(1).all()


def test_too_few_words_are_told() -> None:
    """Where no task can be filled the error counts the words there are, and says what to change."""
    source = Lines(ids(*TEXT))
    with pytest.raises(ValueError, match=r"only 3 words stand in 6 of 12 sentences, of 5 ways"):
        MaskedWords(common=0).sample(source, TaskShape(ways=5, shots=1, queries=5), rng())
    with pytest.raises(ValueError, match=r"but no 2 apart from each other: lower shots or queries"):
        MaskedWords(common=0.0).sample(
            Lines(ids(*["the of sea"] * 4)), TaskShape(ways=2, shots=1, queries=1), rng()
        )


# --- the encoder ----------------------------------------------------------------------------


def normed(x_TD: Floats, state: dict[str, Floats], name: str) -> Floats:
    """Return layer normalisation of each token."""
    centred = x_TD - x_TD.mean(1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
    return np.asarray(scaled * state[f"{name}.weight"] + state[f"{name}.bias"])


def linear(x: Floats, state: dict[str, Floats], name: str) -> Floats:
    """Return a linear layer of each token."""
    return np.asarray(x @ state[f"{name}.weight"].T + state[f"{name}.bias"])


def by_hand(sentence: list[int], state: dict[str, Floats], layers: int, heads: int) -> Floats:
    """Return the vector of a sentence, whose padding is cut off first."""
    real = [one for one in sentence if one != PAD]
    x_TD = state["tokens.weight"][real] + state["positions.weight"][: len(real)]
    size = x_TD.shape[1] // heads
    for layer in range(layers):
        at = f"layers.{layer}"
        all_TX = linear(normed(x_TD, state, f"{at}.before"), state, f"{at}.project")
        joined = np.zeros_like(x_TD)
        for head in range(heads):
            query, key, value = (
                all_TX[:, part * x_TD.shape[1] + head * size :][:, :size] for part in range(3)
            )
            for t in range(len(real)):
                weight = [exp(sum(query[t] * key[s]) / sqrt(size)) for s in range(len(real))]
                mixed = sum(w * value[s] for s, w in enumerate(weight)) / sum(weight)
                joined[t, head * size : (head + 1) * size] = mixed
        x_TD = x_TD + linear(joined, state, f"{at}.join")
        wide = linear(normed(x_TD, state, f"{at}.after"), state, f"{at}.widen")
        gelu = np.vectorize(lambda v: v * (1 + erf(v / sqrt(2))) / 2)(wide)
        x_TD = x_TD + linear(gelu, state, f"{at}.narrow")
    return np.asarray(normed(x_TD, state, "norm").mean(0))


def small() -> tuple[Network, Tensors]:
    """Return a small transformer with weights that matter."""
    torch.manual_seed(3)
    module = Transformer(width=8, layers=2, heads=2).module(FORM)
    network = Network(module, torch.nn.Identity(), channels_last=False, grouped=False)
    params, _ = network.tensors(torch.device("cpu"))
    return network, {name: p + 0.3 * torch.randn_like(p) for name, p in params.items()}


def test_the_transformer_is_its_equations() -> None:
    """Features are those of loops over heads and tokens; padding has no say in any of them."""
    network, params = small()
    state = {name.removeprefix("encoder."): p.numpy() for name, p in params.items()}
    actual = network.encode(params, {}, SENTENCES, "batch")
    expected = np.stack([by_hand(one, state, 2, 2) for one in SENTENCES.tolist()])
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-10, atol=1e-12)


def test_a_sentence_of_padding_gives_zeros() -> None:
    """Without a token there is nothing to average, and neither value nor slope is undefined."""
    network, params = small()
    empty = torch.zeros(2, 7, dtype=torch.long)
    assert not network.encode(params, {}, empty, "batch").any()
    slopes = grad(lambda p: network.encode(p, {}, empty, "batch").square().sum())(params)
    assert all(one.isfinite().all() for one in slopes.values())


def test_dropout_drops_where_it_is_asked_for_alone() -> None:
    """Two passes are equal, and two with dropout are not."""
    network, params = small()
    plain = [network.encode(params, {}, SENTENCES, "batch") for _ in range(2)]
    dropped = [network.encode(params, {}, SENTENCES, "batch", 0.1) for _ in range(2)]
    assert torch.equal(*plain)
    assert not torch.equal(*dropped)
    assert not torch.equal(plain[0], dropped[0])


def test_meta_gradients_of_a_transformer_are_differences() -> None:
    """The gradient through a gradient step is the slope of the loss; under vmap each task's own."""
    network, params = small()

    def loss(params: Tensors, x_BT: Tensor) -> Tensor:
        return network.encode(params, {}, x_BT, "batch").sin().sum()

    def meta(params: Tensors, support: Tensor, query: Tensor) -> Tensor:
        slopes = grad(loss)(params, support)
        return loss({name: p - 0.1 * slopes[name] for name, p in params.items()}, query)

    support, query = SENTENCES[:2], SENTENCES[2:4]
    along = {name: torch.randn_like(p) for name, p in params.items()}
    slopes = grad(meta)(params, support, query)
    ends = [
        meta({n: p + step * along[n] for n, p in params.items()}, support, query)
        for step in (1e-6, -1e-6)
    ]
    actual = sum((slopes[name] * along[name]).sum() for name in slopes)
    torch.testing.assert_close(actual, (ends[0] - ends[1]) / 2e-6, rtol=1e-6, atol=1e-8)
    both = torch.stack([query, support]), torch.stack([support, query])
    together = vmap(grad(meta), in_dims=(None, 0, 0))(params, *both)
    for name, slope in slopes.items():
        torch.testing.assert_close(together[name][1], slope, rtol=1e-9, atol=1e-12)


def test_heads_share_the_features_evenly() -> None:
    """A width that heads cannot share is refused in words."""
    with pytest.raises(ValueError, match="4 heads cannot share 30 features"):
        Transformer(width=30)
