"""The comparisons of a suite: per setting, every variant against its baseline and the floor.

Verdicts stand within a class of labels; across classes only the difference is shown.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.cell import Json
from bench.plan import Plan
from bench.report.headline import Headline
from bench.report.marks import marks
from bench.report.pooled import pooled
from bench.report.results import Group, Results
from bench.report.streams import of_title
from bench.statistics.interval import (
    Interval,
    Variances,
    crossed_interval,
    one_model_interval,
    paired_difference,
    variances,
)
from bench.statistics.verdict import Verdict, holm, sign_flip, verdict

FURTHER = "strategy.pretext_steps"  # whether pre-training goes on, as a floor's cannot
FLOOR = "random_init"  # the control that every row is judged against
Measure = Callable[[Group, frozenset[int]], np.ndarray]  # [S, E], more is better


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A paired difference from ``reference``; ``trouble`` says why there is none.

    ``verdict`` and ``p_holm`` stay None where only the difference is shown (other labels).
    ``looked_at`` says it of the first of the two rows whose seeds came after a report on it.
    ``turned``: it was judged the other way round, in the family of the other row's comparison.
    """

    reference: str
    trouble: str = ""
    difference: Interval | None = None
    parts: Variances | None = None
    sign_flip: float | None = None
    p_holm: float | None = None
    verdict: Verdict | None = None
    looked_at: str = ""
    turned: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """One variant in one setting. ``baseline`` is None for the baseline itself, or without one."""

    group: Group
    accuracy: Interval | None
    legacy: Interval | None
    baseline: Comparison | None
    floor: Comparison | None
    is_baseline: bool
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Block:
    """One data set, ways and shots: rows sorted by labels and accuracy, and what crosses labels."""

    data: str
    ways: int
    shots: int
    rows: tuple[Row, ...]
    across: tuple[tuple[Group, Comparison], ...]
    baselines: Mapping[str, str]  # class of labels -> variant, of those present
    held_out: str = ""
    stream: str = ""  # what its episodes bring one after the other: 4 groups

    @property
    def headline(self) -> Headline:
        """What its verdicts are about."""
        return self.rows[0].group.headline

    @property
    def title(self) -> str:
        """Name the setting in words."""
        new = f", new {self.held_out}" if self.held_out else ""
        stream = f", {self.stream}" if self.stream else ""
        return f"{self.headline.setting(self.data, self.ways, self.shots)}{new}{stream}"

    @property
    def amount(self) -> str:
        """Say from how much a task is learned, as a panel's title."""
        return self.headline.amount(self.shots)

    @property
    def slug(self) -> str:
        """Name the setting in a file's name."""
        new = f"-new-{slug(self.held_out)}" if self.held_out else ""
        return f"{self.headline.stem_of(stem(self.data), self.ways, self.shots)}{new}"

    @property
    def is_mean(self) -> bool:
        """Whether it is the mean over the held-out tasks."""
        return any(one.parts for row in self.rows for one in row.group.results)


def slug(text: str) -> str:
    """Turn words into a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")


def stem(data: str) -> str:
    """Turn what cells call their data into the beginning of a file's name; most are one already."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", data).strip("-")


def blocks(results: Results) -> tuple[Block, ...]:
    """Return one block a (data, ways, shots), in the plan's order.

    Each held-out task is a block of its own; their mean comes first.
    """
    found: dict[tuple[str, int, int, str], list[Group]] = {}
    for group in (*pooled(results), *results.groups):
        found.setdefault((group.data, group.ways, group.shots, group.held_out), []).append(group)
    return tuple(_block(groups, results.plan) for groups in found.values())


def headline(group: Group, seeds: frozenset[int]) -> np.ndarray:
    """Return the accuracies [S, E] that verdicts are about."""
    return group.accuracy(seeds)


def compare(group: Group, reference: Group, of: Measure = headline) -> Comparison:
    """Pair two variants on the seeds planned for both; incomplete ones are not compared."""
    seeds = group.seeds() & reference.seeds()
    trouble = _trouble(group, reference, seeds)
    if trouble:
        return Comparison(reference=reference.variant, trouble=trouble)
    a_SE, b_SE = of(group, seeds), of(reference, seeds)
    return Comparison(
        reference=reference.variant,
        difference=paired_difference(a_SE, b_SE),
        parts=variances(a_SE - b_SE) if len(seeds) > 1 else None,
        sign_flip=sign_flip((a_SE - b_SE).mean(1)),
        looked_at=group.looked_at or reference.looked_at,
    )


def _trouble(group: Group, reference: Group, seeds: frozenset[int]) -> str:
    if group.trouble:
        return group.trouble
    if reference.trouble:
        return f"{reference.variant} is {reference.trouble}"
    if group.banks != reference.banks:
        return f"withheld ({reference.variant} met other test episodes)"
    return "" if seeds else f"withheld (no seed in common with {reference.variant})"


def judge(family: Sequence[Comparison], margin: float) -> list[Comparison]:
    """Give verdicts to one declared family; a missing p counts in its size as 1, and stays so."""
    p = [1.0 if c.difference is None or c.difference.p is None else c.difference.p for c in family]
    return [
        replace(one, p_holm=q if d.p is not None else None, verdict=verdict(d, q, margin))
        if (d := one.difference) is not None
        else one
        for one, q in zip(family, holm(p), strict=True)
    ]


def opposite(one: Comparison, reference: str) -> Comparison:
    """Return a comparison the other way round, against ``reference``; what p says stays."""
    turned: dict[Verdict | None, Verdict] = {"better": "worse", "worse": "better"}
    was = one.difference
    if was is None:
        return replace(one, reference=reference)
    return replace(
        one,
        reference=reference,
        difference=was.opposite,
        verdict=turned.get(one.verdict, one.verdict),
    )


def _block(groups: Sequence[Group], plan: Plan) -> Block:
    settings = plan.settings
    baselines = _baselines(groups, settings["baseline"])
    judged = judge_all(groups, baselines, float(settings["margin"]))
    rows = [_row(group, groups, baselines, judged, plan) for group in groups]
    return Block(
        data=groups[0].data,
        ways=groups[0].ways,
        shots=groups[0].shots,
        rows=tuple(sorted(rows, key=_order)),
        across=_across(groups, baselines),
        baselines={labels: group.variant for labels, group in baselines.items()},
        held_out=groups[0].held_out,
        stream=of_title(plan),
    )


def _order(row: Row) -> tuple[str, float, str]:
    mean = float("inf") if row.accuracy is None else -row.accuracy.mean
    return row.group.first.labels, mean, row.group.variant


def _baselines(groups: Sequence[Group], baseline: Mapping[str, str]) -> dict[str, Group]:
    """Return class of labels -> its baseline's group; ``*`` names one for all classes."""
    named = {group.variant: group for group in groups}
    classes = dict.fromkeys(group.first.labels for group in groups)
    chosen = {labels: baseline.get(labels, baseline.get("*")) for labels in classes}
    return {labels: named[label] for labels, label in chosen.items() if label in named}


def is_floor(group: Group) -> bool:
    """Whether a group is the random-init control."""
    return group.first.control == FLOOR


def floor_of(group: Group, groups: Sequence[Group]) -> Group | None:
    """Find the random-init control of a group's own network; raw values, of none, take any."""
    floors = [one for one in groups if is_floor(one)]
    same = [one for one in floors if _network(one) == _network(group)]
    return next(iter([*same, *floors]), None)


def _network(group: Group) -> dict[str, Json]:
    """Return the encoder, whether it is normalised in groups or batches, and any strategy."""
    params = group.first.params.items()
    names = ("encoder.", "strategy.")
    own = {name: v for name, v in params if name.startswith(names) and name != FURTHER}
    own["strategy"] = group.first.strategy
    return {"name": group.first.encoder, "grouped": group.first.norm == "group", **own}


def judge_all(
    groups: Sequence[Group],
    baselines: Mapping[str, Group],
    margin: float,
    of: Measure = headline,
) -> dict[tuple[str, str], Comparison]:
    """Return (variant, reference) -> verdict; a family is all that is judged by one reference.

    A baseline and its floor are judged once, in the floor's family, and told from both sides.
    """
    families: dict[str, list[tuple[str, Comparison]]] = {}
    turned: list[tuple[str, str]] = []
    for group in groups:
        own = baselines.get(group.first.labels)
        own = own if own and own.first.labels == group.first.labels else None
        references = {one.variant: one for one in (own, floor_of(group, groups)) if one}
        for name, reference in references.items():
            if name == group.variant:
                continue
            if reference is own and floor_of(reference, groups) is group:
                turned.append((group.variant, name))
                continue
            families.setdefault(name, []).append((group.variant, compare(group, reference, of)))
    judged = {
        (variant, name): comparison
        for name, family in families.items()
        for (variant, _), comparison in zip(
            family, judge([one for _, one in family], margin), strict=True
        )
    }
    both = {
        (floor, name): replace(opposite(judged[name, floor], name), turned=True)
        for floor, name in turned
    }
    return judged | both


def _row(
    group: Group,
    groups: Sequence[Group],
    baselines: Mapping[str, Group],
    judged: Mapping[tuple[str, str], Comparison],
    plan: Plan,
) -> Row:
    own, floor = baselines.get(group.first.labels), floor_of(group, groups)
    is_baseline = own is not None and own.variant == group.variant
    against = None
    if own is not None and not is_baseline:
        against = judged.get((group.variant, own.variant)) or compare(group, own)
    whole = not group.trouble
    return Row(
        group=group,
        accuracy=crossed_interval(group.accuracy()) if whole else None,
        legacy=one_model_interval(group.accuracy()[0]) if whole else None,
        baseline=against,
        floor=judged.get((group.variant, floor.variant)) if floor else None,
        is_baseline=is_baseline,
        marks=marks(group, own, plan),
    )


def _across(
    groups: Sequence[Group], baselines: Mapping[str, Group]
) -> tuple[tuple[Group, Comparison], ...]:
    """Pair every variant with the baselines of other classes; no verdict is due there."""
    references = {one.variant: one for one in baselines.values() if not is_floor(one)}
    return tuple(
        (group, compare(group, reference))
        for reference in references.values()
        for group in groups
        if group.first.labels != reference.first.labels and not is_floor(group)
    )
