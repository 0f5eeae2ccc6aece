"""The audit of a row raises its alarms on what is planted, and on nothing that methods do."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load
from torch import Tensor

from bench.catalogue import entries, load_class
from bench.cell import Event, Json, Progress, StageKind, StageSpec, Started
from bench.contract import AbstractLearner, Task, Tensors
from bench.dataset import Dataset, facts
from bench.meta.none import NoMeta
from bench.meta.protonet import Protonet
from bench.plan import make_plan
from bench.stages.audit_row import TOLERANCE, _interval, audit_row
from bench.stages.continual import Scholar
from bench.stages.engine import TASKS_AT_ONCE
from bench.stages.evaluate import Examiner
from bench.stages.few_steps import Pupil
from bench.stages.perform import perform
from bench.stages.place import Diverged, Place, Result
from bench.store import Store
from bench.suite import read_suite

HEAD = """
name: audited
data: glyphs
encoder: {name: conv4, width: 4}
ways: 3
shots: 2
budget: {metatrain_steps: 3}
evaluate: {episodes: 9, queries: 2, test_steps: 2}
"""
QUERIED = HEAD.replace("shots: 2", "shots: 5").replace("queries: 2", "queries: 15")
NEW = """
name: new
data: glyphs
encoder: {name: conv4, width: 4}
ways: 4
shots: 2
tasks: {name: pretext, family: [rotation, jigsaw, recolour]}
held_out: [rotation]
variants: [{label: none, meta: none}]
evaluate: {episodes: 9, queries: 2, test_steps: 3, rates: [0.3, 0.05], rate_tasks: 2}
"""
MAML = "{name: maml, order: 1, steps: 1, tasks_per_step: 2, task_shots: 1, task_queries: 2}"
METAS = {  # where the defaults take long
    "finetune": "{name: finetune, steps: 3}",
    "imaml": "{name: imaml, steps: 3}",
    "maml": MAML,
}
FOUND = [name for name in entries("meta") if load_class("meta", name).extra is None]
HEADS = ["{name: none, head: logistic}", "{name: none, head: neighbour}"]
TUNED = ["{name: none, tune_steps: 3}", "{name: protonet, tune_steps: 3}"]
Path_ = Callable[[str], dict[StageKind, StageSpec]]
Audited = Callable[..., Result]
Predict = Callable[[object, AbstractLearner, Tensors, Task], Tensor]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    made = Store(tmp_path / "results")
    made.prepare()
    return made


@pytest.fixture
def path(tmp_path: Path, glyphs: Dataset) -> Path_:
    """Return a function from a suite's text to the stages of its first cell, its audit too."""

    def find(text: str) -> dict[StageKind, StageSpec]:
        (tmp_path / "suite.yaml").write_text(text)
        plan = make_plan(read_suite(tmp_path / "suite.yaml"), lambda name, source: facts(glyphs))
        stages = [plan.stages[key] for key in plan.cells[0].stages.values()]
        (tested,) = [spec for spec in stages if spec.kind == "evaluate"]
        inputs = {**tested.inputs, "subject": "row", "episodes": 8, "revision": 1}
        return {s.kind: s for s in [*stages, StageSpec(kind="audit", inputs=inputs)]}

    return find


@pytest.fixture
def audited(path: Path_, store: Store) -> Audited:
    """Return a function from a suite's text to the audit of its first row, as it was drawn."""

    def audit(text: str, heard: list[Event] | None = None) -> Result:
        spec = path(text)["audit"]
        untrained = StageSpec(kind="audit", inputs={**spec.inputs, "needs": {}})
        return audit_row(untrained, place_in(store, heard))

    return audit


def place_in(store: Store, heard: list[Event] | None = None) -> Place:
    """Return a place on the CPU whose events are collected."""
    emit = (heard if heard is not None else []).append
    return Place(store=store, device=torch.device("cpu"), emit=emit)


def worst(found: Json) -> float:
    """Return the largest of the three changes."""
    return max(float(found[name]) for name in ("permuted", "removed", "altered"))


@pytest.mark.parametrize("meta", [*FOUND, *HEADS, *TUNED])
def test_no_method_raises_an_alarm(audited: Audited, meta: str) -> None:
    """Every method ignores other queries as it claims, and follows the names of the support."""
    result = audited(f"{HEAD}meta: {METAS.get(meta, meta)}\n")
    found, naming = result.facts["transduction"], result.facts["naming"]
    assert not found["dependent"]
    assert worst(found) < 1e-9  # a thousandth of the tolerance
    assert naming["passed"]
    assert naming["accuracy"] == pytest.approx(1 / 3, abs=1e-12)  # with trained heads, too
    assert naming["high"] - naming["low"] == pytest.approx(0.04)
    assert (found["episodes"], found["tolerance"]) == (4, TOLERANCE)
    assert (naming["episodes"], naming["namings"], naming["chance"]) == (8, 3, 1 / 3)
    assert result.metrics == {
        "transduction": worst(found),
        "naming_accuracy": naming["accuracy"],
    }


def test_order_of_the_support_is_no_leak(audited: Audited) -> None:
    """A method that takes its support in minibatches comes near to chance, and passes."""
    reptile = "{name: reptile, inner_batch: 4, inner_rate: 0.01}"
    naming = audited(f"{QUERIED}meta: {reptile}\n").facts["naming"]
    assert naming["passed"]
    assert 0 < abs(naming["accuracy"] - 1 / 3) < 0.1


def centred(own: object, learner: AbstractLearner, params: Tensors, task: Task) -> Tensor:
    """Answer by prototypes, features moved so that the queries' mean is the support's."""
    support_SD, query_QD = learner.embed_both(params, task.support_x, task.query_x)
    prototypes_ND = F.one_hot(task.support_y, task.ways).T.to(support_SD.dtype) @ support_SD
    query_QD = query_QD - query_QD.mean(0) + support_SD.mean(0)
    return -torch.cdist(query_QD, prototypes_ND / 2)


@pytest.mark.parametrize("norm", ["running", "support"])  # features made beforehand, and images
def test_a_method_that_looks_at_other_queries_is_found(
    audited: Audited, monkeypatch: pytest.MonkeyPatch, norm: str
) -> None:
    """A method that claims not to be transductive and centres by the query mean is found out."""
    monkeypatch.setattr(Protonet, "predict", centred)
    assert not Protonet.transductive
    found = audited(f"{HEAD}norm: {norm}\nmeta: protonet\n").facts["transduction"]
    assert found["dependent"]
    assert found["permuted"] < TOLERANCE  # the mean is the same in any order
    assert min(found["removed"], found["altered"]) > 1e-2


@pytest.mark.parametrize("meta", ["protonet", "maml"])
def test_transductive_norm_is_found(audited: Audited, meta: str) -> None:
    """Statistics over the queries make every method dependent on them."""
    text = f"{HEAD}norm: transductive\nmeta: {METAS.get(meta, meta)}\n"
    found = audited(text).facts["transduction"]
    assert found["dependent"]
    assert min(found["removed"], found["altered"]) > 1e-2


def by_order(own: object, learner: AbstractLearner, params: Tensors, task: Task) -> Tensor:
    """Answer from a query's place alone."""
    place_Q = torch.arange(len(task.query_x)) % task.ways
    return F.one_hot(place_Q, task.ways).double()


def by_label(own: object, learner: AbstractLearner, params: Tensors, task: Task) -> Tensor:
    """Answer with what is asked for."""
    return F.one_hot(task.query_y, task.ways).double()


def by_support_order(own: object, learner: AbstractLearner, params: Tensors, task: Task) -> Tensor:
    """Answer by prototypes whose classes are told by the support's order."""
    members_NS = F.one_hot(torch.arange(len(task.support_x)) % task.ways).T.double()
    prototypes_ND = members_NS @ task.support_x / members_NS.sum(1, keepdim=True)
    return -torch.cdist(task.query_x, prototypes_ND)


@pytest.mark.parametrize("predict", [by_order, by_label, by_support_order])
def test_labels_from_elsewhere_are_found(
    audited: Audited, monkeypatch: pytest.MonkeyPatch, predict: Predict
) -> None:
    """Who knows labels by the order of queries or support, or reads them, scores above chance."""
    monkeypatch.setattr(NoMeta, "predict", predict)
    naming = audited(f"{QUERIED}meta: none\n").facts["naming"]
    assert not naming["passed"]
    assert naming["low"] > naming["chance"]
    assert predict is by_support_order or naming["accuracy"] == 1


def test_an_order_that_gives_labels_away_depends_on_queries(
    audited: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers by place change when the queries are permuted, and only then."""
    monkeypatch.setattr(NoMeta, "predict", by_order)
    found = audited(f"{HEAD}meta: none\n").facts["transduction"]
    assert found["dependent"]
    assert found["permuted"] > 1
    assert found["altered"] == 0


def noisy(own: object, learner: AbstractLearner, params: Tensors, task: Task) -> Tensor:
    """Answer by what torch's default generator says of the first way, alike for all queries."""
    return torch.rand(task.ways).expand(len(task.query_x), -1)


def test_draws_of_a_method_are_the_same_each_time(
    audited: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method that draws at random is no transductive one: each variant meets the same draws."""
    monkeypatch.setattr(NoMeta, "predict", noisy)
    assert worst(audited(f"{HEAD}meta: none\n").facts["transduction"]) == 0


def test_equal_scores_have_no_spread_to_divide_by(
    audited: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method whose scores are all equal, but for rounding, depends on nothing."""

    def flat(own: object, learner: AbstractLearner, params: Tensors, task: Task) -> Tensor:
        rounding_Q = 1e-12 * len(task.query_x) * torch.arange(len(task.query_x))
        return 1e3 + rounding_Q.unsqueeze(1).expand(-1, task.ways)

    monkeypatch.setattr(NoMeta, "predict", flat)
    assert not audited(f"{HEAD}meta: none\n").facts["transduction"]["dependent"]


def test_a_held_out_task_is_audited(audited: Audited, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that is tested on a new pretext task is audited on that, and leaks are found."""
    honest = audited(NEW).facts
    assert not honest["transduction"]["dependent"]
    assert honest["naming"]["accuracy"] == pytest.approx(1 / 4)
    assert honest["naming"]["passed"]

    own = Pupil.scores

    def peeking(self: Pupil, params: Tensors, task: Task) -> Tensor:
        return own(self, params, task) + task.query_x.mean() + 9 * F.one_hot(task.query_y, 4)

    monkeypatch.setattr(Pupil, "scores", peeking)
    leaky = audited(NEW).facts
    assert leaky["transduction"]["dependent"]
    assert not leaky["naming"]["passed"]


STREAM = """
name: stream
data: glyphs
encoder: {name: conv4, width: 4}
ways: 3
shots: 2
variants: [{label: none, strategy: STRATEGY, pretext: {name: simclr, batch_size: 8}}]
budget: {pretrain_steps: 2}
evaluate: {protocol: continual, groups: 3, episodes: 9, queries: 2, test_steps: 3, \
rates: [0.3, 0.05], rate_tasks: 2}
"""
STRATEGIES = [
    *entries("strategy"),
    "{name: prototypes, pretext_steps: 1}",
    "{name: replay, pretext_steps: 1}",
]


@pytest.mark.parametrize(
    ("strategy", "groups"),
    [(one, "groups: 3") for one in STRATEGIES]
    + [("prototypes", "scenario: domain, domains: {name: rotation}")],
)
def test_a_stream_is_audited(
    audited: Audited, monkeypatch: pytest.MonkeyPatch, strategy: str, groups: str
) -> None:
    """A row is audited on the first group of streams: no strategy leaks, what leaks is found."""
    text = STREAM.replace("STRATEGY", strategy).replace("groups: 3", groups)
    honest = audited(text).facts
    assert not honest["transduction"]["dependent"]
    assert honest["naming"]["accuracy"] == pytest.approx(1 / 3, abs=0.05)
    assert honest["naming"]["passed"]

    own = Scholar.scores

    def peeking(self: Scholar, params: Tensors, task: Task) -> Tensor:
        return own(self, params, task) + task.query_x.mean() + 99 * F.one_hot(task.query_y, 3)

    monkeypatch.setattr(Scholar, "scores", peeking)
    leaky = audited(text).facts
    assert leaky["transduction"]["dependent"]
    assert not leaky["naming"]["passed"]


def test_an_audit_repeats(audited: Audited) -> None:
    """Twice the same row is twice the same facts, whatever was drawn between."""
    text = f"{HEAD}meta: {METAS['maml']}\n"
    first = audited(text)
    torch.rand(3)
    second = audited(text)
    assert (first.facts, first.metrics) == (second.facts, second.metrics)


def test_the_weights_are_those_of_the_test(
    path: Path_, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trained row is audited with the numbers that were stored, in float64."""
    stages = path(f"{HEAD}meta: {METAS['maml']}\n")
    perform(stages["metatrain"], place_in(store))
    seen: list[Tensors] = []
    own = Examiner.scores

    def watched(self: Examiner, params: Tensors, task: Task) -> Tensor:
        seen.append(self._model.params)
        return own(self, params, task)

    monkeypatch.setattr(Examiner, "scores", watched)
    result = audit_row(stages["audit"], place_in(store))
    stored = load(store.read("metatrain", stages["metatrain"].key, "weights.safetensors"))
    assert all(torch.equal(value, stored[name].double()) for name, value in seen[0].items())
    assert all(value.dtype == torch.float64 for value in seen[0].values())
    assert not result.facts["transduction"]["dependent"]


def test_float64_ends_with_the_stage(audited: Audited, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the stage numbers are float64, after it torch's default is what it was."""
    met: list[torch.dtype] = []

    def noted(own: object, learner: AbstractLearner, params: Tensors, task: Task) -> Tensor:
        met.extend([torch.get_default_dtype(), task.query_x.dtype])
        return torch.full((len(task.query_x), task.ways), torch.nan)

    audited(f"{HEAD}meta: none\n")
    assert torch.get_default_dtype() == torch.float32
    monkeypatch.setattr(NoMeta, "predict", noted)
    with pytest.raises(Diverged, match="test episode 0"):
        audited(f"{HEAD}meta: none\n")
    assert torch.get_default_dtype() == torch.float32
    assert set(met) == {torch.float64}


def test_a_part_that_is_not_finite_is_no_result(
    audited: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores that are not finite once queries are removed end the stage as not finite."""

    def brittle(own: object, learner: AbstractLearner, params: Tensors, task: Task) -> Tensor:
        few = len(task.query_x) < task.ways * 2
        return torch.full((len(task.query_x), task.ways), torch.nan if few else 1.0)

    monkeypatch.setattr(NoMeta, "predict", brittle)
    with pytest.raises(Diverged, match="or of a part of it"):
        audited(f"{HEAD}meta: none\n")


def test_what_is_told_and_counted(audited: Audited) -> None:
    """It tells of every episode, and counts every example that passes forward."""
    heard: list[Event] = []
    result = audited(f"{HEAD}meta: {METAS['maml']}\n", heard)
    assert isinstance(heard[0], Started)
    assert (heard[0].step, heard[0].total) == (0, 4 + 8)
    told = [one for one in heard if isinstance(one, Progress)]
    assert [one.step for one in told] == list(range(1, 13))
    assert told[-1].values == {"naming": result.facts["naming"]["accuracy"]}
    support, queries, steps, left = 3 * 2, 3 * 2, 2, 3
    variants = 3 * (support + queries) + (support + left)
    transduction = 4 * (steps * support + variants)
    assert result.cost["examples"] == transduction + 8 * 3 * (steps * support + support + queries)
    assert (result.files, result.curve) == ({}, {"steps": []})


def test_a_frozen_encoder_embeds_what_is_shown(audited: Audited) -> None:
    """Of a frozen encoder, the images of the audited episodes pass once, and no others."""
    examples = audited(f"{HEAD}meta: protonet\n").cost["examples"]
    assert 3 * (2 + 2) < examples <= 8 * 3 * (2 + 2)


@pytest.mark.parametrize("text", [f"{HEAD}meta: {MAML}\n", NEW])
def test_tasks_at_once_are_tasks_one_by_one(
    audited: Audited, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Through vmap, as on a GPU, an audit finds and counts what it does in a loop."""
    for stage in ("evaluate", "few_steps"):
        monkeypatch.setattr(f"bench.stages.{stage}.channels_last", lambda *_, **__: False)
    alone = audited(text)
    monkeypatch.setitem(TASKS_AT_ONCE, "cpu", 2)
    together = audited(text)
    assert together.cost["examples"] == alone.cost["examples"]
    assert together.facts["naming"] == alone.facts["naming"]
    assert worst(together.facts["transduction"]) < 1e-9


def test_the_interval_of_naming() -> None:
    """It reaches t(7) at 99 %, 3.499 standard errors, and never less than 2 points."""
    accuracy_E = np.array([0.1, 0.3] * 4)
    reach = 3.499483 * (0.01 * 8 / 7 / 8) ** 0.5
    assert _interval(accuracy_E) == pytest.approx((0.2 - reach, 0.2 + reach), abs=1e-6)
    assert _interval(np.full(8, 0.2)) == pytest.approx((0.18, 0.22))
