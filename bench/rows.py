"""The rows of a suite: its combinations and controls, resolved, labelled and, after that, tuned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from bench.baseline import choose_baselines
from bench.cell import Json, digest
from bench.controls import NEEDS, combinations_of
from bench.domains import Domain
from bench.errors import UserError, suggest
from bench.inductive import with_inductive
from bench.naming import label_all
from bench.new_tasks import ALL_ALIKE, STREAMED, tested_alike
from bench.resolution import FactsOf, resolve
from bench.sizes import refuse_impossible
from bench.suite import Combination, Suite
from bench.suite_values import ALWAYS
from bench.tested import told
from bench.tuned import Place, after_tuning, place_of, refuse_spaces, scored
from bench.variant import Variant


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A combination of the grid that makes no sense, and why."""

    variant: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of a suite, those of its controls included, and what else is known of them.

    ``baseline`` maps a class of labels to a row's label. ``defaults``: tuned rows as they were.
    """

    variants: Sequence[Variant]
    baseline: Mapping[str, str]
    dropped: Sequence[Dropped]
    warnings: Sequence[str]
    defaults: Sequence[Variant] = ()


def rows_of(suite: Suite, facts_of: FactsOf, tuning: Json = None) -> Rows:
    """Return the rows of a suite, with the parameters that its tuning has found, if any.

    Raises:
        UserError: as ``make_plan``.
    """
    variants, before, dropped = _variants(suite, facts_of)
    if suite.tune:
        refuse_spaces(suite, variants)
    reasons = {one.variant: one.reason for one in dropped}
    baseline, warnings = choose_baselines(suite, variants, reasons)
    variants = _only(suite, variants, set(baseline.values()))
    if tuning is None:
        return Rows(variants=variants, baseline=baseline, dropped=dropped, warnings=warnings)
    variants, defaults = after_tuning(variants, before, tuning)
    return Rows(
        variants=variants,
        baseline=baseline,
        dropped=dropped,
        warnings=warnings,
        defaults=defaults,
    )


def _variants(
    suite: Suite, facts_of: FactsOf
) -> tuple[list[Variant], dict[Place, Variant], list[Dropped]]:
    """Return every variant once, labelled, controls included, and what was dropped.

    Where they are tuned, also what they are before that.
    """
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
    if suite.held_out or suite.evaluate.protocol:
        kept, alike = tested_alike(kept)
        reason = STREAMED if suite.evaluate.protocol else ALL_ALIKE
        dropped += [Dropped(variant=label, reason=reason) for label in alike]
    before = {place_of(one): one for one in kept}
    kept = [told(one, suite.evaluate) for one in kept]
    kept = with_inductive([scored(one, suite.tune) if suite.tune else one for one in kept])
    _refuse_equal_labels(kept)
    _refuse_two_sets(kept)
    return _possible(suite, kept, dropped), before, dropped


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
        others = {role: each.described for role, each in one.elsewhere.items()}
        place = (one.label, digest([one.described("data"), others]), one.ways)
        other = seen.setdefault(place, one)
        if other is not one:
            raise UserError(
                one.where,
                f"two variants are called {one.label!r} (the other: {other.where})",
                "Give one a label of its own under variants.",
            )


def _refuse_two_sets(variants: Sequence[Variant]) -> None:
    """Refuse two sets under one name: rows, figures and banks are told apart by it."""
    seen: dict[str, tuple[Domain, str]] = {}
    for variant in variants:
        for one in variant.domains:
            other, where = seen.setdefault(one.title, (one, variant.where))
            if other.facts.digest != one.facts.digest:
                raise UserError(
                    variant.where,
                    f"a second set is called {one.title} (the other: {where})",
                    "Write a suite for each, or give one a name: called: ... in its mapping.",
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
