"""Cells that are computed again: chosen by hash, compared bit for bit, shown by the report."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest

from bench import cli
from bench.cell import Cell, Event, Failed, Finished, Json, StageSpec
from bench.certify import Certificate, below, certify, chosen
from bench.errors import UserError
from bench.execute.protocol import AbstractExecutor
from bench.plan import Plan
from bench.report.evidence.certificate import path_of
from bench.report.results import read_results
from bench.report.write import content_hash
from bench.run import Tally
from bench.stages.evaluate import episodes_file
from bench.store import Store, sums_file

PLACE = {
    "bench": "0.1.0",
    "torch": "2.15.0",
    "hardware": "AMD EPYC",
    "device": "cpu",
    "python": "3.11.7",
    "started": "2026-02-03T04:05:06Z",
}
VARIANTS = ("none", "simclr", "rotation")


def manifest_of(spec: StageSpec, **changes: Json) -> dict[str, Json]:
    """What a stage says of itself; times and place may differ from run to run."""
    number = int(spec.key[:6], 16) / 2**24
    return {
        "kind": spec.kind,
        "key": spec.key,
        "inputs": dict(spec.inputs),
        "metrics": {"accuracy": number},
        "curve": {"steps": [0, 1], "accuracy": [0.2, number]},
        "cost": {"seconds": 1.0, "examples": 8, "peak_memory_bytes": 100, "parameters": 3},
        "provenance": PLACE,
        "bank": "b" * 64,
    } | changes


def commit(store: Store, spec: StageSpec, **changes: Json) -> None:
    """Write a stage whose bytes follow from its key."""
    accuracy_ER = np.random.default_rng(int(spec.key[:8], 16)).random((5, 2))
    episodes = {"episodes.parquet": episodes_file([0, 1], accuracy=accuracy_ER)}
    files = episodes if spec.kind == "evaluate" else {"weights.safetensors": spec.key.encode()}
    with store.writing(spec.key):
        store.commit(spec, manifest_of(spec, **changes), files)


@dataclass
class Again(AbstractExecutor):
    """Computes a stage by its key alone; ``broken`` fails, ``changes`` are of every manifest."""

    store: Store
    changes: dict[str, Json] = field(default_factory=dict)
    broken: str = ""
    slots: int = 2
    waiting: list[Event] = field(default_factory=list)

    def submit(self, spec: StageSpec) -> None:
        """Compute at once."""
        assert all(
            any(self.store.has(kind, key) for kind in ("pretrain", "metatrain"))
            for key in spec.needs
        )
        if spec.kind == self.broken:
            self.waiting.append(Failed(key=spec.key, reason="out of memory"))
            return
        cost = {"seconds": 9.0, "examples": 8, "peak_memory_bytes": 7, "parameters": 3}
        commit(self.store, spec, cost=cost, **self.changes)
        self.waiting.append(Finished(key=spec.key))

    def events(self, timeout: float) -> Sequence[Event]:
        """Return what ended."""
        found, self.waiting = self.waiting, []
        return found

    def close(self) -> None:
        """Do nothing: nothing runs."""


def cell_of(variant: str, seed: int) -> tuple[Cell, list[StageSpec]]:
    """Return a cell and its stages; one without a pretext has no pre-training."""
    specs: list[StageSpec] = []
    if variant != "none":
        inputs: dict[str, Json] = {"pretext": variant, "seed": seed, "needs": {}}
        specs.append(StageSpec(kind="pretrain", inputs=inputs))
    for kind in ("metatrain", "evaluate"):
        needs = {specs[-1].kind: specs[-1].key} if specs else {}
        inputs = {"variant": variant, "seed": seed, "needs": needs}
        specs.append(StageSpec(kind=kind, inputs=inputs))
    cell = Cell(
        variant=variant,
        data="glyphs",
        encoder="conv4",
        pretext=variant,
        init="scratch",
        tasks="labels",
        auxiliary="none",
        meta="protonet",
        norm="running",
        labels="train",
        ways=5,
        shots=1,
        seed=seed,
        stages={spec.kind: spec.key for spec in specs},
    )
    return cell, specs


@pytest.fixture
def finished_plan(tmp_path: Path) -> tuple[Plan, Store]:
    """Return a plan of three variants and four seeds, every stage of it finished."""
    store = Store(tmp_path / "results")
    store.prepare()
    found = [cell_of(variant, seed) for seed in range(4) for variant in VARIANTS]
    stages = {spec.key: spec for _, specs in found for spec in specs}
    for spec in stages.values():
        commit(store, spec)
    cells = tuple(cell for cell, _ in found)
    settings = {"file": "suites/small.yaml", "source_sha256": "0" * 64}
    return Plan(name="small", cells=cells, stages=stages, settings=settings), store


def certified(
    plan: Plan,
    store: Store,
    folder: Path,
    *,
    count: int = 3,
    changes: Mapping[str, Json] | None = None,
    broken: str = "",
) -> Certificate:
    """Recompute some cells in an empty folder, and compare."""
    fresh = Store(folder)
    executor = Again(fresh, changes=dict(changes or {}), broken=broken)
    return certify(plan, chosen(plan, store, count), store, fresh, executor, [])


def tamper(store: Store, spec: StageSpec, name: str, content: bytes) -> None:
    """Change a file of a stage and its SHA256SUMS, as somebody would who hides it."""
    folder = store.folder(spec.kind, spec.key)
    (folder / name).write_bytes(content)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    del files["SHA256SUMS"]
    (folder / "SHA256SUMS").write_bytes(sums_file(files))


def extras(plan: Plan, store: Store) -> Json:
    """What the report has of the certificate."""
    return read_results(plan, store).extras.get("certificate")


# --- the choice


def test_nobody_picks_the_cells(finished_plan: tuple[Plan, Store]) -> None:
    """The order is a hash's, each variant comes before any comes twice, more begin as fewer do."""
    plan, store = finished_plan

    every = chosen(plan, store, 99)

    assert sorted(one.id for one in every) == sorted(one.id for one in plan.cells)
    for first in (0, 3, 6, 9):
        assert {cell.variant for cell in every[first : first + 3]} == set(VARIANTS)
    assert [cell.id for cell in every] != [cell.id for cell in plan.cells]
    assert chosen(plan, store, 4) == every[:4]
    other = replace(plan, settings={**plan.settings, "margin": 0.02})
    assert [cell.id for cell in chosen(other, store, 99)] != [cell.id for cell in every]


def test_cells_that_lack_a_stage_are_not_chosen(finished_plan: tuple[Plan, Store]) -> None:
    """A cell whose pre-training is gone cannot be compared whole; with none left it is said."""
    plan, store = finished_plan
    shutil.rmtree(store.root / "stages" / "pretrain")
    assert {cell.variant for cell in chosen(plan, store, 99)} == {"none"}

    shutil.rmtree(store.root / "stages" / "evaluate")
    with pytest.raises(UserError, match="no cell of it is finished"):
        chosen(plan, store, 1)


# --- the comparison


def test_an_honest_store_is_equal(finished_plan: tuple[Plan, Store], tmp_path: Path) -> None:
    """Every stage down to the first is computed again and equal; times and place do not count."""
    plan, store = finished_plan
    place = PLACE | {"started": "2026-03-01T00:00:00Z"}

    found = certified(plan, store, tmp_path / "fresh", changes={"provenance": place})

    assert found.equal
    assert found.lines[-1].startswith("3 of 12 cells, recomputed on AMD EPYC (cpu), torch 2.15.0")
    specs = below(plan, chosen(plan, store, 3))
    assert [one["key"] for one in found.value["stages"]] == [spec.key for spec in specs]
    assert {one["kind"] for one in found.value["stages"]} == {"pretrain", "metatrain", "evaluate"}
    evaluated = [one for one in found.value["stages"] if one["kind"] == "evaluate"]
    assert all(one["files"] == ["episodes.parquet", "manifest.json"] for one in evaluated)
    assert all(one["largest_difference"] == 0 for one in evaluated)
    assert found.value["seconds"] == 9.0 * len(specs)
    assert json.loads(path_of(plan, store).read_text()) == found.value
    assert path_of(plan, store) == store.root.parent / "certificates" / "small.json"


def test_changed_weights_are_found(finished_plan: tuple[Plan, Store], tmp_path: Path) -> None:
    """Weights that were changed with their sums: the stage and the file are named."""
    plan, store = finished_plan
    spec = next(one for one in below(plan, chosen(plan, store, 3)) if one.kind == "metatrain")
    tamper(store, spec, "weights.safetensors", b"better")

    found = certified(plan, store, tmp_path / "fresh")

    assert not found.equal
    assert [one["key"] for one in found.value["stages"] if not one["equal"]] == [spec.key]
    line = next(line for line in found.lines if "weights.safetensors" in line)
    expected = f"metatrain {spec.key[:12]}, 2 files: weights.safetensors; on the same machine"
    assert line == expected
    assert found.lines[-1].endswith(": not equal")


def test_changed_episodes_are_measured(finished_plan: tuple[Plan, Store], tmp_path: Path) -> None:
    """Accuracies that were changed, and the manifest's mean: how far they are apart is said."""
    plan, store = finished_plan
    spec = plan.stages[chosen(plan, store, 1)[0].stages["evaluate"]]
    accuracy_ER = np.random.default_rng(int(spec.key[:8], 16)).random((5, 2))
    accuracy_ER[2, 1] += 0.25
    tamper(store, spec, "episodes.parquet", episodes_file([0, 1], accuracy=accuracy_ER))
    changed = manifest_of(spec, metrics={"accuracy": 0.9})
    tamper(store, spec, "manifest.json", json.dumps(changed).encode())

    found = certified(plan, store, tmp_path / "fresh", count=1)

    (stage,) = [one for one in found.value["stages"] if one["kind"] == "evaluate"]
    assert stage["largest_difference"] == pytest.approx(0.25)
    assert stage["differs"][0] == "episodes.parquet"
    assert stage["differs"][1].startswith("metrics.accuracy 0.9 there, 0.")


@pytest.mark.parametrize("changes", [{"facts": 1}, {"bank": "c" * 64}, {"curve": {"steps": []}}])
def test_every_other_fact_counts(
    finished_plan: tuple[Plan, Store], tmp_path: Path, changes: dict[str, Json]
) -> None:
    """Of the manifest all must be equal but times, memory and provenance."""
    plan, store = finished_plan

    found = certified(plan, store, tmp_path / "fresh", count=1, changes=changes)

    assert all(one["differs"] for one in found.value["stages"])


def test_other_hardware_is_said(finished_plan: tuple[Plan, Store], tmp_path: Path) -> None:
    """A difference is a difference; where another machine or torch may be why, it says so."""
    plan, store = finished_plan
    changes = {"provenance": PLACE | {"torch": "2.16.0", "hardware": "H100"}, "bank": "c" * 64}

    found = certified(plan, store, tmp_path / "fresh", count=1, changes=changes)

    assert not found.equal
    said = "other hardware or versions (hardware AMD EPYC there, H100 here; torch 2.15.0 there,"
    assert said in found.lines[1]


def test_a_damaged_or_failed_stage_is_not_equal(
    finished_plan: tuple[Plan, Store], tmp_path: Path
) -> None:
    """A stored file that fails its sum, and a stage that cannot be computed, are differences."""
    plan, store = finished_plan
    spec = plan.stages[chosen(plan, store, 1)[0].stages["evaluate"]]
    (store.folder(spec.kind, spec.key) / "episodes.parquet").write_bytes(b"other")
    found = certified(plan, store, tmp_path / "one", count=1)
    assert any("damaged: " in line for line in found.lines)

    found = certified(plan, store, tmp_path / "two", count=1, broken="metatrain")
    assert not found.equal
    assert any("it failed: out of memory; it could not be" in line for line in found.lines)


def test_an_interruption_leaves_no_certificate(
    finished_plan: tuple[Plan, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a recomputation certifies nothing."""
    plan, store = finished_plan
    monkeypatch.setattr("bench.certify.walk", lambda *_: Tally(interrupted=True))

    with pytest.raises(KeyboardInterrupt):
        certified(plan, store, tmp_path / "fresh")

    assert not path_of(plan, store).exists()


# --- the report


def test_a_certificate_is_part_of_the_report(
    finished_plan: tuple[Plan, Store], tmp_path: Path
) -> None:
    """It enters the evidence and the hash, and stays out when it is of other results."""
    plan, store = finished_plan
    before = content_hash(plan, store)
    assert extras(plan, store) is None
    found = certified(plan, store, tmp_path / "fresh")
    assert extras(plan, store) == found.value
    assert content_hash(plan, store) != before

    spec = below(plan, chosen(plan, store, 1))[0]
    tamper(store, spec, "manifest.json", json.dumps(manifest_of(spec, bank="d")).encode())

    assert extras(plan, store) == {"stale": "of 2026-02-03"}
    path_of(plan, store).write_text("{}")
    assert extras(plan, store) == {"stale": "of an unknown day"}


# --- a real run


class TinyRun(Protocol):
    """The fixture ``finished``."""

    suite: Path
    results: Path
    reports: Path


def test_a_real_cell_is_computed_again(
    tmp_path: Path, finished: TinyRun, no_main: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """`bench verify SUITE` recomputes bit for bit; weights that were changed are found; exit 1."""
    shutil.copytree(finished.results, tmp_path / "results")
    shutil.copytree(finished.reports, tmp_path / "reports")
    folders = ["--results", str(tmp_path / "results"), "--reports", str(tmp_path / "reports")]
    command = ["verify", str(finished.suite), *folders, "--device", "cpu"]

    assert cli.main([*command, "--cells", "3", "--workers", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith("3 of 8 cells, recomputed on")
    assert lines[-2].endswith(": equal bit for bit")
    index = tmp_path / "reports" / "tiny" / "index.md"
    assert "3 of 8 cells were recomputed from nothing on" in index.read_text()
    assert cli.main(["verify", str(index.parent), *folders]) == 0
    assert capsys.readouterr().out.endswith("everything agrees\n")

    store = Store(tmp_path / "results")
    (certificate,) = (tmp_path / "results" / "certificates").glob("*.json")
    stages = json.loads(certificate.read_text())["stages"]
    changed = next(one for one in stages if one["kind"] == "metatrain")
    (name,) = set(changed["files"]) - {"manifest.json"}
    spec = StageSpec(kind="metatrain", inputs=store.manifest("metatrain", changed["key"])["inputs"])
    weights = bytearray(store.read(spec.kind, spec.key, name))
    weights[-1] ^= 1
    tamper(store, spec, name, bytes(weights))
    assert cli.main([*command, "--cells", "3"]) == 1
    shown = capsys.readouterr().out
    assert f"metatrain {spec.key[:12]}, 2 files: {name}; on the same machine" in shown
    assert "**not equal bit for bit**" in index.read_text()


def test_a_recomputation_that_cannot_be_is_a_mistake(
    tmp_path: Path, finished: TinyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    """No cell, or a suite that was never run: exit 2, before anything is computed."""
    folders = ["--results", str(finished.results), "--reports", str(tmp_path)]
    assert cli.main(["verify", str(finished.suite), *folders, "--cells", "0"]) == 2
    assert "--cells: 0. Use a number of cells from 1." in capsys.readouterr().err
    folders = ["--results", str(tmp_path / "none"), "--reports", str(tmp_path)]
    assert cli.main(["verify", str(finished.suite), *folders]) == 2
    assert "was never run with this results folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
