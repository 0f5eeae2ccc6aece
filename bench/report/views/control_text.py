"""What a report says of unseen environments: the answer in sentences, tables, the method."""

from collections.abc import Callable, Iterator, Sequence

import pandas as pd

from bench.plan import Plan
from bench.report import words
from bench.report.comparison import Block, Comparison, is_floor
from bench.report.evidence.looks import judged
from bench.report.tables import Table, comparison_columns, interval_columns
from bench.report.views.control import Control, Controlled, Judged, control, is_control
from bench.report.views.speed_text import rates

GOES = {
    "better": "yes",
    "worse": "no, it is worse",
    "equivalent": "no, the numbers are the same",
    "undecided": "undecided",
}
Found = Callable[[Controlled], Comparison | None]


def answer(blocks: Sequence[Block], plan: Plan) -> list[str]:
    """Say for which rows steps help to predict and to plan, and for which not."""
    return [s for block in blocks for s in _of_block(control(block))] if is_control(plan) else []


def _of_block(found: Control) -> Iterator[str]:
    title = words.escape(found.block.title)
    if not found.steps:
        yield f"No row of {title} is done: nothing is said of adaptation."
        return
    last = found.steps[-1]
    do, steps = ("Does", "step") if last == 1 else ("Do", "steps")
    yield (
        f"**{do} {last} {steps} on {found.block.amount} of an unseen environment make "
        f"predictions better?** ({title}; mean squared error)"
    )
    yield from _lines(found, "After minus before", lambda one: one.error.change, _from_to)
    yield from _between(found, "Error", lambda one: one.error)
    earned = words.number(found.random) if found.random else words.NONE
    yield (
        f"**Does a planner that uses the model then earn more?** ({title}; return; the random "
        f"policy earns {earned})"
    )
    yield from _lines(found, "After minus before", lambda one: one.planned.change, _earned)
    yield from _lines(found, "After minus the random policy", lambda one: one.random, _more)
    yield from _between(found, "Return", lambda one: one.planned)


def _between(found: Control, what: str, of: Callable[[Controlled], Judged]) -> Iterator[str]:
    """Compare rows with each other after all steps: with the floor, and with the baselines."""
    block = found.block
    floors = {row.group.variant for row in block.rows if is_floor(row.group)}
    if floors:
        yield from _lines(found, f"{what} minus the random-init floor's", _floor(of), _more)
    for labels, name in block.baselines.items():
        if name not in floors:
            title = f"{what} minus that of the baseline {words.escape(name)}"
            yield from _lines(found, title, _baseline(of, labels), _more)


def _floor(of: Callable[[Controlled], Judged]) -> Found:
    return lambda one: of(one).floor


def _baseline(of: Callable[[Controlled], Judged], labels: str) -> Found:
    return lambda one: of(one).baseline if one.row.group.first.labels == labels else None


def _lines(
    found: Control, title: str, of: Found, told: Callable[[Controlled, Comparison], str]
) -> Iterator[str]:
    """Yield one line: a verdict in bold, the rows that have it, and by how much."""
    named: dict[str, list[str]] = {}
    for verdict, word in GOES.items():
        for row in found.rows:
            one = of(row)
            if one is not None and one.verdict == verdict and one.difference is not None:
                name = f"{words.escape(row.row.group.variant)} ({told(row, one)})"
                named.setdefault(judged(word, one.looked_at), []).append(name)
    parts = [f"**{word}** for {words.listing(names)}" for word, names in named.items()]
    if parts:
        yield f"* {title}: {'; '.join(parts)}."


def _from_to(row: Controlled, one: Comparison) -> str:
    return f"from {_means(row.error, one)}, {_more(row, one)}"


def _earned(row: Controlled, one: Comparison) -> str:
    return f"from {_means(row.planned, one)}, {_more(row, one)}"


def _means(own: Judged, one: Comparison) -> str:
    """Give both means with the decimals of their difference."""
    assert own.before is not None
    assert own.after is not None
    assert one.difference is not None
    places = words.decimals(one.difference)
    return f"{own.before.mean:.{places}f} to {own.after.mean:.{places}f}"


def _more(row: Controlled, one: Comparison) -> str:
    assert one.difference is not None
    return words.number_more(one.difference)


def errors_table(found: Control, plan: Plan) -> Table:
    """Prediction error before and after all steps, their difference, and against other rows."""
    header = ["variant", "rate", *_before_after("error", found), "after minus before", "verdict"]
    rows = [
        [
            one.row.group.variant,
            rates(one.row.group, plan),
            *_shown(one, one.error),
            *_against(one.error.change, ""),
            *_others(one, one.error),
        ]
        for one in found.rows
    ]
    numbers = [_numbers(one, "error", one.error) | _read_outs(one) for one in found.rows]
    return Table(
        name=f"errors-{found.block.slug}",
        header=[*header, "minus baseline", "verdict", "against floor"],
        rows=rows,
        right=(1, 2, 3, 4, 6),
        frame=pd.DataFrame(numbers),
    )


def returns_table(found: Control) -> Table:
    """The planner's return with the model before and after all steps, and against others'."""
    header = ["variant", *_before_after("return", found), "after minus before", "verdict"]
    header += ["after minus random policy", "verdict"]
    rows = [
        [
            one.row.group.variant,
            *_shown(one, one.planned),
            *_against(one.planned.change, ""),
            *_against(one.random, ""),
            *_others(one, one.planned),
        ]
        for one in found.rows
    ]
    numbers = [
        _numbers(one, "return", one.planned)
        | interval_columns("random_return", found.random)
        | comparison_columns("random", one.random)
        for one in found.rows
    ]
    return Table(
        name=f"returns-{found.block.slug}",
        header=[*header, "minus baseline", "verdict", "against floor"],
        rows=rows,
        right=(1, 2, 3, 5, 7),
        frame=pd.DataFrame(numbers),
    )


def _before_after(what: str, found: Control) -> list[str]:
    last = f"after {found.steps[-1]}" if found.steps else "after"
    return [f"{what} before", last]


def _shown(row: Controlled, own: Judged) -> list[str]:
    if own.before is None or own.after is None:
        return [row.row.group.trouble, words.NONE]
    return [words.number(own.before), words.number(own.after)]


def _others(row: Controlled, own: Judged) -> list[str]:
    baseline = _against(own.baseline, "baseline" if row.row.is_baseline else words.NONE)
    floor = _against(own.floor, "floor" if is_floor(row.row.group) else words.NONE)
    return [*baseline, floor[1]]


def _against(one: Comparison | None, itself: str) -> tuple[str, str]:
    if one is None or one.difference is None:
        return words.NONE, itself or words.NONE
    return words.number_more(one.difference), judged(one.verdict, one.looked_at) or words.NONE


def _numbers(row: Controlled, name: str, own: Judged) -> dict[str, object]:
    group = row.row.group
    return (
        {"variant": group.variant, "labels": group.first.labels}
        | {"rates": " ".join(f"{rate:g}" for rate in group.rates)}
        | interval_columns(f"{name}_before", own.before)
        | interval_columns(f"{name}_after", own.after)
        | comparison_columns("before", own.change)
        | comparison_columns("baseline", own.baseline)
        | comparison_columns("floor", own.floor)
    )


def _read_outs(row: Controlled) -> dict[str, object]:
    found: dict[str, object] = {}
    for steps, interval in zip(row.steps, row.errors, strict=True):
        found |= interval_columns(f"error_{steps}", interval)
    return found


def method(plan: Plan) -> str:
    """Describe the test on unseen environments, ready for a paper; empty for other suites."""
    if not is_control(plan):
        return ""
    settings, planner = plan.settings, plan.settings["planner"]
    grid = words.listing([f"{rate:g}" for rate in settings["rates"]])
    chosen = (
        f" The rate of the steps is one of {grid}: for each start the one of least mean error over "
        f"the read-outs after the first step, on {settings['rate_tasks']} validation environments."
    )
    return (
        " An environment is one of a family whose hidden parameters vary; a seeded random policy "
        "collected its transitions once, and every row and seed meets the same ones. The change of "
        "the state is predicted from state and action, both in fixed units; from every start "
        "encoder and linear head take plain gradient steps on the mean squared error of the "
        "transitions to learn from. Error is the mean squared error of those to be predicted, and "
        "variance explained is 1 minus their squared error over the squared deviation of their "
        f"changes from the mean.{chosen if len(settings['rates']) > 1 else ''} The return is the "
        f"sum of rewards in the true environment over {planner['real_steps']} steps of a planner "
        "that uses the model before any step and after the last: the cross-entropy method with "
        f"{planner['population']} plans of {planner['horizon']} actions, {planner['elites']} of "
        f"them kept, {planner['iterations']} times for each action; the random policy starts from "
        "the same states. Changes within rows, and comparisons of rows with one reference, are "
        "families of p-values of their own in each measure; of errors and returns no margin is "
        "declared, so that nothing is equivalent but what is the same number throughout."
    )
