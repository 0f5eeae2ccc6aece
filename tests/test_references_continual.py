"""Strategies along a stream are loops over examples, written again from their sources.

Shapes: E streams, T groups, X examples of a class, N ways, C classes of a stream, D features;
M[t, j] is the accuracy on group j after group t.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.cell import Json, StageSpec
from bench.contract import Tensors
from bench.dataset import Dataset
from bench.episodes import StreamBank
from bench.stages.perform import perform
from bench.stages.source import read_part
from bench.store import Store
from tests.streams import SCENARIOS, matrices, place_in, row_of, scholar_of, store_in, with_strategy

Planned = Callable[..., StageSpec]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    return store_in(tmp_path / "results")


@pytest.fixture
def planned(tmp_path: Path, glyphs: Dataset, store: Store) -> Planned:
    """Return a function from changes of the suite's text to the test of its row."""
    return lambda *changes: row_of(tmp_path, glyphs, store, *changes)


@pytest.fixture
def _double() -> Iterator[None]:
    """Compute in float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def embedded(weights: Tensors, x_BCHW: Tensor) -> Tensor:
    """Return the features of a Conv4 of four channels, which are one group of channels."""
    for block in range(4):
        name = f"encoder.{block}"
        x_BCHW = F.conv2d(x_BCHW, weights[f"{name}.0.weight"], weights[f"{name}.0.bias"], padding=1)
        mean_B111 = x_BCHW.mean((1, 2, 3), keepdim=True)
        variance_B111 = (x_BCHW - mean_B111).square().mean((1, 2, 3), keepdim=True)
        x_BCHW = (x_BCHW - mean_B111) / (variance_B111 + 1e-5).sqrt()
        scale, shift = weights[f"{name}.1.weight"], weights[f"{name}.1.bias"]
        x_BCHW = scale[:, None, None] * x_BCHW + shift[:, None, None]
        x_BCHW = F.max_pool2d(F.relu(x_BCHW), 2)
    return x_BCHW.flatten(1)


def stepped(
    weights: Tensors, examples: Sequence[tuple[Tensor, int, list[int]]], rate: float
) -> dict[str, Tensor]:
    """Take one step on the mean of -log p(y among those that an example is told apart from)."""
    leaves = {name: value.detach().requires_grad_() for name, value in weights.items()}
    losses = []
    for x_CHW, y, own in examples:
        score_C = leaves["w"] @ embedded(leaves, x_CHW[None])[0] + leaves["b"]
        losses.append(-(score_C[y] - score_C[own].exp().sum().log()))
    slopes = torch.autograd.grad(sum(losses[1:], losses[0]) / len(losses), list(leaves.values()))
    moved = zip(leaves.items(), slopes, strict=True)
    return {name: value.detach() - rate * slope for (name, value), slope in moved}


Example = tuple[Tensor, int, list[int]]  # [C, H, W], its class, those it is told apart among


@dataclass(frozen=True, kw_only=True)
class Plain:
    """A stream of a bank, looked up example by example."""

    inputs: Mapping[str, Json]
    bank: StreamBank
    stream: int

    def told(self, after: int, group: int) -> list[int]:
        """Return the classes among which those of a group are told apart after another."""
        ways, scenario = self.inputs["ways"], self.inputs["scenario"]
        first = {"class": 0, "task": group * ways, "domain": 0}[scenario]
        last = {"class": after * ways + ways, "task": first + ways, "domain": ways}[scenario]
        return [*range(first, last)]

    def examples(self, positions_ETXN: np.ndarray, group: int, after: int) -> list[Example]:
        """Return the examples of a group at these positions, as they are met after another."""
        part, ways = read_part(self.inputs["data"]), self.inputs["ways"]
        turns = 0
        if self.bank.domains_ET is not None:
            turns = int(self.bank.domains_ET[self.stream, group])
        first = 0 if self.inputs["scenario"] == "domain" else group * ways
        return [
            (
                torch.from_numpy(part.examples[position] / 255).rot90(turns, (1, 2)),
                first + n,
                self.told(after, group),
            )
            for row in positions_ETXN[self.stream, group]
            for n, position in enumerate(row)
        ]

    def taught(self, group: int, kept: int) -> list[Example]:
        """Return what a group shows, and the first ``kept`` shots of those before."""
        support = self.bank.support_ETKN
        own = self.examples(support, group, group)
        return own + [
            one for j in range(group) for one in self.examples(support[:, :, :kept], j, group)
        ]


def linear(weights: Tensors, x_CHW: Tensor) -> Tensor:
    """Return the scores [C] of one example."""
    return weights["w"] @ embedded(weights, x_CHW[None])[0] + weights["b"]


def nearest(weights: Tensors, known: Sequence[Example], classes: int) -> Callable[[Tensor], Tensor]:
    """Return minus the squared distances [C] to the means of what is known."""
    features = [(embedded(weights, x[None])[0], y) for x, y, _ in known]
    means = [[z for z, y in features if y == c] for c in range(classes)]

    def scores(x_CHW: Tensor) -> Tensor:
        z_D = embedded(weights, x_CHW[None])[0]
        apart = [
            (z_D - torch.stack(own).mean(0)).square().sum() if own else torch.tensor(torch.inf)
            for own in means
        ]
        return -torch.stack(apart)

    return scores


def expected(
    plain: Plain, encoder: Tensors, rate: float
) -> tuple[np.ndarray, list[dict[str, Tensor]]]:
    """Return M [T, T] of a stream by loops over examples, and the weights after each group."""
    inputs = plain.inputs
    name, groups, shots = inputs["strategy"]["name"], inputs["groups"], inputs["shots"]
    kept = {"naive": 0, "replay": 1, "joint": shots, "prototypes": shots}[name]
    classes = plain.told(groups - 1, groups - 1)[-1] + 1
    width = embedded(encoder, torch.zeros(1, 1, 28, 28)).shape[1]
    start = {**encoder, "w": torch.zeros(classes, width), "b": torch.zeros(classes)}
    weights, M = start, np.full((groups, groups), np.nan)
    learned = []
    for t in range(groups):
        batch = plain.taught(t, kept)
        weights = start if name == "joint" else weights
        rounds = {"joint": t + 1, "prototypes": 0}.get(name, 1)
        for _ in range(inputs["steps"] * rounds):
            weights = stepped(weights, batch, rate)
        learned.append(weights)
        scored: Callable[[Tensor], Tensor] = partial(linear, weights)
        if name == "prototypes":
            scored = nearest(encoder, batch, classes)
        for j in range(t + 1):
            asked = plain.examples(plain.bank.query_ETQN, j, t)
            right = [own[int(scored(x)[own].argmax())] == y for x, y, own in asked]
            M[t, j] = np.mean(right)
    return M, learned


HARDER = (  # few streams, of steps that tell classes apart
    ("episodes: 3", "episodes: 2"),
    ("rates: [0.3, 0.05]", "rates: [0.1]"),
    ("queries: 2", "queries: 4"),
    ("test_steps: 2", "test_steps: 8"),
)


@pytest.mark.usefixtures("_double")
@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("strategy", ["naive", "{name: replay, kept: 1}", "joint", "prototypes"])
def test_learning_is_that_of_a_plain_loop(
    planned: Planned, store: Store, strategy: str, scenario: str
) -> None:
    """In each scenario, a strategy's weights and matrices are those of loops over examples."""
    spec = planned(with_strategy(strategy), *SCENARIOS[scenario], *HARDER)
    perform(spec, place_in(store))
    found_ETT, accuracy_ET = matrices(store, spec)
    scholar = scholar_of(spec, store)
    courses = scholar.courses(spec.inputs["data"], 2)
    encoder = {n: v for n, v in scholar.model.params.items() if n.startswith("encoder.")}
    rate = sum(spec.inputs["rates"])  # the only one, or none

    for stream in range(2):
        plain = Plain(inputs=spec.inputs, bank=courses.bank, stream=stream)
        M_TT, weights = expected(plain, encoder, rate)
        np.testing.assert_allclose(found_ETT[stream], M_TT, rtol=0, atol=1e-12)
        with torch.no_grad():
            followed = [*scholar.follow(courses(stream), rate, stream)]
        for ours, theirs in zip(followed, weights, strict=True):
            _same(ours, theirs, moved=strategy != "prototypes")
    assert len(np.unique(found_ETT[np.isfinite(found_ETT)])) > 2
    for t in range(len(found_ETT[0])):
        mean_E = found_ETT[:, t, : t + 1].mean(1)
        np.testing.assert_allclose(accuracy_ET[:, t], mean_E, rtol=0, atol=1e-12)


def _same(ours: Tensors, theirs: Tensors, *, moved: bool) -> None:
    """Check encoder and head, where that is a linear one, against the plain loop's."""
    names = {"w": "head.weight", "b": "head.bias"} if moved else {}
    for name, value in theirs.items():
        if name.startswith("encoder.") or name in names:
            torch.testing.assert_close(ours[names.get(name, name)], value, rtol=1e-7, atol=1e-10)
