"""The section on tuning in tables: what it bought, its budget, what was chosen, and its curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.cell import Json
from bench.report import words
from bench.report.comparison import Block
from bench.report.evidence.looks import judged
from bench.report.tables import NAN, Table, comparison_columns, interval_columns
from bench.report.trials import STATES, Trial, Trials, TunedRow
from bench.report.views.tuning import (
    Bought,
    Tuning,
    best_within,
    by_seconds,
    cheapest,
    counts,
    where_in,
)
from bench.report.views.tuning_words import reasons, rule, untuned
from bench.space import in_words

Numbers = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class TuningSection:
    """What the report's section on tuning holds; ``settings`` are titles and what it bought."""

    rule: Sequence[str]
    settings: Sequence[tuple[str, Table]]
    budget: Table
    notes: Sequence[str]
    chosen: Table | None
    important: bool
    curve: Table | None
    independent: bool
    seconds: Table

    @property
    def tables(self) -> list[Table]:
        """The tables that are there, those in files alone last."""
        every = (self.budget, self.chosen, self.curve, self.seconds)
        return [table for _, table in self.settings] + [one for one in every if one]


def tuning_section(found: Tuning, seeds: Sequence[int]) -> TuningSection:
    """Return the section; ``seeds`` are those of the report's own rows."""
    trials = found.trials
    return TuningSection(
        rule=rule(trials, seeds),
        settings=[(block.title, bought_table(block, own)) for block, own in found.bought],
        budget=budget_table(trials),
        notes=[*reasons(trials), *untuned(trials)],
        chosen=chosen_table(trials),
        important=any(row.importances for row in trials.rows),
        curve=curve_table(found),
        independent=trials.independent,
        seconds=seconds_table(trials),
    )


def bought_table(block: Block, rows: Sequence[Bought]) -> Table:
    """Default and tuned accuracy, their paired difference, and the verdict in this family."""
    header = ["variant", "default %", "tuned %", "tuned minus default", "p (Holm)", "verdict"]
    return Table(
        name=f"tuning-bought-{block.slug}",
        header=header,
        rows=[_bought(one) for one in rows],
        frame=pd.DataFrame([_bought_numbers(one) for one in rows]),
        right=(1, 2, 3, 4),
    )


def _bought(one: Bought) -> list[str]:
    group, compared = one.row.group, one.compared
    tuned = words.percent(one.row.accuracy) if one.row.accuracy else group.trouble
    if compared is None:
        return [group.variant, tuned, tuned, words.NONE, words.NONE, _unchanged(one.tuning)]
    lacking = one.default.trouble if one.default else compared.trouble
    return [
        group.variant,
        words.percent(one.before) if one.before else lacking,
        tuned,
        words.points(compared.difference) if compared.difference else words.NONE,
        words.p_value(compared.p_holm),
        judged(compared.verdict, compared.looked_at) or compared.trouble,
    ]


def _unchanged(row: TunedRow) -> str:
    return "no trial finished: it is its default" if row.winner is None else "kept its default"


def _bought_numbers(one: Bought) -> Numbers:
    return (
        {"variant": one.row.group.variant, "labels": one.row.group.first.labels}
        | {"kept_default": one.tuning.kept_default, "winner": _number(one.tuning.best)}
        | interval_columns("default", one.before)
        | interval_columns("tuned", one.row.accuracy)
        | comparison_columns("reference", one.compared)
    )


def _number(trial: Trial | None) -> float:
    return NAN if trial is None else trial.number


def _named(trials: Trials) -> tuple[list[str], bool]:
    """Return the header of rows, and whether they need the data set and ways beside their name."""
    several = len(cheapest(trials)) > 1
    return (["variant", "data", "ways"] if several else ["variant"]), several


def _place(row: TunedRow, *, several: bool) -> list[str]:
    return [row.variant, row.data, str(row.ways)] if several else [row.variant]


def _place_numbers(row: TunedRow) -> dict[str, object]:
    return {"variant": row.variant, "data": row.data, "ways": row.ways, "scored_by": row.scored_by}


def budget_table(trials: Trials) -> Table:
    """Trials, seconds and failures of each row, its default's score and its best.

    The last column is the best within the seconds that the cheapest row took in all.
    """
    (names, several), limits = _named(trials), cheapest(trials)
    within = sorted(set(limits.values()))
    limit = f"best within {words.duration(within[0])} %" if len(within) == 1 else "at equal seconds"
    header = [*names, "scored by", "tuned", "asked", "finished", "pruned", "failed", "seconds"]
    header += ["default %", "best %", "trial", limit]
    numbers = [_budget(row, limits[row.data, row.ways]) for row in trials.rows]
    rows = [
        [
            *_place(row, several=several),
            row.scored_by,
            *(str(own[name]) for name in ("parameters", "asked", *STATES)),
            words.duration(row.seconds),
            _score(row.default.score if row.default else None),
            _score(row.best.score if row.best else None),
            words.NONE if row.winner is None else str(row.winner),
            _score(best_within(row, limits[row.data, row.ways])),
        ]
        for row, own in zip(trials.rows, numbers, strict=True)
    ]
    lacking = [
        {"variant": one.variant, "data": one.data, "ways": one.ways, "why_not": one.why}
        for one in trials.untuned
    ]
    right = tuple(range(len(names) + 1, len(header)))
    frame = pd.DataFrame([*numbers, *lacking])
    whole = dict.fromkeys(("parameters", "asked", "trials", *STATES, "winner"), "Int64")
    frame = frame.astype({name: kind for name, kind in whole.items() if name in frame})
    return Table(name="tuning-budget", header=header, rows=rows, frame=frame, right=right)


def _budget(row: TunedRow, limit: float) -> dict[str, object]:
    default, best, within = row.default, row.best, best_within(row, limit)
    return {
        **_place_numbers(row),
        "parameters": len(row.space),
        "asked": row.asked,
        **counts(row),
        "seconds": row.seconds,
        "default_score": NAN if default is None or default.score is None else default.score,
        "best_score": NAN if best is None or best.score is None else best.score,
        "winner": _number(best),
        "equal_seconds": limit,
        "best_at_equal_seconds": NAN if within is None else within,
    }


def _score(score: float | None) -> str:
    return words.NONE if score is None else f"{100 * score:.1f}"


def chosen_table(trials: Trials) -> Table | None:
    """Return default, range and choice of every tuned parameter; None where there is none."""
    names, several = _named(trials)
    header = [*names, "parameter", "default", "range", "chosen", "importance"]
    numbers = [
        _place_numbers(row) | _choice(row, parameter)
        for row in trials.rows
        for parameter in row.space
    ]
    if not numbers:
        return None
    rows = [
        [
            *_place(row, several=several),
            parameter,
            _value(row.default, parameter),
            in_words(row.space[parameter]),
            _chosen(row, parameter),
            _importance(row, parameter),
        ]
        for row in trials.rows
        for parameter in row.space
    ]
    right = (len(header) - 1,)
    frame = pd.DataFrame(numbers)
    return Table(name="tuning-chosen", header=header, rows=rows, frame=frame, right=right)


def _choice(row: TunedRow, parameter: str) -> dict[str, object]:
    return {
        "parameter": parameter,
        "default": _full(row.default, parameter),
        "range": in_words(row.space[parameter]),
        "chosen": _full(row.best, parameter),
        "where": _where(row, parameter),
        "importance": (row.importances or {}).get(parameter, NAN),
    }


def _full(trial: Trial | None, parameter: str) -> str:
    """Return what a trial had for a parameter, with all digits."""
    return str(trial.params[parameter]) if trial and parameter in trial.params else ""


def _value(trial: Trial | None, parameter: str) -> str:
    """Return what a trial had for a parameter: numbers with four digits, as one would say them."""
    if trial is None or parameter not in trial.params:
        return words.NONE
    return shown(trial.params[parameter])


def shown(value: Json) -> str:
    """Write a value of a parameter."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _where(row: TunedRow, parameter: str) -> str:
    if row.best is None or parameter not in row.best.params:
        return ""
    return where_in(row.space[parameter], row.best.params[parameter])


def _chosen(row: TunedRow, parameter: str) -> str:
    value, where = _value(row.best, parameter), _where(row, parameter)
    kept = " (kept)" if row.kept_default else ""
    return f"{value}{kept}" + (f", {where}" if where else "")


def _importance(row: TunedRow, parameter: str) -> str:
    importance = (row.importances or {}).get(parameter)
    return words.NONE if importance is None else f"{importance:.2f}"


def curve_table(found: Tuning) -> Table | None:
    """Return what the figure by trials shows, in full; None where there is no curve."""
    kind = "expected-best" if found.trials.independent else "best-so-far"
    header = ["variant", "scored by", "trials", f"{kind.replace('-', ' ')} %"]
    header += ["10 % to 90 %"] if found.trials.independent else []
    numbers, rows = [], []
    for one in found.curves:
        low_K = one.best_K if one.low_K is None else one.low_K
        high_K = one.best_K if one.high_K is None else one.high_K
        for k, (best, low, high) in enumerate(zip(one.best_K, low_K, high_K, strict=True), 1):
            spread = {"low": low, "high": high} if found.trials.independent else {}
            own = {"trials": k, kind.replace("-", "_"): best, **spread}
            numbers.append(_place_numbers(one.row) | own)
            band = [f"{_score(low)} to {_score(high)}"] if spread else []
            rows.append([one.row.variant, one.row.scored_by, str(k), _score(best), *band])
    if not rows:
        return None
    right = tuple(range(2, len(header)))
    frame = pd.DataFrame(numbers)
    return Table(name=kind, header=header, rows=rows, frame=frame, right=right)


def seconds_table(trials: Trials) -> Table:
    """Return the best so far by seconds, as the figure of equal seconds shows it."""
    header = ["variant", "scored by", "trial", "seconds", "best so far %"]
    numbers, rows = [], []
    for row in trials.rows:
        seconds_n, best_n = by_seconds(row)
        for trial, end, best in zip(row.trials, seconds_n, best_n, strict=True):
            own = {"trial": trial.number, "state": trial.state, "score_of_trial": _nan(trial.score)}
            own |= {"seconds": float(end), "best_so_far": float(best)}
            numbers.append(_place_numbers(row) | own)
            shown_row = [row.variant, row.scored_by, str(trial.number)]
            rows.append([*shown_row, words.duration(float(end)), _score(float(best))])
    frame = pd.DataFrame(numbers)
    return Table(
        name="tuning-seconds", header=header, rows=rows, frame=frame, right=tuple(range(2, 5))
    )


def _nan(score: float | None) -> float:
    return float(np.nan) if score is None else score
