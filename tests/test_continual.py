"""A stream is learned as a plain loop would learn it, by what has come and nothing else.

Shapes: E streams, T groups, S support examples and Q queries of a group, N ways, C classes of a
stream, D features; M[t, j] is the accuracy on group j after group t.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import vmap

from bench.cell import Event, Json, Progress, StageSpec, Started
from bench.contract import AbstractLearner, Lesson, Tensors
from bench.dataset import Dataset
from bench.stages.continual import Scholar, choose_rate
from bench.stages.course import Course, Courses
from bench.stages.engine import TASKS_AT_ONCE
from bench.stages.further import WARM_UP, Further
from bench.stages.perform import perform
from bench.stages.place import Diverged, Place
from bench.stages.source import read_part
from bench.store import Store
from bench.strategy.replay import Replay
from tests.streams import (
    DOMAINS,
    SCENARIOS,
    TASK,
    matrices,
    place_in,
    row_of,
    scholar_of,
    store_in,
    with_strategy,
)

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


def test_what_a_manifest_says(planned: Planned, store: Store) -> None:
    """Its metrics are means over streams of what the matrices hold."""
    spec = planned()
    perform(spec, place_in(store))
    M_ETT, accuracy_ET = matrices(store, spec)
    manifest = store.manifest("evaluate", spec.key)
    lost_E = np.stack([M_ETT[:, j, j] - M_ETT[:, 2, j] for j in (0, 1)]).mean(0)
    learned_E = np.stack([M_ETT[:, j, j] for j in range(3)]).mean(0)
    assert manifest["metrics"] == pytest.approx(
        {
            "accuracy": accuracy_ET[:, -1].mean(),
            "forgetting": lost_E.mean(),
            "backward_transfer": -lost_E.mean(),
            "learning": learned_E.mean(),
        }
    )
    assert manifest["curve"]["steps"] == [1, 2, 3]
    assert manifest["curve"]["accuracy"] == pytest.approx(accuracy_ET.mean(0).tolist())


# --- what a strategy meets ---------------------------------------------------------------------


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_memory_is_the_first_shots(
    planned: Planned, store: Store, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    """Replay meets the first ``kept`` shots of each class before, no others, and what it may."""
    met: list[Lesson] = []
    own = Replay.learn

    def watched(
        self: Replay,
        learner: AbstractLearner,
        start: Tensors,
        params: Tensors,
        lesson: Lesson,
        rate: float,
    ) -> Iterator[Tensors]:
        met.append(lesson)
        return own(self, learner, start, params, lesson, rate)

    monkeypatch.setattr(Replay, "learn", watched)
    spec = planned(with_strategy(f"{{name: replay, kept: {kept}}}"), TASK)
    scholar = scholar_of(spec, store)
    course = scholar.courses(spec.inputs["data"], 1)(0)
    with torch.no_grad():
        scholar.answer([course], 0.1, 0)

    for group, lesson in enumerate(met):
        assert torch.equal(lesson.new_x, course.support_x[group])
        assert lesson.new_y.tolist() == [3 * group, 3 * group + 1, 3 * group + 2] * 2
        before = [course.support_x[j, : 3 * kept] for j in range(group)]
        assert torch.equal(lesson.kept_x, torch.cat([*before, course.support_x[0, :0]]))
        assert lesson.kept_y.tolist() == [
            3 * j + n for j in range(group) for _ in range(kept) for n in range(3)
        ]
        assert lesson.seen.tolist() == [c < 3 * group + 3 for c in range(9)]
        assert lesson.own.tolist() == [c // 3 == group for c in range(9)]
        assert lesson.kept_own is not None
        assert [row.nonzero().flatten().tolist() for row in lesson.kept_own] == [
            [3 * j, 3 * j + 1, 3 * j + 2] for j in range(group) for _ in range(3 * kept)
        ]
    assert len(met) == 3


def test_without_a_memory_replay_is_naive(planned: Planned, store: Store) -> None:
    """A replay that keeps nothing gives naive fine-tuning's bytes, another does not."""
    found = []
    for strategy in ("naive", "{name: replay, kept: 0}", "{name: replay, kept: 2}"):
        spec = planned(with_strategy(strategy), ("rates: [0.3, 0.05]", "rates: [0.1]"))
        perform(spec, place_in(store))
        found.append(store.read("evaluate", spec.key, "episodes.parquet"))
    assert found[0] == found[1] != found[2]


@pytest.mark.usefixtures("_double")
@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("strategy", ["naive", "replay", "joint", "prototypes"])
def test_the_future_has_no_say(
    planned: Planned, store: Store, strategy: str, scenario: str
) -> None:
    """Other examples in group 2 change no row of the matrix before its own; queries change none."""
    spec = planned(with_strategy(strategy), *SCENARIOS[scenario])
    scholar = scholar_of(spec, store)
    course = scholar.courses(spec.inputs["data"], 1)(0)
    later = replace(course, support_x=course.support_x.clone())
    later.support_x[1] = 1 - later.support_x[1]
    unasked = replace(course, query_x=torch.zeros_like(course.query_x))
    with torch.no_grad():
        usual, other, same = (
            [{**params} for params in scholar.follow(one, 0.1, 0)]
            for one in (course, later, unasked)
        )

    def equal(one: Tensors, two: Tensors) -> bool:
        return all(torch.equal(value, two[name]) for name, value in one.items())

    assert [equal(*pair) for pair in zip(usual, same, strict=True)] == [True] * len(usual)
    assert [equal(*pair) for pair in zip(usual, other, strict=True)][:2] == [True, False]


def test_a_trained_head_is_not_taken_over(planned: Planned, store: Store) -> None:
    """A head that meta-training leaves has the size that is asked for; the stream's is new."""
    change = (
        "pretext: {name: simclr, batch_size: 8}",
        "meta: {name: maml, order: 1, steps: 1, tasks_per_step: 1, task_shots: 1, task_queries: 2}",
    )
    spec = planned(change, DOMAINS, ("budget: {pretrain_steps: 2}", "budget: {metatrain_steps: 2}"))
    trained = spec.inputs["needs"]["metatrain"]
    assert trained is not None
    other = store_in(store.root.parents[1] / "other")
    head = {"head.weight": torch.ones(3, 4), "head.bias": torch.ones(3)}
    encoder = scholar_of(replace(spec, inputs={**spec.inputs, "needs": {}}), other).model.params
    assert encoder["head.weight"].shape == head["head.weight"].shape

    from bench.stages.checkpoint import pack

    given = {n: v for n, v in encoder.items() if n.startswith("encoder.")} | head
    stage = StageSpec(kind="metatrain", inputs={"made": "by hand", "needs": {}})
    with other.writing(stage.key):
        other.commit(stage, {"kind": "metatrain"}, {"weights.safetensors": pack(given)})
    taught = replace(spec, inputs={**spec.inputs, "needs": {"metatrain": stage.key}})
    params = scholar_of(taught, other).model.params
    assert not params["head.weight"].any()
    assert not params["head.bias"].any()


def test_rows_and_seeds_meet_the_same_streams(planned: Planned, store: Store) -> None:
    """Streams name neither a strategy nor a seed; what was drawn before has no say in them."""
    specs = [planned(with_strategy(one), DOMAINS) for one in ("naive", "joint")]
    again = replace(specs[0], inputs={**specs[0].inputs, "seed": 1})

    def shown(spec: StageSpec) -> Course:
        torch.randn(5)
        return Courses(spec.inputs, place_in(store), spec.inputs["data"], 3, None)(2)

    first, *others = [shown(spec) for spec in (*specs, again)]
    for other in others:
        for name in ("support_x", "support_y", "query_x", "query_y"):
            assert torch.equal(getattr(first, name), getattr(other, name))
    assert first.support_x.shape == (4, 6, 1, 28, 28)
    assert first.support_y.tolist() == [[0, 1, 2] * 2] * 4


# --- the rate ----------------------------------------------------------------------------------

NAN = float("nan")


class Fake:
    """Answers with a matrix that a table has for a rate."""

    at_once, chooses = 2, True

    def __init__(self, matrices: Mapping[float, Sequence[Sequence[float]]]) -> None:
        """Take M [2, 2] of each rate."""
        self._matrices = matrices

    def courses(self, data: Json, count: int) -> Callable[[int], int]:
        """Note what is asked for, and return streams that are numbers."""
        self.asked = (data["split"], count)
        return lambda number: number

    def answer(self, streams: Sequence[int], rate: float, number: int) -> np.ndarray:
        """Return the same matrix for every stream."""
        assert streams[0] == number
        return np.array([self._matrices[rate]] * len(streams))


@pytest.mark.parametrize(
    ("matrices", "chosen"),
    [
        ({0.3: [[0, NAN], [0.5, 0.5]], 0.05: [[1, NAN], [0.6, 0.3]]}, 0.3),  # the last row's mean
        ({0.3: [[0, NAN], [0.5, 0.5]], 0.05: [[1, NAN], [0.5, 0.5]]}, 0.05),  # the smaller
        ({0.3: [[NAN, NAN], [1, 1]], 0.05: [[0, NAN], [0, 0]]}, 0.05),  # not finite is lowest
    ],
)
def test_the_rate_of_the_highest_accuracy_is_chosen(
    planned: Planned, store: Store, matrices: dict[float, list[list[float]]], chosen: float
) -> None:
    """The rate is that of the highest mean over all groups after whole validation streams."""
    spec, fake = planned(), Fake(matrices)
    found = choose_rate(spec.inputs, cast(Scholar, fake), lambda step, values: None)
    assert found.rate == chosen
    assert fake.asked == ("val", 3)


def test_where_every_rate_diverges_nothing_is_chosen(planned: Planned, store: Store) -> None:
    """Without a rate whose predictions are finite the stage ends as not finite."""
    broken = [[1, NAN], [NAN, 1]]
    fake = cast(Scholar, Fake({0.3: broken, 0.05: broken}))
    with pytest.raises(Diverged, match="under every rate of the grid"):
        choose_rate(planned().inputs, fake, lambda step, values: None)


@pytest.mark.parametrize(
    ("changes", "rate"),
    [
        ((("rates: [0.3, 0.05]", "rates: [0.3]"),), 0.3),
        ((with_strategy("prototypes"),), None),
    ],
)
def test_where_there_is_no_choice_none_is_made(
    planned: Planned, store: Store, changes: Sequence[tuple[str, str]], rate: float | None
) -> None:
    """One rate chooses nothing, and a strategy without steps has none: no validation is read."""
    spec = planned(*changes)
    assert spec.inputs.keys().isdisjoint({"rate_data", "rate_tasks"})
    heard: list[Event] = []
    perform(spec, place_in(store, heard))
    manifest = store.manifest("evaluate", spec.key)
    assert (manifest["rate"], manifest["rate_scores"]) == (rate, [])
    assert isinstance(heard[0], Started)
    assert (heard[0].step, heard[0].total) == (0, 3)


def test_a_rate_that_diverges_is_told_as_null(planned: Planned, store: Store) -> None:
    """A rate without finite predictions is in the manifest as null; alone it ends the stage."""
    spec = planned(("rates: [0.3, 0.05]", "rates: [1.0e+300, 0.05]"))
    perform(spec, place_in(store))
    manifest = store.manifest("evaluate", spec.key)
    assert manifest["rate"] == 0.05
    assert [rate for rate, score in manifest["rate_scores"] if score is None] == [1e300]
    with pytest.raises(Diverged, match=r"streams 0 to 0, under rate 1e\+300"):
        perform(planned(("rates: [0.3, 0.05]", "rates: [1.0e+300]")), place_in(store))


# --- the stage ---------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["naive", "{name: prototypes, pretext_steps: 1}"])
def test_an_interrupted_stream_goes_on(planned: Planned, store: Store, strategy: str) -> None:
    """Stopped after some streams and taken up again, it chooses nothing anew and ends the same."""
    spec = planned(with_strategy(strategy))
    whole, again, other = (copied(store, name) for name in ("whole", "again", "other"))
    perform(spec, place_in(whole))
    perform(spec, place_in(again))
    before = 2 * 3 if strategy == "naive" else 0

    class Stop(BaseException):
        pass

    def emit(event: Event) -> None:
        if isinstance(event, Progress) and event.step == before + 2:
            raise Stop

    stopping = Place(store=other, device=torch.device("cpu"), emit=emit, checkpoint_seconds=0)
    with pytest.raises(Stop):
        perform(spec, stopping)
    heard: list[Event] = []
    perform(spec, place_in(other, heard))

    assert isinstance(heard[0], Started)
    assert (heard[0].step, heard[0].total) == (before + 1, before + 3)
    first, *others = (one.manifest("evaluate", spec.key) for one in (whole, again, other))
    files = {one.read("evaluate", spec.key, "episodes.parquet") for one in (whole, again, other)}
    assert len(files) == 1
    for manifest in others:
        for name in ("metrics", "curve", "bank", "rate", "rate_scores"):
            assert manifest[name] == first[name]
        assert manifest["cost"]["examples"] == first["cost"]["examples"]


def copied(store: Store, name: str) -> Store:
    """Return a store beside another, with what that holds."""
    folder = store.root.parents[1] / name
    shutil.copytree(store.root.parent, folder)
    return Store(folder)


@pytest.mark.usefixtures("_double")
@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("strategy", ["naive", "replay", "joint"])
def test_streams_at_once_are_streams_one_by_one(
    planned: Planned,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    strategy: str,
    scenario: str,
) -> None:
    """Through vmap, as on a GPU, matrices, the choice and counts are those of a loop."""
    monkeypatch.setattr("bench.stages.continual.channels_last", lambda *_, **__: False)
    spec = planned(with_strategy(strategy), *SCENARIOS[scenario])
    traced: list[int] = []

    def watched(function: Callable[..., object]) -> Callable[..., object]:
        traced.append(TASKS_AT_ONCE["cpu"])
        return vmap(function)

    monkeypatch.setattr("bench.stages.engine.vmap", watched)
    found = []
    for at_once in (1, 2):
        monkeypatch.setitem(TASKS_AT_ONCE, "cpu", at_once)
        own = copied(store, str(at_once))
        perform(spec, place_in(own))
        manifest = own.manifest("evaluate", spec.key)
        told = [manifest[name] for name in ("rate", "rate_scores", "metrics")]
        found.append((matrices(own, spec), told, manifest["cost"]["examples"]))
    (one, *rest), (two, *same) = found
    assert rest == same
    assert set(traced) == {2}
    for values, others in zip(one, two, strict=True):
        np.testing.assert_array_equal(others, values)


def test_every_pass_is_counted(planned: Planned, store: Store) -> None:
    """The cost counts supports in every step, what is kept with them, and all queries so far."""
    spec = planned(with_strategy("{name: replay, kept: 1}"))
    perform(spec, place_in(store))
    streams, support, queries, steps = 2 * 3 + 3, 3 * 2, 3 * 2, 2
    each = sum(steps * (support + 3 * t) + queries * (t + 1) for t in range(3))
    assert store.manifest("evaluate", spec.key)["cost"]["examples"] == streams * each


def test_a_still_encoder_embeds_once(planned: Planned, store: Store) -> None:
    """Prototypes pass every example of the split once, or in domains each that a stream shows."""
    spec = planned(with_strategy("prototypes"))
    perform(spec, place_in(store))
    examples = len(read_part(spec.inputs["data"]).examples)
    assert store.manifest("evaluate", spec.key)["cost"]["examples"] == examples
    spec = planned(with_strategy("prototypes"), DOMAINS)
    perform(spec, place_in(store))
    shown = 3 * 4 * (3 * 2 + 3 * 2)
    assert store.manifest("evaluate", spec.key)["cost"]["examples"] == shown


# --- the pretext that goes on ------------------------------------------------------------------


def test_the_pretext_goes_on_without_labels(planned: Planned, store: Store) -> None:
    """It moves the encoder by a group's examples, in whatever order, and the row's head never."""
    spec = planned(with_strategy("{name: naive, pretext_steps: 2}"))
    scholar = scholar_of(spec, store)
    further = scholar._further
    assert further is not None
    course = scholar.courses(spec.inputs["data"], 1)(0)
    start = scholar.model.params
    with torch.no_grad():
        moved, going = further.steps(start, further.begin(start), course.support_x[0], 2, 0, 0)
    changed = {name for name, value in start.items() if not torch.equal(value, moved[name])}
    assert changed
    assert all(name.startswith("encoder.") for name in changed)
    assert going.step == 2

    names = []
    own = Further.steps

    def watched(self: Further, params: Tensors, going: Any, x: Tensor, *rest: Any) -> Any:  # noqa: ANN401 -- as the method it stands for
        names.append((len(x), going.step, rest))
        return own(self, params, going, x, *rest)

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(Further, "steps", watched)
        scholar.answer([course], 0.1, 7)
    assert names == [(6, 0, (2, 7, 0)), (6, 2, (2, 7, 1)), (6, 4, (2, 7, 2))]


def test_a_fresh_head_is_warmed_up_alone(planned: Planned, store: Store) -> None:
    """The warm-up moves the pretext's head, lowers its loss, and leaves the encoder."""
    spec = planned(with_strategy("{name: naive, pretext_steps: 1}"))
    own = Further._step

    def watched(self: Further, params: Tensors, going: Any, x: Tensor, *at: Any) -> Any:  # noqa: ANN401 -- as the method it stands for
        seen.append({name: value.clone() for name, value in params.items()})
        return own(self, params, going, x, *at)

    seen: list[dict[str, Tensor]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Further, "_step", watched)
        scholar = scholar_of(spec, store)
    assert len(seen) == WARM_UP
    first, last = seen[0], seen[-1]
    for name, value in first.items():
        assert torch.equal(value, last[name]) == name.startswith("encoder.")
        if name.startswith("encoder."):
            assert torch.equal(value, scholar.model.params[name])
    assert scholar.passed == WARM_UP * 8 * 2
