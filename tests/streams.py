"""Rows that learn streams: small suites, and what tests of them share."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from pyarrow import BufferReader, parquet

from bench.cell import Event, StageSpec
from bench.dataset import Dataset, facts
from bench.plan import make_plan
from bench.stages.continual import Scholar
from bench.stages.perform import perform
from bench.stages.place import Place
from bench.stages.source import read_part
from bench.store import Store
from bench.suite import read_suite

SUITE = """
name: streams
data: glyphs
encoder: {name: conv4, width: 4}
ways: 3
shots: 2
seeds: 1
variants:
  - {label: first, pretext: {name: simclr, batch_size: 8}, strategy: naive}
budget: {pretrain_steps: 2}
evaluate: {protocol: continual, groups: 3, episodes: 3, queries: 2, test_steps: 2, \
rates: [0.3, 0.05], rate_tasks: 3}
"""
DOMAINS = ("groups: 3", "scenario: domain, domains: {name: rotation}")
TASK = ("groups: 3", "scenario: task, groups: 3")
SCENARIOS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "class": (),
    "task": (TASK,),
    "domain": (DOMAINS,),
}


def store_in(folder: Path) -> Store:
    """Return an empty store."""
    made = Store(folder)
    made.prepare()
    return made


def row_of(folder: Path, glyphs: Dataset, store: Store, *changes: tuple[str, str]) -> StageSpec:
    """Return the test of the row of a changed suite; its pre-training is in the store."""
    text = SUITE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "suite.yaml").write_text(text)
    made = make_plan(read_suite(folder / "suite.yaml"), lambda name, source: facts(glyphs))
    (cell,) = [one for one in made.cells if one.variant == "first"]
    stages = [made.stages[key] for key in cell.stages.values()]
    for spec in stages:
        if spec.kind == "pretrain" and not store.has("pretrain", spec.key):
            perform(spec, place_in(store))
    (tested,) = [spec for spec in stages if spec.kind == "evaluate"]
    return tested


def place_in(store: Store, heard: list[Event] | None = None, seconds: float = 20) -> Place:
    """Return a place on the CPU whose events are collected."""
    emit = (heard if heard is not None else []).append
    return Place(store=store, device=torch.device("cpu"), emit=emit, checkpoint_seconds=seconds)


def with_strategy(name: str) -> tuple[str, str]:
    """Return the change of the suite that gives its row another strategy."""
    return "strategy: naive", f"strategy: {name}"


def matrices(store: Store, spec: StageSpec) -> tuple[np.ndarray, np.ndarray]:
    """Return M [E, T, T] and accuracies [E, T] of a finished test."""
    table = parquet.read_table(BufferReader(store.read("evaluate", spec.key, "episodes.parquet")))
    groups = spec.inputs["groups"]
    assert table["step"].to_pylist() == [*range(1, groups + 1)] * spec.inputs["episodes"]
    columns = [table[f"on_{j}"].to_numpy().reshape(-1, groups) for j in range(1, groups + 1)]
    return np.stack(columns, axis=2), table["accuracy"].to_numpy().reshape(-1, groups)


def scholar_of(spec: StageSpec, store: Store) -> Scholar:
    """Return the start of a test."""
    return Scholar(spec.inputs, place_in(store), read_part(spec.inputs["data"]).form)
