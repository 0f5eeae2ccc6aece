"""Tuning in sentences: its rule, its banners, and what its verdicts answer."""

from collections.abc import Mapping, Sequence

from bench.report import words
from bench.report.answer import one_seed
from bench.report.comparison import Block
from bench.report.trials import Trials, TunedRow, Untuned
from bench.report.views.tuning import Bought, Tuning, cheapest, uneven

RANDOM, GRID, TPE = "random", "grid", "tpe"
PRUNED = {
    "halving": "successive halving (ASHA)",
    "hyperband": "Hyperband",
}
SCORED = {
    "label_val": "tasks of the true validation classes",
    "pseudo_val": "tasks of clusters, by k-means of an untrained network's features, of validation "
    "examples, the same for all trials and rows of an encoder; no label is seen",
}


def rule(trials: Trials, seeds: Sequence[int]) -> list[str]:
    """Say how rows were tuned; ``seeds`` are those that the report's own rows train with."""
    return [
        _budget(trials),
        _score(trials, seeds),
        *_kinds(trials),
        _drawn(trials),
        _stopped(trials),
        _won(trials),
    ]


def title(row: TunedRow | Untuned, trials: Trials) -> str:
    """Name a row, with data set and ways where tuning knows several."""
    several = len(cheapest(trials)) > 1
    return words.escape(f"{row.variant} ({row.data}, {row.ways}-way)" if several else row.variant)


def _budget(trials: Trials) -> str:
    """Say how many trials rows had, as recorded."""
    if not uneven(trials):
        number = len(trials.rows)
        rows = "The tuned row" if number == 1 else f"Each of the {number} tuned rows"
        return f"{rows} had {_trials(trials.asked)}."
    return f"{_trials(trials.asked)} a row were asked for; they had: {_numbers(trials)}."


def _trials(number: int) -> str:
    return f"{number} trial{'s' * (number != 1)}"


def _numbers(trials: Trials) -> str:
    """Name each row with its recorded trials, and with what was asked of it alone."""
    named = []
    for row in trials.rows:
        alone = f" ({row.asked} asked)" if row.asked != trials.asked else ""
        named.append(f"{title(row, trials)} {len(row.trials)}{alone}")
    return words.listing(named)


def _score(trials: Trials, seeds: Sequence[int]) -> str:
    """Say what a score is the mean of, and that neither test data nor seeds were shared."""
    score, own = trials.record["score"], list(trials.record["seeds"])
    *others, last = (str(shots) for shots in score["shots"])
    shots = words.listing([*(f"{one}-" for one in others), f"{last}-shot"])
    steps = score.get("test_steps")
    reused = sorted({*own} & {*seeds})
    apart = (
        f"Of its seeds, {words.ranges(reused)} also train rows of this report"
        if reused
        else "No row of this report was trained with a seed of tuning"
    )
    return (
        f"A trial's score is the mean accuracy of trainings with seed{'s' * (len(own) > 1)} "
        f"{words.ranges(own)} over {score['episodes']} episodes each of the validation split "
        f"({shots}, {score['queries']} queries a class"
        f"{f', {steps} steps where a method adapts by steps' if steps else ''}). "
        f"{apart}, and test data took no part in tuning."
    )


def _kinds(trials: Trials) -> list[str]:
    """Say whose scores are of which tasks."""
    named: dict[str, list[str]] = {}
    for row in trials.rows:
        named.setdefault(row.scored_by, []).append(title(row, trials))
    return [
        f"{'Scores' if len(named) == 1 else f'Scores of {words.listing(own)}'} are {kind}: "
        f"{SCORED.get(kind, kind)}."
        for kind, own in named.items()
    ]


def _drawn(trials: Trials) -> str:
    """Say who chose the parameters of a trial, with the arguments that are recorded."""
    record = trials.record
    how = {
        RANDOM: "drawn at random, independently",
        GRID: "those of a grid",
        TPE: "proposed by a tree-structured Parzen estimator (TPE)",
    }.get(trials.sampler, f"proposed by {trials.sampler}")
    told = [f"seed {record['seed']}", *_arguments(record.get("sampler_arguments"))]
    at_once = int(record.get("parallel", 1))
    told += [f"{at_once} trials at a time"] if at_once > 1 else []
    return (
        f"Trial 0 is the row as the suite has it, its default; the others were {how} "
        f"(Optuna {record['optuna']}; {', '.join(told)})."
    )


def _arguments(given: Mapping[str, object] | None) -> list[str]:
    return [f"{name} {words.escape(value)}" for name, value in (given or {}).items()]


def _stopped(trials: Trials) -> str:
    if trials.pruner == "none":
        return "Every trial was trained to its end: none was pruned."
    shares = [_share(float(one)) for one in trials.record["fractions"]]
    told = ", ".join(_arguments(trials.record.get("pruner_arguments")))
    return (
        f"A trial was trained with {words.listing(shares)} of its budget in turn, each a training "
        f"of its own, and pruned in between by {PRUNED.get(trials.pruner, trials.pruner)}"
        f"{f' ({told})' if told else ''}."
    )


def _share(share: float) -> str:
    """Write a share of the budget as one would say it: ``1/9``, ``all``."""
    whole = round(1 / share)
    near = abs(1 / share - whole) < 0.01 * whole
    return "all" if share == 1 else f"1/{whole}" if near else f"{share:.3g}"


def _won(trials: Trials) -> str:
    return (
        "The winner is the finished trial with the best score, ties to the lower number, so that "
        "a row whose default no trial beats keeps it; what is reported of it are new trainings, "
        "on the test."
    )


def reasons(trials: Trials) -> list[str]:
    """Name why trials failed, a line a row."""
    lines = []
    for row in trials.rows:
        failed = row.in_state("failed")
        if failed:
            why = dict.fromkeys(words.escape(one.reason) for one in failed)
            number = f"{_trials(len(failed))} failed"
            lines.append(f"{title(row, trials)}: {number} ({'; '.join(why)})")
    return lines


def untuned(trials: Trials) -> list[str]:
    """Name the rows that were not tuned, and why."""
    return [
        f"{title(one, trials)} was not tuned: {words.escape(one.why)}" for one in trials.untuned
    ]


def banners(trials: Trials) -> list[str]:
    """Warn of unequal budgets, of trained rows without any, and of rows where no trial finished."""
    found = []
    if uneven(trials) and len({len(row.trials) for row in trials.rows}) == 1:
        had = _trials(len(trials.rows[0].trials))
        found.append(f"Every tuned row had {had}, not the {trials.asked} that were asked for.")
    elif uneven(trials):
        found.append(
            f"Tuning budgets differ: {_trials(trials.asked)} a row were asked for; they had "
            f"{_numbers(trials)}. A row with more had the better chance."
        )
    left = [f"{title(o, trials)} ({words.escape(o.why)})" for o in trials.untuned if o.trained]
    if left and trials.rows:
        be = "was" if len(left) == 1 else "were"
        found.append(f"Not tuned, beside rows that were: {words.listing(left)} {be} trained.")
    for row in trials.rows:
        if row.winner is None:
            found.append(f"Tuning of {title(row, trials)}: {_lost(row)}; its default is shown.")
    return found


def _lost(row: TunedRow) -> str:
    """Say that no trial finished, and whether all of them failed."""
    failed = len(row.in_state("failed")) == len(row.trials)
    every = _trials(len(row.trials))
    return f"every one of {every} failed" if failed and row.trials else f"of {every} none finished"


def overall(trials: Trials) -> list[str]:
    """Say that the rows of a report are tuned ones, and which are not."""
    others = [title(one, trials) for one in trials.untuned]
    others += [title(row, trials) for row in trials.rows if row.winner is None]
    kept = [title(row, trials) for row in trials.rows if row.kept_default]
    but = f" but {words.listing(others)}" if others else ""
    said = f"All rows{but} are as tuned on the validation split; [Tuning](#tuning) has their"
    said += " defaults"
    return [f"{said}, which {words.listing(kept)} kept." if kept else f"{said}."]


def sentences(block: Block, rows: Sequence[Bought]) -> list[str]:
    """Say in one setting what tuning gained or lost, and which rows it did not change."""
    known = [one for one in rows if one.compared and one.compared.verdict]
    told = [
        f"{_gained(known, verdict)} **{verdict} than {'its' if len(own) == 1 else 'their'} "
        f"default{'s' * (len(own) > 1)}** by tuning"
        for verdict in ("better", "worse")
        if (own := [one for one in known if one.compared and one.compared.verdict == verdict])
    ]
    if not told and known and one_seed([block], every=True):
        told = ["With one seed nothing is told of what tuning bought"]
    elif not told:
        told = ["Tuning made no row better than its default"]
    same = [f"{_name(one)} ({how})" for one in rows if (how := _how(one))]
    unchanged = [f"No change by tuning is told of {words.listing(same)}."] if same else []
    return [f"{words.listing(told)}.", *unchanged]


def _gained(known: Sequence[Bought], verdict: str) -> str:
    names = [
        f"{_name(one)} ({words.points(one.compared.difference)})"
        for one in known
        if one.compared and one.compared.difference and one.compared.verdict == verdict
    ]
    return f"{words.listing(names)} {'is' if len(names) == 1 else 'are'}"


def _name(one: Bought) -> str:
    return words.escape(one.row.group.variant)


def _how(one: Bought) -> str:
    """Say why a row counts as unchanged; empty where it changed, or nothing is known."""
    if one.compared is None:
        return "no trial finished" if one.tuning.winner is None else "kept its default"
    return one.compared.verdict if one.compared.verdict in ("equivalent", "undecided") else ""


def used(found: Tuning | None) -> list[str]:
    """Name the procedures that were used, for the bibliography."""
    if found is None:
        return []
    trials = found.trials
    weighed = any(row.importances for row in trials.rows)
    return [
        "tuning",
        f"sampler-{trials.sampler}",
        f"pruner-{trials.pruner}",
        *(["importances"] if weighed else []),
    ]
