"""The mirror in MLflow: complete, without duplicates, live, repairable, and never in the way."""

import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from bench.cell import Cell, Failed, Finished, Progress, StageSpec, Started
from bench.errors import UserError
from bench.plan import Plan
from bench.record import Recorder, needs_sync, sync, ui_command
from bench.store import Store

STEPS = [10, 20, 30]
LOSSES = [3.0, 2.0, 1.5]
CURVE = list(zip(STEPS, LOSSES, strict=True))


def plugin(name: str, **params: float) -> dict[str, object]:
    """Return a plug-in as a stage's inputs hold it."""
    return {"name": name, "revision": 1, "params": params}


def make_plan(name: str, num_cells: int = 2) -> Plan:
    """Return cells of shots 1, 2, ... that share one pre-training."""
    simclr, protonet = plugin("simclr", temperature=0.5), plugin("protonet")
    pretrain = StageSpec(kind="pretrain", inputs={"pretext": simclr, "seed": 0, "needs": {}})
    stages, cells = [pretrain], []
    for shots in range(1, num_cells + 1):
        evaluate = StageSpec(
            kind="evaluate",
            inputs={
                "meta": protonet,
                "tasks": None,
                "ways": 5,
                "shots": shots,
                "seed": 0,
                "needs": {"pretrain": pretrain.key},
            },
        )
        stages.append(evaluate)
        cells.append(make_cell(shots, {"pretrain": pretrain.key, "evaluate": evaluate.key}))
    return Plan(name=name, cells=tuple(cells), stages={stage.key: stage for stage in stages})


def make_cell(shots: int, stages: dict[str, str]) -> Cell:
    """Return a cell of simclr + protonet."""
    return Cell(
        variant="simclr + protonet",
        data="glyphs",
        encoder="conv4",
        pretext="simclr",
        init="pretext",
        tasks="none",
        auxiliary="none",
        meta="protonet",
        norm="running",
        labels="none",
        ways=5,
        shots=shots,
        seed=0,
        params={"pretext.temperature": 0.5, "notes": "x" * 9000},
        stages=stages,
    )


def finish(
    store: Store, spec: StageSpec, losses: Sequence[float] = LOSSES, steps: Sequence[int] = STEPS
) -> None:
    """Commit a stage as its worker would."""
    cost = {"seconds": 2.0, "examples": 64, "peak_memory_bytes": None, "parameters": 100}
    manifest = {"kind": spec.kind, "key": spec.key, "cost": cost, "provenance": {"torch": "2.15"}}
    if spec.kind == "evaluate":
        manifest |= {"metrics": {"accuracy": 0.8}, "bank": "b" * 64}
        manifest |= {"curve": {"steps": [0, 1, 10], "accuracy": [0.5, 0.7, 0.8]}}
        files = {"episodes.parquet": b"one accuracy an episode"}
    else:
        manifest |= {"metrics": {"loss": 1.5}, "curve": {"steps": steps, "loss": losses}}
        files = {}
    with store.writing(spec.key):
        store.commit(spec, manifest, files)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One results folder for the module: creating MLflow's database takes seconds."""
    return tmp_path_factory.mktemp("results")


@pytest.fixture(autouse=True)
def local_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests use the results folder, whatever the developer's environment says."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@dataclass(frozen=True)
class Scene:
    """A plan, a store of its own, and the shared results folder with the mirror."""

    plan: Plan
    store: Store
    results: Path

    @property
    def client(self) -> MlflowClient:
        """The mirror, opened without bench."""
        return MlflowClient(f"sqlite:///{self.results.resolve() / 'mlflow.db'}")

    def recorder(self, pending: Iterable[str]) -> Recorder:
        """Begin an invocation."""
        recorder = Recorder(self.store, self.results)
        recorder.begin(self.plan, list(pending))
        return recorder

    def run_everything(self) -> None:
        """Play an invocation in which every stage of the plan succeeds."""
        recorder = self.recorder(self.plan.stages)
        for key, spec in self.plan.stages.items():
            if spec.kind == "pretrain":
                train(recorder, key, STEPS)
            finish(self.store, spec)
            recorder.on(Finished(key=key))
        recorder.end(interrupted=False)

    def sync(self) -> int:
        """Bring the mirror up to date."""
        return sync(self.plan, self.store, self.results)

    def needs_sync(self) -> bool:
        """Whether the mirror is out of date."""
        return needs_sync(self.plan, self.store, self.results)

    def runs(self) -> dict[str, list[Run]]:
        """Return the runs of the plan's experiment by kind, cells in the order of their shots."""
        experiment = self.client.get_experiment_by_name(self.plan.name)
        assert experiment is not None
        kinds: dict[str, list[Run]] = {"invocation": [], "stage": [], "cell": []}
        for run in self.client.search_runs([experiment.experiment_id]):
            kinds[run.data.tags["kind"]].append(run)
        kinds["cell"].sort(key=lambda run: int(run.data.params["shots"]))
        return kinds

    def history(self, run: Run, name: str) -> list[tuple[int, float]]:
        """Return every point of a metric, duplicates included."""
        points = self.client.get_metric_history(run.info.run_id, name)
        return sorted((point.step, point.value) for point in points)


@pytest.fixture
def scene(request: pytest.FixtureRequest, tmp_path: Path, results: Path) -> Scene:
    """An empty store, and a plan whose experiment no other test uses."""
    store = Store(tmp_path)
    store.prepare()
    return Scene(make_plan(request.node.name), store, results)


def train(recorder: Recorder, key: str, steps: list[int], start: int = 0) -> None:
    """Send what a worker sends from its start on."""
    recorder.on(Started(key=key, step=start, total=30))
    for step in steps:
        value = LOSSES[STEPS.index(step)]
        recorder.on(Progress(key=key, step=step, total=30, values={"loss": value}))


def test_a_run_leaves_a_parent_with_stages_and_cells(scene: Scene) -> None:
    """One parent holds one run a trained stage and one a cell, all finished."""
    scene.run_everything()
    runs = scene.runs()
    parent = runs["invocation"][0].info.run_id
    children = runs["stage"] + runs["cell"]
    assert [len(runs[kind]) for kind in ("invocation", "stage", "cell")] == [1, 1, 2]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent}
    assert {run.info.status for some in runs.values() for run in some} == {"FINISHED"}
    assert not scene.needs_sync()


def test_a_cell_holds_params_metrics_curves_and_episodes(scene: Scene) -> None:
    """A cell's run says what the cell is, what came out, and where its stages' runs are."""
    scene.run_everything()
    runs = scene.runs()
    cell = runs["cell"][1]
    identifying = {name: cell.data.params[name] for name in ("meta", "shots", "control")}
    assert identifying == {"meta": "protonet", "shots": "2", "control": ""}
    assert cell.data.params["pretext.temperature"] == "0.5"
    assert cell.data.metrics["accuracy"] == 0.8
    assert cell.data.metrics["cost/seconds"] == 2.0
    assert scene.history(cell, "adaptation/accuracy") == [(0, 0.5), (1, 0.7), (10, 0.8)]
    assert scene.history(cell, "pretrain/loss") == CURVE
    assert cell.data.tags["run.pretrain"] == runs["stage"][0].info.run_id
    artifact = Path(cell.info.artifact_uri.removeprefix("file://")) / "episodes.parquet"
    assert artifact.read_bytes() == b"one accuracy an episode"
    assert artifact.is_relative_to(scene.results.resolve() / "mlartifacts")


def test_a_stage_is_live_and_its_points_are_there_once(scene: Scene) -> None:
    """A curve can be read while its stage runs, and closing it adds no point twice."""
    key, spec = next(iter(scene.plan.stages.items()))
    recorder = scene.recorder([key])
    train(recorder, key, [10])
    recorder._flushed = 0.0
    train(recorder, key, [20])
    (live,) = scene.runs()["stage"]
    assert live.info.status == "RUNNING"
    assert live.data.params["pretext.temperature"] == "0.5"
    assert scene.history(live, "pretrain/loss")[0] == (10, 3.0)
    finish(scene.store, spec)
    recorder.on(Finished(key=key))
    recorder.end(interrupted=False)
    (closed,) = scene.runs()["stage"]
    assert closed.info.run_id == live.info.run_id
    assert scene.history(closed, "pretrain/loss") == CURVE


@pytest.mark.parametrize("start", [0, 10, 20])
def test_a_killed_run_goes_on_without_duplicates(scene: Scene, start: int) -> None:
    """After a kill the same run goes on from any checkpoint, and nothing stays RUNNING."""
    key, spec = next(iter(scene.plan.stages.items()))
    killed = scene.recorder([key])
    train(killed, key, [10, 20])
    assert killed._mirror is not None
    killed._flush(killed._mirror)
    (before,) = scene.runs()["stage"]
    second = scene.recorder([key])
    train(second, key, [step for step in STEPS if step > start], start)
    finish(scene.store, spec)
    second.on(Finished(key=key))
    second.end(interrupted=False)
    runs = scene.runs()
    (stage,) = runs["stage"]
    assert stage.info.run_id == before.info.run_id
    assert scene.history(stage, "pretrain/loss") == CURVE
    assert Counter(run.info.status for run in runs["invocation"]) == {"KILLED": 1, "FINISHED": 1}
    assert stage.info.status == "FINISHED"
    assert stage.data.tags["mlflow.parentRunId"] == next(
        run.info.run_id for run in runs["invocation"] if run.info.status == "FINISHED"
    )


def test_an_interrupt_leaves_nothing_running(scene: Scene) -> None:
    """Ctrl-C ends the parent and the live run as KILLED, points included."""
    key = next(iter(scene.plan.stages))
    recorder = scene.recorder([key])
    train(recorder, key, [10, 20])
    recorder.end(interrupted=True)
    runs = scene.runs()
    assert [run.info.status for run in runs["invocation"] + runs["stage"]] == ["KILLED"] * 2
    assert scene.history(runs["stage"][0], "pretrain/loss") == [(10, 3.0), (20, 2.0)]


def test_a_live_curve_that_differs_from_the_store_is_written_anew(scene: Scene) -> None:
    """The store is the truth: a live point that it does not hold disappears."""
    key, spec = next(iter(scene.plan.stages.items()))
    recorder = scene.recorder([key])
    train(recorder, key, [10, 20])
    finish(scene.store, spec, [3.0, 9.0, 1.5])
    recorder.on(Finished(key=key))
    recorder.end(interrupted=False)
    (stage,) = scene.runs()["stage"]
    assert scene.history(stage, "pretrain/loss") == [(10, 3.0), (20, 9.0), (30, 1.5)]


def test_a_failure_is_a_failed_run_of_stage_and_cells(scene: Scene) -> None:
    """A failed stage and every cell that needs it say why; the curve until then stays."""
    key = next(iter(scene.plan.stages))
    recorder = scene.recorder(scene.plan.stages)
    train(recorder, key, [10])
    scene.store.add_failure(key, {"reason": "the loss is NaN", "traceback": "Traceback: line 1"})
    recorder.on(Failed(key=key, reason="the loss is NaN", traceback="Traceback: line 1"))
    recorder.end(interrupted=False)
    runs = scene.runs()
    failed = runs["stage"] + runs["cell"]
    assert [run.info.status for run in failed] == ["FAILED"] * 3
    assert {run.data.tags["reason"] for run in failed} == {"pretrain: the loss is NaN"}
    trace = Path(failed[0].info.artifact_uri.removeprefix("file://")) / "traceback.txt"
    assert trace.read_text() == "Traceback: line 1"
    assert scene.history(runs["stage"][0], "pretrain/loss") == [(10, 3.0)]
    assert not scene.needs_sync()


def test_a_failure_that_is_mended_is_replaced(scene: Scene) -> None:
    """When a failed stage succeeds later, its run and its cells' become finished ones."""
    scene.store.add_failure(next(iter(scene.plan.stages)), {"reason": "killed", "traceback": ""})
    assert scene.sync() == 3
    scene.run_everything()
    runs = scene.runs()
    assert [run.info.status for run in runs["stage"] + runs["cell"]] == ["FINISHED"] * 3


def test_sync_rebuilds_the_mirror_and_then_does_nothing(scene: Scene) -> None:
    """What the store holds is written once; a second sync leaves no trace, not even a parent."""
    for spec in scene.plan.stages.values():
        finish(scene.store, spec)
    assert scene.needs_sync()
    assert scene.sync() == 3
    before = scene.runs()
    assert not scene.needs_sync()
    assert scene.sync() == 0
    after = scene.runs()
    assert [run.info.run_id for some in after.values() for run in some] == [
        run.info.run_id for some in before.values() for run in some
    ]
    assert scene.history(after["stage"][0], "pretrain/loss") == CURVE
    assert scene.history(after["stage"][0], "loss") == [(0, 1.5)]


def test_sync_rewrites_a_run_that_was_tampered_with(scene: Scene) -> None:
    """A run with another digest is replaced whole, and cells name its successor."""
    scene.run_everything()
    (stage,) = scene.runs()["stage"]
    scene.client.log_metric(stage.info.run_id, "pretrain/loss", 99.0, step=40)
    scene.client.set_tag(stage.info.run_id, "digest", "of something else")
    assert scene.sync() == 3
    runs = scene.runs()
    assert runs["stage"][0].info.run_id != stage.info.run_id
    assert scene.history(runs["stage"][0], "pretrain/loss") == CURVE
    assert {run.data.tags["run.pretrain"] for run in runs["cell"]} == {runs["stage"][0].info.run_id}


def test_two_runs_of_one_cell_become_one(scene: Scene) -> None:
    """A duplicate, as two drivers at once may leave, is deleted."""
    scene.run_everything()
    old = scene.runs()["cell"][0]
    scene.client.create_run(old.info.experiment_id, start_time=1, tags=dict(old.data.tags))
    assert scene.needs_sync()
    assert scene.sync() == 1
    assert len(scene.runs()["cell"]) == 2


def test_a_stage_shared_by_two_suites_is_in_both_mirrors(scene: Scene) -> None:
    """A second suite whose stages are all there mirrors them in its own experiment."""
    scene.run_everything()
    second = replace(scene, plan=replace(scene.plan, name=f"{scene.plan.name}-second"))
    second.recorder([]).end(interrupted=False)
    runs = second.runs()
    assert [len(runs[kind]) for kind in ("invocation", "stage", "cell")] == [1, 1, 2]


def test_an_experiment_deleted_by_hand_comes_back(scene: Scene) -> None:
    """Deleting the experiment in the interface does not stop the next run from recording."""
    scene.run_everything()
    scene.client.delete_experiment(scene.runs()["cell"][0].info.experiment_id)
    assert scene.sync() == 0
    assert len(scene.runs()["cell"]) == 2


def test_a_driver_that_still_runs_is_left_alone(scene: Scene) -> None:
    """A RUNNING parent whose process lives is another invocation's, and stays so."""
    scene.run_everything()
    experiment = scene.runs()["cell"][0].info.experiment_id
    tags = {"kind": "invocation", "host": platform.node(), "pid": str(os.getppid())}
    other = scene.client.create_run(experiment, tags=tags).info.run_id
    child = {"kind": "stage", "key": "0" * 64, "mlflow.parentRunId": other}
    scene.client.create_run(experiment, tags=child)
    assert not scene.needs_sync()
    scene.client.set_tag(other, "host", "a machine that is gone")
    assert scene.needs_sync()
    assert scene.sync() == 0
    runs = scene.runs()
    assert "RUNNING" not in {run.info.status for some in runs.values() for run in some}


def test_a_long_curve_and_many_params_are_sent_whole(scene: Scene) -> None:
    """Curves beyond a batch of metrics, and cells beyond a batch of params, lose nothing."""
    many = replace(scene.plan.cells[0], params={f"p.{number}": number for number in range(250)})
    scene = replace(scene, plan=replace(scene.plan, cells=(many,)))
    spec = next(iter(scene.plan.stages.values()))
    steps = list(range(1, 1201))
    finish(scene.store, spec, [1 / step for step in steps], steps)
    finish(scene.store, scene.plan.stages[many.stages["evaluate"]])
    assert scene.sync() == 2
    (cell,) = scene.runs()["cell"]
    assert {name for name in cell.data.params if name.startswith("p.")} == set(many.params)
    assert scene.history(cell, "pretrain/loss") == [(step, 1 / step) for step in steps]
    assert cell.data.tags["run.pretrain"] == scene.runs()["stage"][0].info.run_id


def test_a_damaged_stage_is_named_and_not_mirrored(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cell whose file fails its checksum gets no run, and the others do."""
    for spec in scene.plan.stages.values():
        finish(scene.store, spec)
    key = scene.plan.cells[0].stages["evaluate"]
    (scene.store.folder("evaluate", key) / "episodes.parquet").write_bytes(b"rotten")
    assert scene.sync() == 2
    assert f"{key}/episodes.parquet does not match" in capsys.readouterr().err
    assert [run.data.params["shots"] for run in scene.runs()["cell"]] == ["2"]


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> str:
    """A tracking server that is not there."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return "http://127.0.0.1:9"


def test_work_goes_on_without_mlflow(
    scene: Scene,
    unreachable: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An unreachable server costs one warning, and a later sync makes up for it."""
    scene.run_everything()
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err.count("bench sync")) == ("", 1, 1)
    with pytest.raises(UserError, match=unreachable):
        scene.sync()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert scene.sync() == 3


def test_mlflow_that_fails_midway_is_left_alone(
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """When a call fails in the middle there is one warning, and sync repairs what it left."""

    def full(*_: object, **__: object) -> None:
        raise OSError("database or disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "log_artifact", full)
        scene.run_everything()
    assert capsys.readouterr().err.count("disk is full") == 1
    assert scene.needs_sync()
    scene.sync()
    runs = scene.runs()
    assert {run.info.status for run in runs["stage"] + runs["cell"]} == {"FINISHED"}
    assert len(runs["cell"]) == 2


def test_importing_the_recorder_does_not_import_mlflow() -> None:
    """Commands that record nothing do not pay MLflow's three seconds."""
    program = "import sys, bench.record; print('mlflow' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_interface_is_served_on_loopback(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command names the mirror's database and this machine only; a server needs no other."""
    command = ui_command(results, 5001)
    database = f"sqlite:///{results.resolve() / 'mlflow.db'}"
    assert command[command.index("--backend-store-uri") + 1] == database
    assert command[command.index("--host") + 1] == "127.0.0.1"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://10.0.0.1:5000")
    with pytest.raises(UserError, match="Open it in a browser"):
        ui_command(results, 5001)
