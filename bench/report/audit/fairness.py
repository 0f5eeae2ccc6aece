"""What the stored results themselves tell of a comparison's fairness, as findings of the audit."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy import special  # not scipy.stats: it fails where torch cannot be imported

from bench.plan import Plan
from bench.report import words
from bench.report.audit.finding import NAN, Finding, Outcome, place_of, titled
from bench.report.comparison import Block, Row, is_floor
from bench.report.guessed import collision_rates
from bench.report.marks import TUNED_ON
from bench.report.results import Group, Results
from bench.report.streams import chance_of
from bench.report.tables import mean_over_seeds
from bench.report.trials import trials_of
from bench.statistics.interval import Interval

LEVEL = 0.999  # of intervals that chance must lie in: a report holds dozens of them
SLACK = 1e-9  # of an accuracy: a mean of exact fifths is off by rounding
BELOW = 0.02  # that a floor may lie under chance: what cannot be learned may well come to less
ALIKE = 1.05  # training examples of rows may differ by so much before it is said


def of_results(results: Results, blocks: Sequence[Block]) -> Iterator[Finding]:
    """Yield the findings that need no stage of their own."""
    for group in results.groups:
        yield from _before_any_step(group, results.plan)
    for block in blocks:
        yield from _floor(block, results.plan)
        yield from _oracle(block)
    for block in blocks:
        yield from _costs(block)
    yield from _selection(results)
    yield from _collisions(blocks)
    yield from _tuning(results)


def _tuning(results: Results) -> Iterator[Finding]:
    """Say how many trials rows had, and whether each that was trained had as many."""
    trials = trials_of(results.plan)
    if trials is None:
        yield _not_tuned(results)
        return
    numbers = {len(row.trials) for row in trials.rows}
    for row in trials.rows:
        yield Finding(
            check="tuning budget",
            subject=f"{row.variant} ({row.data}, {row.ways}-way)",
            found=f"tuned with {len(row.trials)} of {trials.asked} trials",
            outcome="passed" if len(row.trials) == trials.asked == max(numbers) else "advice",
            value=len(row.trials),
        )
    for one in trials.untuned:
        yield Finding(
            check="tuning budget",
            subject=f"{one.variant} ({one.data}, {one.ways}-way)",
            found=f"not tuned: {one.why}",
            outcome="advice" if one.trained and trials.rows else "passed",
            value=0,
        )


def _not_tuned(results: Results) -> Finding:
    tuned = dict.fromkeys(one.cell.variant for one in results.cells if TUNED_ON in one.cell.params)
    told = f"tuned before this suite was written: {words.listing(list(tuned))}; their trials are "
    return Finding(
        check="tuning budget",
        subject="every row",
        found=f"{told}not recorded here"
        if tuned
        else "no row was tuned (0 trials each): parameters are as the suite gives them",
        outcome="advice" if tuned else "passed",
        value=NAN if tuned else 0,
    )


def _before_any_step(group: Group, plan: Plan) -> Iterator[Finding]:
    """A learner that has taken no step knows nothing of a task: it must be right by chance.

    Left out are rows whose start looks at the support already, as prototypes do, and what is not
    guessed: numbers have no chance.
    """
    steps = group.done[0].steps if group.done and group.headline.classes else ()
    if group.trouble or len(steps) < 2 or steps[0] or group.first.params.get("meta.tune_steps"):
        return
    interval, chance = _around(group.accuracies()[0], group, plan), 1 / group.ways
    right = interval.low - SLACK <= chance <= interval.high + SLACK
    shown = f"{group.shots}-shot: {_shown(interval)}"
    own = plan.cards.get(f"meta/{group.first.meta}", {}).get("package", "bench") == "bench"
    text = f"{shown} before any step, not the {100 * chance:.3g} % of chance: labels leak"
    text += "" if own else ", or its start looks at the support"
    yield Finding(
        check="accuracy before any step",
        subject=titled(group),
        found=f"{100 * chance:.3g} %, as chance is" if right else text,
        outcome="passed" if right else "failed" if own else "advice",
        value=interval.mean,
        rows=(place_of(group),),
    )


def _around(a_SE: np.ndarray, group: Group, plan: Plan) -> Interval:
    """Give the mean of [S, E] an interval over episodes, to hold against chance.

    Episodes name their classes at random. So whatever a model is, if it does not know the names,
    its expectation is chance: seeds add nothing, and three of them would widen the interval to
    +- 32 SE. Each episode counts once, as its mean over seeds, with the spread of as many
    independent guesses as it has queries at least: few episodes may agree by chance.
    """
    a_E, chance = a_SE.mean(0), chance_of(plan, group.ways)
    guesses = group.ways * int(plan.settings["queries"])
    spread = max(float(a_E.std(ddof=1)), (chance * (1 - chance) / guesses) ** 0.5)
    se, mean = spread / len(a_E) ** 0.5, float(a_E.mean())
    reach = float(special.stdtrit(len(a_E) - 1, (1 + LEVEL) / 2)) * se
    return Interval(mean=mean, low=mean - reach, high=mean + reach, se=se, p=None, seeds=len(a_SE))


def _shown(interval: Interval) -> str:
    low, high = 100 * interval.low, 100 * interval.high
    return f"{100 * interval.mean:.1f} [{low:.1f}, {high:.1f}] %"


def _floor(block: Block, plan: Plan) -> Iterator[Finding]:
    """The floor is there, it is no worse than chance, and what was trained no worse than it."""
    check = "random-init floor"
    floors = [row for row in block.rows if is_floor(row.group)]
    if not floors:
        yield Finding(check=check, subject=block.title, found="there is none", outcome="advice")
    for row in floors if block.headline.classes else ():
        yield from _above_chance(row, block, plan)
    trained = [row for row in block.rows if len(row.group.first.stages) > 1]
    worse = [row for row in trained if row.floor and row.floor.verdict == "worse"]
    for row in worse:
        yield Finding(
            check="trained rows against the floor",
            subject=f"{row.group.variant} ({block.title})",
            found="worse than the network it started from",
            outcome="advice",
        )
    judged = [row for row in trained if row.floor and row.floor.verdict]
    if judged and not worse:
        yield Finding(
            check="trained rows against the floor",
            subject=block.title,
            found="none is worse than it",
            outcome="passed",
        )


def _above_chance(row: Row, block: Block, plan: Plan) -> Iterator[Finding]:
    if row.group.trouble:
        return
    interval = _around(row.group.accuracy(), row.group, plan)
    chance = chance_of(plan, row.group.ways)
    below = interval.high < chance - BELOW
    found = f"{_shown(interval)}, below the {100 * chance:.3g} % of chance: labels are mixed up"
    yield Finding(
        check="random-init floor",
        subject=f"{row.group.variant} ({block.title})",
        found=found if below else "at or above chance",
        outcome="failed" if below else "passed",
        value=interval.mean,
        rows=(place_of(row.group),),
    )


def _oracle(block: Block) -> Iterator[Finding]:
    """Rows that saw training labels say how much there is to gain, where there are classes."""
    if not block.headline.classes:
        return
    oracles = [row.group.variant for row in block.rows if row.group.first.labels == "train"]
    yield Finding(
        check="supervised oracle",
        subject=block.title,
        found=words.listing(oracles)
        or "no supervised oracle here: add controls: [supervised_protonet]",
        outcome="passed" if oracles else "advice",
    )


def _costs(block: Block) -> Iterator[Finding]:
    """Rows of one class of labels are to have seen equally many examples."""
    classes: dict[str, list[Group]] = {}
    for row in block.rows:
        group = row.group
        if not group.trouble and len(group.first.stages) > 1:
            classes.setdefault(group.first.labels, []).append(group)
    for labels, groups in classes.items():
        examples = [mean_over_seeds(one, lambda cell: cell.examples) for one in groups]
        if len(groups) < 2 or not np.isfinite(examples).all():
            continue
        seconds = [mean_over_seeds(one, lambda cell: cell.seconds) for one in groups]
        ratio = max(examples) / min(examples)
        yield Finding(
            check="training examples",
            subject=f"{block.title}, labels: {labels}",
            found=f"{_span(groups, examples, words.count)} examples, "
            f"{_span(groups, seconds, words.duration)}",
            outcome="advice" if ratio > ALIKE else "passed",
            value=ratio,
        )


def _span(groups: Sequence[Group], values: Sequence[float], shown: Callable[[float], str]) -> str:
    """Say from how much (of which row) to how much."""
    least, most = int(np.argmin(values)), int(np.argmax(values))
    if values[most] <= ALIKE * values[least]:
        return shown(values[most])
    low, high = (f"{shown(values[at])} ({groups[at].variant})" for at in (least, most))
    return f"{low} to {high}"


def _selection(results: Results) -> Iterator[Finding]:
    """Say by which rule each row's weights were selected, and which saw validation labels."""
    told: dict[str, tuple[str, Outcome]] = {
        "last": ("the last weights", "passed"),
        "label_val": ("by label_val: an oracle, it saw validation labels", "advice"),
    }
    for group in results.groups:
        if len(group.first.stages) > 1:
            rule = group.first.params.get("selection", "last")
            found, outcome = told.get(rule, (f"by {rule}: it saw no labels", "passed"))
            yield Finding(
                check="selection of weights", subject=titled(group), found=found, outcome=outcome
            )


def _collisions(blocks: Sequence[Block]) -> Iterator[Finding]:
    """Say how often rows without labels took one true class for two."""
    for block in blocks:
        for group, planned, observed in collision_rates(block):
            rates = [("planned", planned), ("observed", observed)]
            said = [f"{name} {100 * rate:.3g} %" for name, rate in rates if rate == rate]
            yield Finding(
                check="tasks that take one class for two",
                subject=titled(group),
                found=", ".join(said) or "not noted in training",
                outcome="passed" if said else "not done",
                value=observed,
            )
