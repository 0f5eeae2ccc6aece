"""What a report says of the factorial view: sentences of the answer, and a table."""

from collections.abc import Iterator, Sequence

import pandas as pd

from bench.report import words
from bench.report.comparison import Comparison
from bench.report.evidence.looks import judged
from bench.report.tables import Table, comparison_columns
from bench.report.views.factorial import Effect, Factorial

KINDS = ("pretext", "meta", "interaction")
GAINS = {"better": "larger gain", "worse": "smaller gain"}  # what a verdict on an interaction says


def sentences(found: Factorial) -> list[str]:
    """Say what each start and each way of meta-learning does on average, where that is judged."""
    if found.trouble:
        return []
    said = [
        *_means(found.of_start, "pretext", found.learnings, "meta"),
        *_means(found.of_learning, "meta", found.starts, "pretext"),
    ]
    apart = list(_gains(found))
    if apart:
        said.append(f"Pretext and meta do not just add up: {'; '.join(apart)}.")
    return said


def _gains(found: Factorial) -> Iterator[str]:
    """Say before which way of meta-learning the gain of a start is another than usual."""
    g, h = found.reference
    usual, way = words.escape(found.starts[g]), words.escape(found.learnings[h])
    levels = [
        (start, learning)
        for at, start in enumerate(found.starts)
        for to, learning in enumerate(found.learnings)
        if at != g and to != h
    ]
    for (start, learning), one in zip(levels, found.interactions, strict=True):
        if one.compared.verdict in GAINS and one.compared.difference is not None:
            size = GAINS[one.compared.verdict].partition(" ")[0]
            yield (
                f"the gain of {words.escape(start)} over {usual} is **{size}** before "
                f"{words.escape(learning)} than before {way}, by "
                f"{words.points(one.compared.difference)}{_remark(one)}"
            )


def _means(effects: Sequence[Effect], of: str, over: Sequence[str], other: str) -> list[str]:
    """Say in one sentence what each level of a factor does, where a verdict is due."""
    fair = [one for one in effects if one.compared.verdict]
    if not fair:
        return []
    among = words.listing([words.escape(name) for name in over])
    parts = [f"{_named(one)} {_told(one)}" for one in fair]
    return [f"On average over {other} {among}: {of} {'; '.join(parts)}."]


def _named(one: Effect) -> str:
    return f"{words.escape(one.level)} against {words.escape(one.compared.reference)}"


def _told(one: Effect) -> str:
    assert one.compared.difference is not None
    return f"{words.points(one.compared.difference)} (**{one.compared.verdict}**{_remark(one)})"


def _remark(one: Effect) -> str:
    looked_at = one.compared.looked_at.partition(":")[0]
    return f", {looked_at}" if looked_at else ""


def _verdict(kind: str, one: Effect) -> str:
    """Print a verdict: of an interaction, which is no row, what it says of the gain."""
    verdict: str | None = one.compared.verdict
    shown = GAINS.get(verdict or "", verdict) if kind == "interaction" else verdict
    told = judged(shown, one.compared.looked_at) or "other labels"
    return f"{told} (!)" if one.marked else told


def effects_table(found: Factorial) -> Table:
    """Every main effect and interaction with its interval, adjusted p and verdict.

    The CSV has the departures from additivity, too, which a figure shows.
    """
    kinds = (found.of_start, found.of_learning, found.interactions)
    every = [(kind, one) for kind, effects in zip(KINDS, kinds, strict=True) for one in effects]
    rows = [
        [
            kind,
            one.level,
            one.compared.reference,
            words.points(one.compared.difference) if one.compared.difference else words.NONE,
            words.p_value(one.compared.p_holm),
            _verdict(kind, one),
        ]
        for kind, one in every
    ]
    numbers = [
        {"effect": kind, "level": one.level, "marked": one.marked}
        | comparison_columns("reference", one.compared)
        for kind, one in every
    ]
    numbers += [
        {"effect": "departure", "level": f"{start} before {learning}"}
        | comparison_columns(
            "reference", Comparison(reference="what adds up", difference=one, p_holm=p)
        )
        for start, learning, one, p in found.departed
    ]
    return Table(
        name=f"effects-{found.block.slug}",
        header=["effect", "level", "minus", "difference", "p (Holm)", "verdict"],
        rows=rows,
        frame=pd.DataFrame(numbers),
        right=(3, 4),
    )
