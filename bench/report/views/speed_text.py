"""What a report says of held-out pretext tasks: the answer about pairs, tables, the method."""

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from bench.plan import Plan
from bench.report import words
from bench.report.comparison import Block, Comparison
from bench.report.evidence.looks import judged
from bench.report.pooled import lacking, members
from bench.report.results import Group, Results
from bench.report.tables import Table, comparison_columns, interval_columns
from bench.report.views.speed import MEASURES, Pair, Speed, pairs, speeds

QUESTION = "Does meta-learning over pretexts beat joint training on them, when the pretext is new?"
WORTH = {"accuracy": "accuracy in points", "loss": "query loss in nats"}
GOES = {
    "better": "yes",
    "worse": "no, it is worse",
    "equivalent": "no, they are equivalent",
    "undecided": "undecided",
}


def answer(blocks: Sequence[Block], plan: Plan) -> list[str]:
    """Say what meta-learning gains over joint training, for every start; nothing without pairs.

    A pair is answered in the mean over the held-out tasks, or where it has none in each of them.
    """
    margin = float(plan.settings["margin"])
    said = []
    found = [(block, pairs(block, margin)) for block in blocks if block.held_out]
    in_mean = {_rows(block, pair) for block, own in found if block.is_mean for pair in own}
    for block, own in found:
        shown = [pair for pair in own if block.is_mean or _rows(block, pair) not in in_mean]
        if shown:
            said += [f"**{QUESTION}** ({words.escape(block.title)})", *_conclusion(shown)]
            said += [f"* {_sentence(pair)}" for pair in shown if pair.compared]
    return said


def _rows(block: Block, pair: Pair) -> tuple[str, int, int, str, str]:
    """Return what tells a pair from another, whatever task is new to it."""
    names = (pair.group.variant, pair.reference.variant)
    return (block.data, block.ways, block.shots, *names)


def _conclusion(found: Sequence[Pair]) -> list[str]:
    """Answer in the fewest words, for each measure after the last step."""
    last = max((steps for pair in found for steps, _ in pair.compared), default=0)
    if not last:
        return ["No row of a pair is done."]
    said, names = [], _names(found)
    for measure in MEASURES:
        verdicts: dict[str, list[str]] = {}
        for pair, name in zip(found, names, strict=True):
            one = pair.compared[last, measure]
            word = judged(GOES[one.verdict], one.looked_at) if one.verdict else "no verdict"
            verdicts.setdefault(word, []).append(name)
        parts = [f"**{word}** for {words.listing(named)}" for word, named in verdicts.items()]
        said.append(
            f"By {WORTH[measure].partition(' in ')[0]} after {_steps(last)}: {'; '.join(parts)}."
        )
    return said


def _names(found: Sequence[Pair]) -> list[str]:
    """Name each pair by algorithm and start, by its row where these are another's too, or by both.

    The last is for a row that is compared with several joint trainings.
    """
    named = [
        (
            f"{words.escape(pair.group.first.meta)} {words.escape(pair.start)}",
            words.escape(pair.group.variant),
            f"{words.escape(pair.group.variant)} against {words.escape(pair.reference.variant)}",
        )
        for pair in found
    ]
    times = Counter(name for names in named for name in names)
    return [next((name for name in names if times[name] == 1), names[-1]) for names in named]


def _sentence(pair: Pair) -> str:
    """Give a pair's differences after each number of steps, in both measures."""
    names = f"{words.escape(pair.group.variant)} minus {words.escape(pair.reference.variant)}"
    begin = f"{pair.start.capitalize()}, {names}"
    trouble = next((one.trouble for one in pair.compared.values() if one.trouble), "")
    if trouble:
        return f"{begin}: {words.escape(trouble)}."
    parts = []
    for measure in MEASURES:
        shown = [
            f"{_difference(one, measure)} after {_steps(steps)} "
            f"({judged(one.verdict, one.looked_at)})"
            for (steps, of), one in pair.compared.items()
            if of == measure
        ]
        parts.append(f"{WORTH[measure]} {', '.join(shown)}")
    own, other = _spanned(pair.group.rates), _spanned(pair.reference.rates)
    if own != other:
        parts.append(f"at rates of {own} against {other}")
    if pair.examples:
        mine, theirs = pair.examples
        parts.append(f"**unequal training**, {mine:,} examples against {theirs:,}")
    return f"{begin}: {'; '.join(parts)}."


def _steps(number: int) -> str:
    return f"{number} step{'s' * (number != 1)}"


def _difference(one: Comparison, measure: str) -> str:
    if one.difference is None:
        return words.NONE
    shown = words.points if measure == "accuracy" else words.nats_more
    return shown(one.difference)


def pairs_table(block: Block, plan: Plan) -> Table | None:
    """Every difference of meta-learning from joint training; None where there are no pairs."""
    found = pairs(block, float(plan.settings["margin"]))
    if not found:
        return None
    rows, numbers = [], []
    for pair in found:
        for steps in dict.fromkeys(steps for steps, _ in pair.compared):
            own = {measure: pair.compared[steps, measure] for measure in MEASURES}
            shown = [
                text
                for measure, one in own.items()
                for text in (
                    _difference(one, measure),
                    judged(one.verdict, one.looked_at) or words.NONE,
                )
            ]
            names = [pair.group.variant, pair.reference.variant]
            rows.append([*names, str(steps), *shown])
            numbers.append(
                {"start": pair.start, "variant": names[0], "joint": names[1], "steps": steps}
                | {
                    column: value
                    for measure, one in own.items()
                    for column, value in comparison_columns(measure, one).items()
                    if column != measure  # the reference, which stands under joint
                }
            )
    header = ["variant", "minus", "steps", "accuracy (points)", "verdict", "loss (nats)", "verdict"]
    return Table(
        name=f"pairs-{block.slug}",
        header=header,
        rows=rows,
        right=(2, 3, 5),
        frame=pd.DataFrame(numbers),
    )


def loss_table(block: Block, plan: Plan) -> Table:
    """Query loss after each read-out with its interval, and the last one's verdicts."""
    found = speeds(block, float(plan.settings["margin"]))
    readouts = [int(steps) for steps in plan.settings["readouts"]][1:]
    header = ["variant", "rate", *(f"loss after {steps}" for steps in readouts)]
    header += ["minus baseline", "verdict", "against floor"]
    rows = [
        [
            one.row.group.variant,
            rates(one.row.group, plan),
            *_losses(one, readouts),
            *_against(one.baseline, "baseline" if one.row.is_baseline else words.NONE),
            _against(one.floor, words.NONE)[1],
        ]
        for one in found
    ]
    right = tuple(range(1, len(readouts) + 3))
    return Table(
        name=f"loss-{block.slug}",
        header=header,
        rows=rows,
        right=right,
        frame=pd.DataFrame([_numbers(one) for one in found]),
    )


def rates(group: Group, plan: Plan) -> str:
    """Return the rates that were chosen, over seeds and tasks: ``0.03``, ``0.03 to 0.1 (!)``."""
    found = group.rates
    if not found:
        return words.NONE
    return f"{_spanned(found)} (!)" if _at_edge(found, plan) else _spanned(found)


def _spanned(rates: Sequence[float]) -> str:
    """Show the least and the greatest of rates in order."""
    return " to ".join(dict.fromkeys(f"{rate:g}" for rate in (*rates[:1], *rates[-1:])))


def _at_edge(found: Sequence[float], plan: Plan) -> bool:
    grid = plan.settings["rates"]
    return bool(found[0] == min(grid) or found[-1] == max(grid))


def edge(block: Block, plan: Plan) -> str:
    """Say what the mark of a rate means; empty where no row has one."""
    if not any(row.group.rates and _at_edge(row.group.rates, plan) for row in block.rows):
        return ""
    return "(!) A rate at an edge of its grid: one beyond it might have been chosen."


def _losses(speed: Speed, readouts: Sequence[int]) -> list[str]:
    if not speed.losses:
        return [speed.row.group.trouble, *[words.NONE] * (len(readouts) - 1)]
    known = dict(zip(speed.steps, speed.losses, strict=True))
    return [words.nats(known[steps]) for steps in readouts]


def _against(one: Comparison | None, itself: str) -> tuple[str, str]:
    if one is None or one.difference is None:
        return words.NONE, itself
    verdict = judged(one.verdict, one.looked_at) or "other labels"
    return words.nats_more(one.difference), verdict


def _numbers(speed: Speed) -> dict[str, object]:
    group = speed.row.group
    found: dict[str, object] = {"variant": group.variant, "labels": group.first.labels}
    found |= {"rates": " ".join(f"{rate:g}" for rate in group.rates)}
    for steps, interval in zip(speed.steps, speed.losses, strict=True):
        found |= interval_columns(f"loss_{steps}", interval)
    return (
        found
        | comparison_columns("baseline", speed.baseline)
        | comparison_columns("floor", speed.floor)
    )


def without_mean(results: Results) -> str:
    """Say which rows have no mean over the held-out tasks; empty where all have one."""
    found = lacking(results)
    if not found:
        return ""
    parts = [f"{words.escape(row)} ({', '.join(tasks)})" for row, tasks in found.items()]
    return f"Not in the mean, since a task was part of their own training: {words.listing(parts)}."


def method(plan: Plan) -> str:
    """Describe the test on held-out tasks, ready for a paper; empty for other suites."""
    settings: Mapping[str, object] = plan.settings
    if not settings.get("held_out"):
        return ""
    grid = words.listing([f"{rate:g}" for rate in plan.settings["rates"]])
    each = " of each" if len(members(plan)) > 1 else ""
    ways = words.listing([str(ways) for ways in plan.settings["ways"]])
    return (
        f" A new task shows examples of the test classes, each once, as {ways} answers of a "
        f"pretext that was kept out of training; {settings['episodes']} tasks{each}, the same for "
        "every row and seed. From every start encoder and a linear head of zeros take plain "
        "gradient steps on the support's cross-entropy, normalised by the support's statistics (by "
        "groups where training was); accuracy and loss are those of the queries. The rate of the "
        f"steps is one of {grid}: for each start the one of least mean query loss over the read-"
        f"outs after the first step, on {settings['rate_tasks']} tasks of the other pretexts "
        "over examples of the validation classes; that it may serve the new one less is part of"
        " what is measured. Margins in nats are those in accuracy. Meta-learning and joint "
        "training from one start are compared with Holm's adjustment over all such pairs at one"
        " number of steps, in one measure."
    )
