"""Where training starts: labels, a file of weights; and the norms that weights are tested with."""

import hashlib
import time
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from bench import checkpoint, weights
from bench.cell import StageSpec
from bench.cli import main
from bench.dataset import Dataset, Facts, facts
from bench.errors import UserError
from bench.form import Form, vocabulary_digest
from bench.plan import Plan, make_plan
from bench.stages import metatrain
from bench.stages.perform import perform
from bench.stages.place import Place
from bench.store import Store
from bench.suite import read_suite

HEAD = """
name: starts
data: glyphs
ways: 3
shots: 1
seeds: 1
budget: {pretrain_steps: 4, metatrain_steps: 4}
evaluate: {episodes: 20, queries: 5, test_steps: 2}
"""
PROTONET = "{name: protonet, task_ways: 3, task_shots: 1, task_queries: 2}"
MAML = "{name: maml, order: 1, steps: 1, tasks_per_step: 1, task_shots: 1, task_queries: 2}"


class TinyRun(Protocol):
    """The fixture ``finished``."""

    suite: Path

    def options(self) -> list[str]:
        """Return the options that name its folders."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    made = Store(tmp_path / "results")
    made.prepare()
    return made


def plan_of(folder: Path, glyphs: Dataset, text: str) -> Plan:
    """Return the plan of a suite's text."""
    encoder = "" if "encoder:" in text else "encoder: {name: conv4, width: 4}\n"
    (folder / "suite.yaml").write_text(HEAD + encoder + text)
    return make_plan(read_suite(folder / "suite.yaml"), lambda name, source: facts(glyphs))


def stages_of(plan: Plan, variant: str) -> dict[str, StageSpec]:
    """Return the stages of a variant's only cell."""
    (cell,) = [cell for cell in plan.cells if cell.variant == variant]
    return {kind: plan.stages[key] for kind, key in cell.stages.items()}


def work(store: Store, *specs: StageSpec) -> None:
    """Run stages here that the store lacks."""
    for spec in specs:
        perform(spec, Place(store=store, device=torch.device("cpu"), emit=lambda event: None))


def test_supervised_pre_training_learns_the_labels(
    tmp_path: Path, glyphs: Dataset, store: Store
) -> None:
    """On images that it has not seen before, its loss falls below that of guessing the class."""
    text = (
        "variants: [{label: mine, init: {name: supervised, rate: 0.01}, meta: none,"
        " encoder: {name: conv4, width: 16}, budget: {pretrain_steps: 60}}]\n"
    )
    specs = stages_of(plan_of(tmp_path, glyphs, text), "mine")
    work(store, specs["pretrain"])
    losses = store.manifest("pretrain", specs["pretrain"].key)["curve"]["loss"]
    guessing = np.log(len(glyphs.splits["train"]))
    assert abs(losses[0] - guessing) < 0.5
    assert np.mean(losses[-10:]) < guessing - 0.1


def test_supervised_pre_training_is_a_row_that_saw_labels(tmp_path: Path, glyphs: Dataset) -> None:
    """It trains on labels, so it is compared with rows that did; its cell names no pretext."""
    plan = plan_of(tmp_path, glyphs, f"init: supervised\nmeta: {MAML}\ntasks: instances\n")
    (cell,) = [cell for cell in plan.cells if not cell.control]
    assert (cell.init, cell.pretext, cell.labels) == ("supervised", "none", "train")
    assert list(cell.stages) == ["pretrain", "metatrain", "evaluate"]


def test_a_pretext_beside_another_start_is_dropped(tmp_path: Path, glyphs: Dataset) -> None:
    """A pretext that would not be used is a reason to drop the combination."""
    text = "grid: {init: [supervised], pretext: [none, rotation], meta: [none]}\n"
    plan = plan_of(tmp_path, glyphs, text)
    reason = "init is supervised, so the pretext rotation would not be used"
    assert [one.reason for one in plan.dropped] == [reason]


def test_an_unknown_init_is_a_mistake(tmp_path: Path, glyphs: Dataset) -> None:
    """A misspelt start stops the plan with a suggestion."""
    with pytest.raises(UserError, match=r"unknown init 'supervized'. Did you mean supervised\?"):
        plan_of(tmp_path, glyphs, "init: supervized\nmeta: none\n")


# --- weights from a file


@pytest.fixture
def exported(tmp_path: Path, glyphs: Dataset, store: Store) -> tuple[Path, str]:
    """Return a file of weights that rotation pre-trained, and its sha256."""
    plan = plan_of(tmp_path, glyphs, "pretext: rotation\nmeta: none\n")
    specs = stages_of(plan, "rotation + none")
    work(store, *specs.values())
    file = tmp_path / "rotation.safetensors"
    content = weights.pack(
        store.read("pretrain", specs["pretrain"].key, weights.WEIGHTS), {"labels": "none"}
    )
    file.write_bytes(content)
    return file, hashlib.sha256(content).hexdigest()


def test_weights_from_a_file_are_the_very_weights(
    tmp_path: Path, glyphs: Dataset, store: Store, exported: tuple[Path, str]
) -> None:
    """Tested from a file, an encoder answers each episode as where it was trained."""
    text = f"init: {{checkpoint: {exported[0]}, sha256: {exported[1]}}}\nmeta: none\n"
    here = stages_of(plan_of(tmp_path, glyphs, text), "checkpoint + none")
    assert list(here) == ["evaluate"]
    work(store, *here.values())
    there = stages_of(
        plan_of(tmp_path, glyphs, "pretext: rotation\nmeta: none\n"), "rotation + none"
    )
    files = [
        store.read("evaluate", one["evaluate"].key, "episodes.parquet") for one in (here, there)
    ]
    assert files[0] == files[1]


def test_meta_training_starts_from_a_file(
    tmp_path: Path, glyphs: Dataset, store: Store, exported: tuple[Path, str]
) -> None:
    """Meta-training from exported weights gives the bytes of meta-training from the stage."""
    text = f"init: {{checkpoint: {exported[0]}, sha256: {exported[1]}}}\nmeta: {MAML}\n"
    here = stages_of(plan_of(tmp_path, glyphs, text), "checkpoint + maml")
    there = stages_of(
        plan_of(tmp_path, glyphs, f"pretext: rotation\nmeta: {MAML}\n"), "rotation + maml"
    )
    work(store, here["metatrain"], there["metatrain"])
    files = [
        store.read("metatrain", one["metatrain"].key, weights.WEIGHTS) for one in (here, there)
    ]
    assert files[0] == files[1]


def test_the_file_may_go_once_a_plan_has_seen_it(
    tmp_path: Path, glyphs: Dataset, exported: tuple[Path, str]
) -> None:
    """Weights are known by their digest; the path is in no key."""
    text = "init: {{checkpoint: {}, sha256: {}}}\nmeta: none\n"
    before = plan_of(tmp_path, glyphs, text.format(*exported)).stages
    exported[0].rename(tmp_path / "moved.safetensors")
    assert plan_of(tmp_path, glyphs, text.format(*exported)).stages == before
    moved = text.format(tmp_path / "moved.safetensors", exported[1])
    assert plan_of(tmp_path, glyphs, moved).stages == before


def _foreign(folder: Path, tensors: dict[str, np.ndarray]) -> str:
    content = save(tensors)
    (folder / "foreign.safetensors").write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def test_weights_without_a_note_need_their_labels(
    tmp_path: Path, glyphs: Dataset, exported: tuple[Path, str]
) -> None:
    """A file that does not say which labels it saw is taken only with the suite's word for it."""
    bare = {k.removeprefix("encoder."): v for k, v in load(exported[0].read_bytes()).items()}
    file, sha256 = tmp_path / "foreign.safetensors", _foreign(tmp_path, bare)
    line = f"checkpoint: {file}, sha256: {sha256}"
    with pytest.raises(UserError, match="does not note which labels its training saw"):
        plan_of(tmp_path, glyphs, f"init: {{{line}}}\nmeta: none\n")
    plan = plan_of(tmp_path, glyphs, f"init: {{{line}, labels: train}}\nmeta: none\n")
    assert [cell.labels for cell in plan.cells if not cell.control] == ["train"]


def test_weights_that_do_not_fit_are_refused(
    tmp_path: Path, glyphs: Dataset, exported: tuple[Path, str]
) -> None:
    """Another width, a missing tensor, another file or none at all stop the plan."""
    file, sha256 = exported
    text = f"init: {{checkpoint: {file}, sha256: {sha256}}}\nmeta: none\n"
    with pytest.raises(UserError, match=r"is \[4, 1, 3, 3\], the encoder's is \[8, 1, 3, 3\]"):
        plan_of(tmp_path, glyphs, f"{text}encoder: {{name: conv4, width: 8}}\n")
    with pytest.raises(UserError, match="the encoder has no weights to take from a file"):
        plan_of(tmp_path, glyphs, f"{text}encoder: raw\n")
    with pytest.raises(UserError, match="holds running statistics, which an encoder under norm"):
        plan_of(tmp_path, glyphs, f"{text}norm: group\n")
    tensors = load(file.read_bytes())
    del tensors["encoder.1.1.running_mean"]
    foreign = _foreign(tmp_path, tensors)
    line = f"init: {{checkpoint: {tmp_path}/foreign.safetensors, sha256: {foreign}}}\nmeta: none\n"
    with pytest.raises(UserError, match=r"running_mean is not in the file"):
        plan_of(tmp_path, glyphs, line)
    with pytest.raises(UserError, match=f"write sha256: {sha256}"):
        plan_of(tmp_path, glyphs, text.replace(sha256, "a" * 64))
    with pytest.raises(UserError, match="cannot be read"):
        plan_of(tmp_path, glyphs, f"init: {{checkpoint: no, sha256: {'b' * 64}}}\nmeta: none\n")


def test_the_command_exports_what_init_reads(
    finished: TinyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``bench export-model`` prints the line that a suite takes; its note says what was seen."""
    cell = "rotation + maml/glyphs 5-way 1-shot/seed 0"
    out = tmp_path / "maml.safetensors"
    asked = ["export-model", str(finished.suite), cell, "--out", str(out), *finished.options()]
    assert main(asked) == 0
    sha256 = hashlib.sha256(out.read_bytes()).hexdigest()
    assert capsys.readouterr().out == f"init: {{checkpoint: {out}, sha256: {sha256}}}\n"
    kept = weights.keep(out, sha256, "here")
    assert kept.note["labels"] == "train"
    assert kept.note["cell"] == cell
    assert all(name.startswith("encoder.") for name in kept.shapes)


def test_a_cell_without_training_has_no_weights(
    finished: TinyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is nothing to export of a random encoder."""
    out = str(tmp_path / "none.safetensors")
    cell = "random_init/glyphs 5-way 1-shot/seed 0"
    asked = ["export-model", str(finished.suite), cell, "--out", out, *finished.options()]
    assert main(asked) == 2
    assert "trains no encoder" in capsys.readouterr().err


# --- norms


@pytest.mark.parametrize(("meta", "own"), [(PROTONET, "running"), (MAML, "support")])
def test_a_transductive_row_has_its_inductive_row_beside_it(
    tmp_path: Path, glyphs: Dataset, store: Store, meta: str, own: str
) -> None:
    """The same weights are tested under the method's default norm: running, or the support's.

    Running statistics do not follow gradient steps.
    """
    plan = plan_of(tmp_path, glyphs, f"norm: transductive\nmeta: {meta}\n")
    row, beside = [cell.variant for cell in plan.cells if not cell.control]
    assert beside == f"{row}, {own} statistics"
    both = [stages_of(plan, name) for name in (row, beside)]
    assert both[0]["metatrain"] == both[1]["metatrain"]
    assert [one["evaluate"].inputs["norm"] for one in both] == ["transductive", own]
    work(store, both[0]["metatrain"], *(one["evaluate"] for one in both))


def test_transductive_training_ends_with_running_statistics(
    tmp_path: Path, glyphs: Dataset, store: Store
) -> None:
    """They are those of the training split under the trained weights."""
    plan = plan_of(tmp_path, glyphs, f"norm: transductive\nmeta: {PROTONET}\n")
    spec = stages_of(plan, "none + protonet")["metatrain"]
    work(store, spec)
    trained = load(store.read("metatrain", spec.key, weights.WEIGHTS))
    mean = trained["encoder.0.1.running_mean"]
    images = torch.from_numpy(np.array(glyphs.part("train").examples)).float() / 255
    kernel, bias = (torch.from_numpy(trained[f"encoder.0.0.{n}"]) for n in ("weight", "bias"))
    exact = torch.nn.functional.conv2d(images, kernel, bias, padding=1).mean((0, 2, 3))
    assert np.allclose(mean, exact.numpy(), rtol=0.05, atol=0.01)


def test_the_seconds_of_running_statistics_count(
    tmp_path: Path, glyphs: Dataset, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is passed forward for them at the end is part of the cost of training."""
    taken, now = metatrain._running_statistics, time.perf_counter

    def later() -> bool:
        monkeypatch.setattr(time, "perf_counter", lambda: now() + 1000)
        return True

    monkeypatch.setattr(metatrain, "_running_statistics", lambda *given: later() and taken(*given))
    plan = plan_of(tmp_path, glyphs, f"norm: transductive\nmeta: {PROTONET}\n")
    spec = stages_of(plan, "none + protonet")["metatrain"]
    work(store, spec)
    assert store.manifest("metatrain", spec.key)["cost"]["seconds"] > 1000


def test_what_is_not_meta_trained_has_no_inductive_row_that_is_there_already(
    tmp_path: Path, glyphs: Dataset
) -> None:
    """Pre-training sees no queries: the same weights under running statistics are a plain row."""
    text = "meta: none\ngrid: {pretext: [none, rotation], norm: [running, transductive]}\n"
    plan = plan_of(tmp_path, glyphs, text)
    assert not [cell.variant for cell in plan.cells if "statistics" in cell.variant]
    alone = plan_of(tmp_path, glyphs, "meta: none\npretext: rotation\nnorm: transductive\n")
    (cell,) = [cell for cell in alone.cells if "statistics" in cell.variant]
    assert cell.variant.endswith(", running statistics")
    assert (cell.norm, cell.params["norm.trained"]) == ("running", "running")


def test_other_norms_take_no_statistics_at_the_end(tmp_path: Path, glyphs: Dataset) -> None:
    """Only transductive training has no running statistics of its own."""
    plan = plan_of(tmp_path, glyphs, f"norm: support\nmeta: {MAML}\n")
    assert "running_statistics" not in stages_of(plan, "none + maml")["metatrain"].inputs
    assert [cell.variant for cell in plan.cells] == ["none + maml", "random_init"]


def test_group_norm_normalises_each_example_alone(
    tmp_path: Path, glyphs: Dataset, store: Store
) -> None:
    """Under group norm a network keeps no running statistics, in any stage of a path."""
    plan = plan_of(tmp_path, glyphs, f"norm: group\npretext: rotation\nmeta: {MAML}\n")
    specs = stages_of(plan, "rotation + maml")
    assert {spec.inputs["norm"] for spec in specs.values()} == {"group"}
    work(store, *specs.values())
    for kind in ("pretrain", "metatrain"):
        names = load(store.read(kind, specs[kind].key, weights.WEIGHTS))
        assert not [name for name in names if "running" in name]


@pytest.mark.parametrize(("noted", "said"), [("a", None), ("b", "another vocabulary"), ("", "no")])
def test_weights_read_the_tokens_that_they_were_made_with(noted: str, said: str | None) -> None:
    """An encoder of text is taken from a file only where ids stand for the tokens of the set."""
    forms = {one: Form(shape=(4,), modality="text", vocabulary=("[PAD]", one)) for one in "ab"}
    note = {"vocabulary": vocabulary_digest(forms[noted])} if noted else {}
    known = Facts(form=forms["a"], counts={}, digest="0" * 64)
    found = weights.Weights(sha256="", shapes={}, note=note)
    told = checkpoint._unread(found, known)
    assert told is None if said is None else told is not None and said in told
