"""What a suite comes to: cells and the stages they share. Pure: it can be read before it costs."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from bench import collisions, new_tasks, tested
from bench.audits import Audit, audits_of_data, audits_of_rows
from bench.auxiliary import card_of
from bench.budget import LEAST_STEPS
from bench.catalogue import card
from bench.cell import Cell, Json, StageSpec
from bench.graph import path_of
from bench.new_tasks import members_of, settings_of
from bench.new_tasks import rows_of as tested_rows
from bench.resolution import FactsOf
from bench.rows import Dropped, rows_of
from bench.suite import Suite
from bench.tested import domains_of, readouts_of
from bench.tested import settings_of as protocol_of
from bench.variant import Variant

UNTUNED = "its rows are not tuned yet: these are the rows before, `bench tune` tries others"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything a suite will run; written as JSON to ``results/plans/<name>.json``.

    ``stages`` are in running order: breadth-first over seeds. ``settings`` holds what the
    report needs of the suite: margin, baseline (a class of labels to a variant), episodes,
    queries, test_steps, readouts, seeds, shots, data (name -> digest), source (the YAML), file;
    and, where cells' data are of several sets, roles (a cell's data -> role -> name).
    ``cards`` describe each plug-in used (``meta/maml``): summary, reference, revision, claims,
    params. ``audits``: what is audited, each a stage of its own; none in earlier versions' plans.
    """

    name: str
    cells: tuple[Cell, ...]
    stages: Mapping[str, StageSpec]
    dropped: tuple[Dropped, ...] = ()
    warnings: tuple[str, ...] = ()
    settings: Mapping[str, Json] = field(default_factory=dict)
    cards: Mapping[str, Json] = field(default_factory=dict)
    audits: tuple[Audit, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """Return a JSON value from which ``from_json`` makes an equal plan."""
        return {
            "name": self.name,
            "cells": [cell.described for cell in self.cells],
            "stages": [
                {"key": key, "kind": spec.kind, "needs": list(spec.needs), "inputs": spec.inputs}
                for key, spec in self.stages.items()
            ],
            "dropped": [asdict(one) for one in self.dropped],
            "warnings": list(self.warnings),
            "settings": self.settings,
            "cards": self.cards,
            "audits": [asdict(one) for one in self.audits],
        }

    @staticmethod
    def from_json(value: Mapping[str, Json]) -> "Plan":
        """Rebuild a plan that ``to_json`` wrote."""
        return Plan(
            name=value["name"],
            cells=tuple(
                Cell(**{k: v for k, v in cell.items() if k != "id"}) for cell in value["cells"]
            ),
            stages={
                stage["key"]: StageSpec(kind=stage["kind"], inputs=stage["inputs"])
                for stage in value["stages"]
            },
            dropped=tuple(Dropped(**one) for one in value["dropped"]),
            warnings=tuple(value["warnings"]),
            settings=value["settings"],
            cards=value["cards"],
            audits=tuple(Audit(**one) for one in value.get("audits", ())),
        )


def make_plan(suite: Suite, facts_of: FactsOf, tuning: Json = None) -> Plan:
    """Resolve a suite into cells and stages, in running order.

    ``tuning``: what the tuning of its rows has found, where it asks for one and that is whole.

    Raises:
        UserError: an unknown plug-in, a bad parameter, sizes that the data cannot fill, equal
            variants, a baseline that matches no variant or several.
    """
    found = rows_of(suite, facts_of, tuning)
    variants = found.variants
    rows, without = tested_rows(suite, variants)
    rows += [(one, None) for one in found.defaults]
    dropped = [*found.dropped, *(Dropped(variant=row, reason=why) for row, why in without)]
    cells: list[Cell] = []
    audits = audits_of_data(variants)
    stages = {spec.key: spec for _, spec in audits}
    for seed in suite.seeds:
        for variant, new in rows:
            for shots in suite.shots:
                cell, path = path_of(variant, shots, seed, suite.evaluate, new)
                cells.append(cell)
                stages |= {spec.key: spec for spec in path}
        if seed == suite.seeds[0]:
            of_rows = audits_of_rows([one for one in cells if not one.default_of], stages)
            stages |= {spec.key: spec for _, spec in of_rows}
            audits += of_rows
    return Plan(
        name=suite.name,
        cells=tuple(cells),
        stages=stages,
        dropped=tuple(dropped),
        warnings=(
            *found.warnings,
            *([UNTUNED] if suite.tune and tuning is None else []),
            *_notes(suite, variants),
            *collisions.warnings(variants, suite.shots[0]),
            *new_tasks.warnings(suite, cells),
            *tested.warnings(variants, max(suite.shots)),
        ),
        settings=_settings(suite, variants, found.baseline)
        | ({} if tuning is None else {"tuning": tuning}),
        cards=_cards(suite, variants),
        audits=tuple(audit for audit, _ in audits),
    )


def _notes(suite: Suite, variants: Sequence[Variant]) -> list[str]:
    """Say what a source left out, and where a budget buys less than the least number of steps."""
    domains = [domain for one in variants for domain in one.domains]
    found = [f"{one.title}: {note}" for one in domains for note in one.facts.notes]
    found += [
        f"{one.label}: its {phase} budget buys {bought} steps; {LEAST_STEPS} are taken"
        for one in _with_embeddings(variants)
        for phase in one.phases
        if (bought := one.bought(phase, suite.shots[0])) < LEAST_STEPS
    ]
    return list(dict.fromkeys(found))  # an embedding has its row's label


def _with_embeddings(variants: Sequence[Variant]) -> list[Variant]:
    return [part for one in variants for part in (one, one.embedding) if part]


def _settings(
    suite: Suite, variants: Sequence[Variant], baseline: Mapping[str, str]
) -> dict[str, Json]:
    domains = [domain for one in variants for domain in one.domains]
    settings = (
        settings_of(suite)
        | protocol_of(suite)
        | {
            "file": suite.file,
            "source": suite.source,
            "source_sha256": hashlib.sha256(suite.source.encode()).hexdigest(),
            "margin": suite.margin,
            "baseline": dict(baseline),
            "seeds": list(suite.seeds),
            "shots": list(suite.shots),
            "ways": sorted({one.ways for one in variants}),
            "episodes": suite.evaluate.episodes,
            "queries": suite.evaluate.queries,
            "test_steps": suite.evaluate.test_steps,
            "readouts": readouts_of(suite.evaluate),
            "data": {one.title: one.facts.digest for one in domains},
            "classes": {
                one.title: {split: len(counts) for split, counts in one.facts.counts.items()}
                for one in domains
                if not one.source.unlabelled
            },
            "budget_scale": suite.combinations[0].budget.scale,  # one for all, of the command line
        }
    )
    roles = {one.data: one.roles for one in variants if one.elsewhere}
    return settings | ({"roles": roles} if roles else {})


def _cards(suite: Suite, variants: Sequence[Variant]) -> dict[str, Json]:
    family = members_of(suite) if suite.held_out else []
    protocol = suite.evaluate.protocol
    shown = domains_of(protocol) if protocol else None
    family += [(protocol.domains["name"], shown)] if protocol and shown else []
    cards = {f"pretext/{name}": card("pretext", name, one) for name, one in family} | {
        f"{axis}/{one.trained.title if axis == 'data' else one.names[axis]}": card_of(
            one.names[axis], plugin, one.described(axis) or {}
        )
        if axis == "auxiliary"
        else card(axis, one.names[axis], plugin)
        for one in _with_embeddings(variants)
        for axis, plugin in one.plugins.items()
    }
    others = [domain for one in variants for domain in one.elsewhere.values()]
    return {f"data/{one.title}": card("data", one.name, one.source) for one in others} | cards
