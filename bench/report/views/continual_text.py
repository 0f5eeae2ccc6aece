"""What a report says of streams: the answers, tables, and the method for a paper."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from bench.report import words
from bench.report.audit.finding import failed
from bench.report.comparison import Comparison
from bench.report.evidence.looks import judged
from bench.report.tables import Table, comparison_columns, interval_columns
from bench.report.views.continual import MEASURES, METRICS, NAIVE, Along, Kind, Pair, Stream
from bench.statistics.interval import Interval

GOES: Mapping[str, Mapping[str, str]] = {  # what a verdict is called, by measure
    "accuracy": {"better": "better", "worse": "worse"},
    "forgetting": {"better": "forgets less", "worse": "forgets more"},
}
ANSWER: Mapping[str, Mapping[str, str]] = {  # what it is called where a question is of the measure
    measure: {"better": "yes", "worse": f"no, it {worse}", "equivalent": "no, it is equivalent"}
    for measure, worse in (("accuracy", "is worse"), ("forgetting", "forgets more"))
}
ASKED: Mapping[Kind, str] = {
    "strategy": "forgetting",
    "start": "accuracy",
    "further": "accuracy",
}
LABELS = "no verdict (other labels)"
SAID = {"accuracy": "average accuracy", "forgetting": "forgetting"}
WHAT: Mapping[Kind, str] = {
    "strategy": "strategy",
    "start": "start",
    "further": "pre-training goes on",
}


@dataclass(frozen=True, kw_only=True)
class StreamSection:
    """What a report shows of one setting: ``along`` and ``pairs`` are tables, ``edge`` a note."""

    along: Table
    pairs: Table | None
    edge: str

    @property
    def tables(self) -> list[Table]:
        """The tables that are there."""
        return [one for one in (self.along, self.pairs) if one]


def stream_section(found: Stream) -> StreamSection:
    """Return the tables of one setting."""
    edge = "(!) A rate at an edge of its grid: one beyond it might have been chosen."
    return StreamSection(
        along=along_table(found),
        pairs=pairs_table(found),
        edge=edge if any(one.edge for one in found.rows) else "",
    )


def answer(found: Sequence[Stream]) -> list[str]:
    """Say what replay, and what a start that was trained, gain along a stream."""
    return [sentence for one in found for sentence in _answers(one)]


def _answers(stream: Stream) -> Iterator[str]:
    title = words.escape(stream.block.title)
    pairs = stream.of_kind("strategy")
    for strategy in dict.fromkeys(one.strategy for one in pairs):
        own = [one for one in pairs if one.strategy == strategy]
        oracle = " (an oracle, that keeps all)" if own[0].oracle else ""
        asked = f"Does {words.escape(strategy)}{oracle} forget less than naive fine-tuning?"
        yield f"**{asked}** ({title})"
        yield from _by_verdict(own, _names(own, [one.start for one in own]), stream)
    starts = stream.of_kind("start")
    if starts:
        yield f"**Does pre-training or meta-learning help along a stream?** ({title})"
        yield from _by_verdict(starts, _rows(starts), stream)
    further = stream.of_kind("further")
    if further:
        yield f"**Does it help that pre-training goes on along the stream?** ({title})"
        yield from _by_verdict(further, _rows(further), stream)


def _rows(pairs: Sequence[Pair]) -> list[str]:
    return [words.escape(one.group.variant) + " (oracle)" * one.oracle for one in pairs]


def _names(pairs: Sequence[Pair], shorts: Sequence[str]) -> list[str]:
    """Name each pair by its start, or by its rows where two have one start."""
    times = Counter(shorts)
    return [
        words.escape(short)
        if times[short] == 1
        else f"{words.escape(one.group.variant)} against {words.escape(one.reference.variant)}"
        for one, short in zip(pairs, shorts, strict=True)
    ]


def _by_verdict(pairs: Sequence[Pair], names: Sequence[str], stream: Stream) -> Iterator[str]:
    """Answer by each measure, that of the question first: a line a verdict, and whose it is."""
    marks = {one.row.group.variant: one.row.marks for one in stream.rows}
    asked = ASKED[pairs[0].kind]
    for measure in sorted(MEASURES, key=lambda one: one != asked):
        said: dict[str, list[str]] = {}
        for pair, name in zip(pairs, names, strict=True):
            one = pair.compared[measure]
            caution = ", audit failed" if failed(marks[pair.group.variant]) else ""
            shown = _points(one.difference) if one.difference else ""
            shown = f" ({shown}{caution})" if shown else ""
            called = ANSWER if measure == asked else GOES
            said.setdefault(_verdict(one, called[measure]), []).append(f"{name}{shown}")
        for verdict, own in sorted(said.items(), key=lambda item: item[0] != "yes"):
            yield f"* By {SAID[measure]} in points, **{verdict}**: {words.listing(own)}."


def _verdict(one: Comparison, called: Mapping[str, str]) -> str:
    if one.difference is None:
        return f"nothing to tell, {words.escape(one.trouble)}"
    if one.verdict is None:
        return LABELS
    if one.difference.one_model:
        return "undecided with one seed"
    return judged(called.get(one.verdict, one.verdict), one.looked_at)


def _points(one: Interval) -> str:
    return words.points(one).removesuffix(words.ONE_MODEL)


def along_table(stream: Stream) -> Table:
    """Return what each row learned, kept and forgot."""
    header = ["variant", "strategy", "rate", "average accuracy %", "learning accuracy %"]
    header += ["forgetting", "backward transfer", "forgetting minus naive", "verdict"]
    return Table(
        name=f"stream-{stream.block.slug}",
        header=header,
        rows=[_row(one) for one in stream.rows],
        right=(2, 3, 4, 5, 6, 7),
        frame=pd.DataFrame([_numbers(one) for one in stream.rows]),
    )


def _row(one: Along) -> list[str]:
    group, shown = one.row.group, one.metrics
    if not shown:
        return [group.variant, one.shown, words.NONE, group.trouble, *[words.NONE] * 5]
    return [
        group.variant,
        one.shown,
        _rates(one),
        words.percent(shown["accuracy"]),
        words.percent(shown["learning"]),
        words.points(shown["forgetting"]),
        words.points(shown["backward_transfer"]),
        *_against(one.naive, "forgetting", NAIVE if group.first.strategy == NAIVE else words.NONE),
    ]


def _rates(one: Along) -> str:
    """Return the rates that were chosen, over seeds: ``0.03``, ``0.03 to 0.1 (!)``."""
    if not one.rates:
        return words.NONE
    ends = dict.fromkeys(f"{rate:g}" for rate in (one.rates[0], one.rates[-1]))
    return " to ".join(ends) + " (!)" * one.edge


def _against(one: Comparison | None, measure: str, itself: str = words.NONE) -> tuple[str, str]:
    if one is None:
        return words.NONE, itself
    if one.difference is None:
        return words.NONE, one.trouble
    word = GOES[measure].get(one.verdict or "", one.verdict or "")
    return words.points(one.difference), judged(word, one.looked_at) or "other labels"


def _numbers(one: Along) -> dict[str, object]:
    group = one.row.group
    cells: dict[str, object] = {
        "variant": group.variant,
        "labels": group.first.labels,
        "start": one.start,
        "strategy": one.strategy,
        "oracle": one.oracle,
        "rates": " ".join(f"{rate:g}" for rate in one.rates),
    }
    for name in METRICS:
        cells |= interval_columns(name, one.metrics.get(name))
    for group_met, values in enumerate(one.matrix_TT, start=1):
        cells |= {f"after_{group_met}_on_{j}": v for j, v in enumerate(values[:group_met], 1)}
    return cells | comparison_columns("naive_forgetting", one.naive)


def pairs_table(stream: Stream) -> Table | None:
    """Return every difference between rows that differ in one thing; None without such."""
    if not stream.pairs:
        return None
    header = ["variant", "minus", "differ in", "average accuracy", "verdict"]
    rows, numbers = [], []
    for one in stream.pairs:
        name = f"{one.group.variant} (oracle)" if one.oracle else one.group.variant
        texts = [text for m in MEASURES for text in _against(one.compared[m], m)]
        rows.append([name, one.reference.variant, WHAT[one.kind], *texts])
        cells: dict[str, object] = {
            "variant": one.group.variant,
            "reference": one.reference.variant,
            "differ_in": WHAT[one.kind],
            "start": one.start,
            "strategy": one.strategy,
            "oracle": one.oracle,
        }
        for measure in MEASURES:
            own = comparison_columns(measure, one.compared[measure])
            cells |= {name: value for name, value in own.items() if name != measure}
        numbers.append(cells)
    return Table(
        name=f"stream-pairs-{stream.block.slug}",
        header=[*header, "forgetting", "verdict"],
        rows=rows,
        right=(3, 5),
        frame=pd.DataFrame(numbers),
    )
