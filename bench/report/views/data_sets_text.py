"""What a report says across data sets: tables, and why a test is not attainable."""

from collections.abc import Sequence

import pandas as pd

from bench.report import words
from bench.report.evidence.looks import judged
from bench.report.tables import NAN, Table
from bench.report.views.data_sets import THRESHOLDS, DataSets, Everywhere
from bench.statistics.aggregate import FEWEST_BLOCKS, interquartile_mean


def differences_table(found: DataSets) -> Table:
    """Every row's difference on each data set, their mean, and wins, ties and losses."""
    names = [block.data for block in found.blocks]
    header = ["variant", "labels", "minus", *names, "mean", "wins / ties / losses"]
    rows = [
        [_shown(one), one.labels, one.reference, *_each(one), _mean(one), _tally(one)]
        for one in found.rows
    ]
    return Table(
        name=f"data-sets-{found.slug}",
        header=header,
        rows=rows,
        frame=pd.DataFrame([_numbers(one, names) for one in found.rows]),
        right=tuple(range(3, len(header))),
    )


def _shown(one: Everywhere) -> str:
    return f"{one.variant} (!)" if one.marked else one.variant


def _each(one: Everywhere) -> list[str]:
    return [
        words.NONE
        if compared is None
        else words.points(compared.difference)
        if compared.difference
        else compared.trouble
        for compared in one.compared
    ]


def _mean(one: Everywhere) -> str:
    if one.mean is None:
        return "incomplete"
    if one.mean.low is None or one.mean.high is None:
        return f"{100 * one.mean.mean:+.1f}"
    mean, low, high = (100 * value for value in (one.mean.mean, one.mean.low, one.mean.high))
    return f"{mean:+.1f} [{low:.1f}, {high:.1f}]"


def _tally(one: Everywhere) -> str:
    if one.tally is None:
        return words.NONE
    looked_at = next((c.looked_at for c in one.compared if c and c.looked_at), "")
    return judged(f"{one.tally.win} / {one.tally.tie} / {one.tally.loss}", looked_at)


def _numbers(one: Everywhere, names: Sequence[str]) -> dict[str, object]:
    found: dict[str, object] = {
        "variant": one.variant,
        "labels": one.labels,
        "reference": one.reference,
    }
    for name, compared in zip(names, one.compared, strict=True):
        found[name] = compared.difference.mean if compared and compared.difference else NAN
    mean, tally = one.mean, one.tally
    return found | {
        "mean": mean.mean if mean else NAN,
        "mean_low": mean.low if mean else NAN,
        "mean_high": mean.high if mean else NAN,
        "p": mean.p if mean else NAN,
        "wins": tally.win if tally else NAN,
        "ties": tally.tie if tally else NAN,
        "losses": tally.loss if tally else NAN,
        "looked_at": next((c.looked_at for c in one.compared if c and c.looked_at), ""),
    }


def ranks_note(found: DataSets) -> str:
    """Say what the ranks show, or why there is no critical-difference diagram."""
    if not found.rankings:
        return (
            "Critical-difference diagram: fewer than two rows of one class of labels are whole on "
            "every data set."
        )
    said, sets = [], len(found.blocks)
    if any(one.found for one in found.rankings):
        said.append(
            "Mean ranks among the rows that saw the same labels; a bar joins those that exact "
            "Wilcoxon tests with Holm's adjustment do not tell apart."
        )
    for one in found.rankings:
        pairs = len(one.variants) * (len(one.variants) - 1) // 2
        if one.found is None:
            said.append(
                f"Critical-difference diagram (labels: {one.labels}): not attainable. With {sets} "
                f"data sets the smallest p there is, 2^(1-{sets}), exceeds .05 / {pairs} "
                f"pair{'s' * (pairs > 1)}."
            )
    return " ".join(said)


def aggregates_table(found: DataSets) -> Table | None:
    """Interquartile means over seeds and data sets; None below eight data sets."""
    if not found.has_aggregates:
        return None
    numbers, rows = [], []
    for variant, score_SB in found.scores.items():
        one = interquartile_mean(score_SB)
        assert one is not None
        numbers.append({"variant": variant, "iqm": one.value, "low": one.low, "high": one.high})
        value, low, high = 100 * one.value, 100 * one.low, 100 * one.high
        rows.append([variant, f"{value:.1f} [{low:.1f}, {high:.1f}]"])
    return Table(
        name=f"interquartile-means-{found.slug}",
        header=["variant", "interquartile mean %"],
        rows=rows,
        frame=pd.DataFrame(numbers),
        right=(1,),
    )


def profiles_table(found: DataSets) -> Table | None:
    """The share of runs above each accuracy, in every tenth of it; all in the CSV."""
    if not found.has_aggregates:
        return None
    numbers, rows, name = [], [], found.blocks[0].headline.name
    for variant, one in found.profiles.items():
        rows.append([variant, *(f"{100 * share:.0f}" for share in one.share[10:100:10])])
        numbers += [
            {"variant": variant, name: t, "share": share, "low": low, "high": high}
            for t, share, low, high in zip(
                one.thresholds, one.share, one.low, one.high, strict=True
            )
        ]
    shown = [f"{round(100 * t)} %" for t in THRESHOLDS[10:100:10]]
    return Table(
        name=f"profiles-{found.slug}",
        header=["variant", *shown],
        rows=rows,
        frame=pd.DataFrame(numbers),
        right=tuple(range(1, 10)),
    )


def too_few() -> str:
    """Say from how many data sets on there are aggregates."""
    return (
        f"Interquartile means and performance profiles need {FEWEST_BLOCKS} data sets: "
        "a quartile of fewer is one of them."
    )
