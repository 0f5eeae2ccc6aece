"""What a suite comes to: cells and the stages they share. Pure: it can be read before it costs."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase

from bench import collisions, new_tasks
from bench.audits import Audit, audits_of_data, audits_of_rows
from bench.auxiliary import card_of
from bench.baseline import choose_baselines
from bench.budget import LEAST_STEPS
from bench.catalogue import card
from bench.cell import Cell, Json, StageSpec, digest
from bench.controls import ALWAYS, NEEDS, combinations_of
from bench.errors import UserError, suggest
from bench.graph import path_of, readouts
from bench.inductive import with_inductive
from bench.naming import label_all
from bench.new_tasks import ALL_ALIKE, members_of, rows_of, settings_of, tested_alike
from bench.resolution import FactsOf, resolve
from bench.sizes import refuse_impossible
from bench.suite import Combination, Suite
from bench.variant import Variant


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A combination of the grid that makes no sense, and why."""

    variant: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything a suite will run; written as JSON to ``results/plans/<name>.json``.

    ``stages`` are in running order: breadth-first over seeds. ``settings`` holds what the
    report needs of the suite: margin, baseline (a class of labels to a variant), episodes,
    queries, test_steps, readouts, seeds, shots, data (name -> digest), source (the YAML), file.
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


def make_plan(suite: Suite, facts_of: FactsOf) -> Plan:
    """Resolve a suite into cells and stages, in running order.

    Raises:
        UserError: an unknown plug-in, a bad parameter, sizes that the data cannot fill, equal
            variants, a baseline that matches no variant or several.
    """
    variants, dropped = _variants(suite, facts_of)
    reasons = {one.variant: one.reason for one in dropped}
    baseline, warnings = choose_baselines(suite, variants, reasons)
    variants = _only(suite, variants, set(baseline.values()))
    rows, without = rows_of(suite, variants)
    dropped += [Dropped(variant=row, reason=reason) for row, reason in without]
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
            of_rows = audits_of_rows(cells, stages)
            stages |= {spec.key: spec for _, spec in of_rows}
            audits += of_rows
    return Plan(
        name=suite.name,
        cells=tuple(cells),
        stages=stages,
        dropped=tuple(dropped),
        warnings=(
            *warnings,
            *_notes(suite, variants),
            *collisions.warnings(variants, suite.shots[0]),
            *new_tasks.warnings(suite, cells),
        ),
        settings=_settings(suite, variants, baseline),
        cards=_cards(suite, variants),
        audits=tuple(audit for audit, _ in audits),
    )


def _variants(suite: Suite, facts_of: FactsOf) -> tuple[list[Variant], list[Dropped]]:
    """Return every variant once, labelled, controls included, and what was dropped."""
    kept: list[Variant] = []
    bases: list[Combination] = []
    dropped: list[Dropped] = []
    for combination in suite.combinations:
        variant = resolve(combination, suite.shots, facts_of)
        if isinstance(variant, Variant):
            kept.append(variant)
            bases.append(combination)
        else:
            dropped.append(Dropped(variant=_asked(combination), reason=variant))
    if not kept:
        reasons = "; ".join(f"{one.variant}: {one.reason}" for one in dropped)
        raise UserError(suite.where("grid"), f"no combination is left ({reasons})", "Change one.")
    kept, bases = _distinct(kept, bases, dropped)
    kept = label_all(_with_controls(suite, bases, kept, dropped, facts_of))
    if suite.held_out:
        kept, alike = tested_alike(kept)
        dropped += [Dropped(variant=label, reason=ALL_ALIKE) for label in alike]
    kept = with_inductive(kept)
    _refuse_equal_labels(kept)
    _refuse_two_sets(kept)
    return _possible(suite, kept, dropped), dropped


def _asked(combination: Combination) -> str:
    if combination.label:
        return combination.label
    return ", ".join(f"{axis}: {choice.name}" for axis, choice in combination.axes.items())


def _distinct(
    variants: Sequence[Variant], bases: Sequence[Combination], dropped: list[Dropped]
) -> tuple[list[Variant], list[Combination]]:
    """Drop grid points that come to the same; two variants that were named may not."""
    seen: dict[str, Variant] = {}
    first: list[Combination] = []
    for variant, base in zip(variants, bases, strict=True):
        other = seen.setdefault(digest(variant.identity), variant)
        if other is variant:
            first.append(base)
            continue
        if variant.named:
            raise UserError(
                variant.where,
                f"{variant.label!r} comes to the same as what stands at {other.where}",
                "Remove one, or change a parameter.",
            )
        axes = ", ".join(f"{axis}: {name}" for axis, name in variant.names.items())
        dropped.append(Dropped(variant=axes, reason="it comes to the same as another grid point"))
    return list(seen.values()), first


def _with_controls(
    suite: Suite,
    asked: Sequence[Combination],
    variants: list[Variant],
    dropped: list[Dropped],
    facts_of: FactsOf,
) -> list[Variant]:
    """Add the controls; a variant of the suite that is one of them becomes it."""
    found = {digest(one.identity): one for one in variants}
    for control in dict.fromkeys((ALWAYS, *suite.controls)):
        combinations = list(combinations_of(control, asked, variants))
        if not combinations:
            dropped.append(Dropped(variant=control, reason=NEEDS[control]))
        for combination in combinations:
            made = resolve(combination, suite.shots, facts_of)
            if not isinstance(made, Variant):
                dropped.append(Dropped(variant=control, reason=made))
                continue
            row = found.get(digest(made.identity)) or replace(made, added=True)
            found[digest(made.identity)] = replace(row, control=control)
    return list(found.values())


def _possible(suite: Suite, variants: Sequence[Variant], dropped: list[Dropped]) -> list[Variant]:
    """Refuse rows that the data cannot fill; a control that was added is dropped instead."""
    possible = []
    for one in variants:
        try:
            refuse_impossible(one, suite)
        except UserError as error:
            if not one.added or one.control == ALWAYS:
                raise
            dropped.append(Dropped(variant=one.label, reason=error.found))
        else:
            possible.append(one)
    return possible


def _refuse_equal_labels(variants: Sequence[Variant]) -> None:
    seen: dict[tuple[str, str, int], Variant] = {}
    for one in variants:
        place = (one.label, digest(one.described("data")), one.ways)
        other = seen.setdefault(place, one)
        if other is not one:
            raise UserError(
                one.where,
                f"two variants are called {one.label!r} (the other: {other.where})",
                "Give one a label of its own under variants.",
            )


def _refuse_two_sets(variants: Sequence[Variant]) -> None:
    """Refuse two sets under one name: rows, figures and banks are told apart by it."""
    seen: dict[str, Variant] = {}
    for one in variants:
        other = seen.setdefault(one.names["data"], one)
        if other.facts.digest != one.facts.digest:
            raise UserError(
                one.where,
                f"a second set of {one.names['data']} (the other: {other.where})",
                "Write a suite for each: their rows could not be told apart.",
            )


def _only(suite: Suite, variants: list[Variant], baselines: set[str]) -> list[Variant]:
    """Keep what ``--only`` names and its inductive rows, beside the baselines and the floor."""
    if suite.only is None:
        return variants
    labels = {one.label for one in variants}  # may hold commas and brackets: whole ones go first
    whole = suite.only.strip() in labels
    patterns = [p.strip() for p in ([suite.only] if whole else suite.only.split(","))]
    for pattern in patterns:
        if not any(_named(label, pattern) for label in labels):
            raise UserError(
                "--only",
                f"{pattern!r} matches no variant",
                suggest(pattern, labels),
            )
    return [
        one
        for one in variants
        if one.control == "random_init"
        or any(
            name in baselines or any(_named(name, pattern) for pattern in patterns)
            for name in (one.label, one.beside)
        )
    ]


def _named(label: str, pattern: str) -> bool:
    return label == pattern or fnmatchcase(label, pattern)


def _notes(suite: Suite, variants: Sequence[Variant]) -> list[str]:
    """Say where a budget buys less than the least number of steps."""
    found = [
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
    return settings_of(suite) | {
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
        "readouts": readouts(suite.evaluate.test_steps),
        "data": {one.names["data"]: one.facts.digest for one in variants},
        "classes": {
            one.names["data"]: {split: len(counts) for split, counts in one.facts.counts.items()}
            for one in variants
        },
        "budget_scale": suite.combinations[0].budget.scale,  # one for all, of the command line
    }


def _cards(suite: Suite, variants: Sequence[Variant]) -> dict[str, Json]:
    family = members_of(suite) if suite.held_out else []
    return {f"pretext/{name}": card("pretext", name, one) for name, one in family} | {
        f"{axis}/{one.names[axis]}": card_of(one.names[axis], plugin, one.described(axis) or {})
        if axis == "auxiliary"
        else card(axis, one.names[axis], plugin)
        for one in _with_embeddings(variants)
        for axis, plugin in one.plugins.items()
    }
