"""What a report says of the factorial view: sentences of the answer, and a table."""

from collections.abc import Sequence

import pandas as pd

from bench.report import words
from bench.report.factorial import Effect, Factorial
from bench.report.tables import Table, comparison_columns

KINDS = ("pretext", "meta", "interaction")


def sentences(found: Factorial) -> list[str]:
    """Say what each start and each way of meta-learning does on average, where that is judged."""
    if found.trouble:
        return []
    said = _means(found.of_start, found.learnings) + _means(found.of_learning, found.starts)
    apart = [one for one in found.interactions if one.compared.verdict in ("better", "worse")]
    if apart:
        parts = [f"{_named(one)} gains {_told(one)}" for one in apart]
        said.append(f"Pretext and meta do not just add up: {'; '.join(parts)}.")
    return said


def _means(effects: Sequence[Effect], over: Sequence[str]) -> list[str]:
    """Say in one sentence what each level of a factor does, where a verdict is due."""
    fair = [one for one in effects if one.compared.verdict]
    if not fair:
        return []
    among = words.listing([words.escape(name) for name in over])
    parts = [f"{_named(one)} {_told(one)}" for one in fair]
    return [f"On average over {among}: {'; '.join(parts)}."]


def _named(one: Effect) -> str:
    return f"{words.escape(one.level)} against {words.escape(one.compared.reference)}"


def _told(one: Effect) -> str:
    assert one.compared.difference is not None
    return f"{words.points(one.compared.difference)} (**{one.compared.verdict}**)"


def effects_table(found: Factorial) -> Table:
    """Every main effect and interaction with its interval, adjusted p and verdict."""
    kinds = (found.of_start, found.of_learning, found.interactions)
    every = [(kind, one) for kind, effects in zip(KINDS, kinds, strict=True) for one in effects]
    rows = [
        [
            kind,
            one.level,
            one.compared.reference,
            words.points(one.compared.difference) if one.compared.difference else words.NONE,
            words.p_value(one.compared.p_holm),
            one.compared.verdict or "other labels",
        ]
        for kind, one in every
    ]
    numbers = [
        {"effect": kind, "level": one.level} | comparison_columns("reference", one.compared)
        for kind, one in every
    ]
    return Table(
        name=f"effects-{found.block.slug}",
        header=["effect", "level", "minus", "difference", "p (Holm)", "verdict"],
        rows=rows,
        frame=pd.DataFrame(numbers),
        right=(3, 4),
    )
