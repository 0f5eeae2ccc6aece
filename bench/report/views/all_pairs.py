"""Every row of a setting against every other: the matrix, and how often each wins.

Verdicts stand within a class of labels, all pairs of which are one family of p-values; those of
rows that have no mean yet count in its size, so that finishing them makes no verdict weaker.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from bench.report import words
from bench.report.comparison import Block, Comparison, compare, judge, opposite
from bench.report.evidence.looks import judged
from bench.report.results import Group
from bench.report.tables import Table, comparison_columns
from bench.statistics.verdict import Verdict

LEAST = 3  # rows: of two the table of accuracies says all


@dataclass(frozen=True, kw_only=True)
class AllPairs:
    """``compared``: (variant, other) to the difference, both ways round; best rows first.

    ``left_out``: rows without a mean, in no pair, though their pairs count in the families.
    """

    block: Block
    variants: tuple[str, ...]
    labels: Mapping[str, str]
    left_out: tuple[str, ...]
    compared: Mapping[tuple[str, str], Comparison]

    def count(self, variant: str, verdict: Verdict) -> int:
        """Count a variant's verdicts of one kind against the others of its class of labels."""
        return sum(
            one.verdict == verdict for (own, _), one in self.compared.items() if own == variant
        )

    def shown(self, variant: str) -> str:
        """Name a variant, with the sign of a row that has marks."""
        row = next(row for row in self.block.rows if row.group.variant == variant)
        return f"{variant} (!)" if row.marks else variant

    def extended(self, variant: str) -> int:
        """Count its verdicts on seeds that came, or were chosen, after a look."""
        return sum(
            bool(one.verdict and one.looked_at)
            for (own, _), one in self.compared.items()
            if own == variant
        )


def all_pairs(block: Block, margin: float) -> AllPairs | None:
    """Compare all rows that have a mean; None where they are fewer than three.

    A family is that of the whole suite: what is not done yet makes no verdict easier to reach.
    """
    groups = [row.group for row in block.rows if row.accuracy]
    if len(groups) < LEAST:
        return None
    groups.sort(key=lambda group: -float(group.accuracy().mean()))
    lacking = [row.group for row in block.rows if not row.accuracy]
    compared: dict[tuple[str, str], Comparison] = {}
    families: dict[str, list[tuple[Group, Group]]] = {}
    for one, other in combinations([*groups, *lacking], 2):
        if one.first.labels == other.first.labels:
            families.setdefault(one.first.labels, []).append((one, other))
        elif not (one.trouble or other.trouble):
            _note(compared, one, other, compare(one, other))
    for pairs in families.values():
        found = judge([compare(one, other) for one, other in pairs], margin)
        for (one, other), comparison in zip(pairs, found, strict=True):
            if not (one.trouble or other.trouble):
                _note(compared, one, other, comparison)
    return AllPairs(
        block=block,
        variants=tuple(group.variant for group in groups),
        labels={group.variant: group.first.labels for group in groups},
        left_out=tuple(group.variant for group in lacking),
        compared=compared,
    )


def _note(
    compared: dict[tuple[str, str], Comparison], one: Group, other: Group, found: Comparison
) -> None:
    compared[one.variant, other.variant] = found
    compared[other.variant, one.variant] = opposite(found, one.variant)


def wins_table(found: AllPairs) -> Table:
    """Count for each row the rows of its class of labels that it beats, and that beat it."""
    kinds: Sequence[Verdict] = ("better", "equivalent", "undecided", "worse")
    numbers = [
        {"variant": variant, "labels": found.labels[variant]}
        | {kind: found.count(variant, kind) for kind in kinds}
        | {"after_looking": found.extended(variant)}
        for variant in found.variants
    ]
    header = ["variant", "labels", "wins", "equivalent", "undecided", "losses"]
    late = any(row["after_looking"] for row in numbers)
    columns = [*list(numbers[0])[1:-1], *(["after_looking"] * late)]
    return Table(
        name=f"wins-{found.block.slug}",
        header=[*header, *(["of these after looking"] * late)],
        rows=[
            [found.shown(str(row["variant"])), *(str(row[column]) for column in columns)]
            for row in numbers
        ],
        frame=pd.DataFrame(numbers),
        right=(2, 3, 4, 5, *([6] * late)),
    )


def pairs_table(found: AllPairs) -> Table:
    """Every pair once, the better one first, with its difference, p-values and verdict."""
    ranked = {variant: place for place, variant in enumerate(found.variants)}
    pairs = [
        (own, one) for (own, other), one in found.compared.items() if ranked[own] < ranked[other]
    ]
    rows = [
        [
            found.shown(own),
            found.shown(one.reference),
            words.points(one.difference) if one.difference else one.trouble,
            judged(one.verdict, one.looked_at) or "other labels",
        ]
        for own, one in pairs
    ]
    numbers = [{"variant": own} | comparison_columns("reference", one) for own, one in pairs]
    return Table(
        name=f"all-pairs-{found.block.slug}",
        header=["variant", "minus", "difference", "verdict"],
        rows=rows,
        frame=pd.DataFrame(numbers),
        right=(2,),
    )
