"""What a report says of the factorial view: sentences of the answer, and a table."""

import pandas as pd

from bench.report import words
from bench.report.factorial import Effect, Factorial
from bench.report.tables import Table, comparison_columns

KINDS = ("pretext", "meta", "interaction")


def sentences(found: Factorial) -> list[str]:
    """Say what each start and each way of meta-learning does on average, with its verdict."""
    if found.trouble:
        return []
    said = [_sentence(one, found.learnings) for one in found.of_start]
    said += [_sentence(one, found.starts) for one in found.of_learning]
    apart = [one for one in found.interactions if one.compared.verdict in ("better", "worse")]
    said += [f"They do not just add up: {_told(one)}." for one in apart]
    return said


def _sentence(one: Effect, over: tuple[str, ...]) -> str:
    among = words.listing([words.escape(name) for name in over])
    return f"On average over {among}: {_told(one)}."


def _told(one: Effect) -> str:
    assert one.compared.difference is not None
    verdict = one.compared.verdict
    shown = f"**{verdict}**" if verdict else "other labels, so no verdict"
    names = f"{words.escape(one.level)} instead of {words.escape(one.compared.reference)}"
    return f"{names} {words.points(one.compared.difference)} points ({shown})"


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
