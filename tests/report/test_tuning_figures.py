"""The figures of tuning: a panel for each kind of score, every row named, nothing cut."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.text import Text

from bench.cell import Json
from bench.report.analysis import analyse
from bench.report.figures.style import Picture
from bench.report.figures.tuning import tuning_figures
from bench.report.results import read_results
from tests.report.conftest import METHODS
from tests.report.invented import MAML, PROTONET, ROWS, SIMCLR, record, row, tuned

Make = Callable[..., Any]
Drawn = dict[str, tuple[str, Figure]]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """Every figure that is drawn and its caption, by its name, before it is made into bytes."""
    kept: Drawn = {}

    def keep(name: str, alt: str, figure: Figure) -> Picture:
        kept[name] = (alt, figure)
        return Picture(name=name, alt=alt, png=b"", svg=b"")

    monkeypatch.setattr("bench.report.figures.tuning.picture", keep)
    return kept


def at_k(line: Line2D) -> np.ndarray:
    """Return where the points of a line stand."""
    return np.asarray(line.get_xdata(), float)


def draw(make: Make, **how: Json) -> None:
    """Draw the figures of an invented tuning."""
    results = read_results(*tuned(make, record(**how)))
    found = analyse(results).tuning
    assert found is not None
    tuning_figures(results, found)


def test_scores_of_other_tasks_have_panels_of_their_own(synthetic: Make, drawn: Drawn) -> None:
    """Rows scored by label_val and by pseudo_val are never in one panel."""
    draw(synthetic)

    assert list(drawn) == ["expected-best", "tuning-seconds", "tuning-importances"]
    for name in ("expected-best", "tuning-seconds"):
        axes = drawn[name][1].axes
        assert [axis.get_title() for axis in axes] == ["label_val", "pseudo_val"]
        colours = [{line.get_color() for line in axis.get_lines()} for axis in axes]
        assert len(colours[0] - {"#555555"}) == 2
        assert len(colours[1] - {"#555555"}) == 1
        (legend,) = drawn[name][1].legends
        shown = [one.get_text() for one in legend.get_texts()]
        assert shown[:3] == [PROTONET.label, MAML.label, SIMCLR.label]


def test_the_default_is_a_mark_before_the_curve(synthetic: Make, drawn: Drawn) -> None:
    """Trial 0 stands at k = 0, as no draw; the curve of five draws runs from 1 to 5."""
    draw(synthetic)
    lines = drawn["expected-best"][1].axes[0].get_lines()

    spans = sorted({(float(at_k(line)[0]), len(at_k(line))) for line in lines})
    assert spans == [(0.0, 1), (1.0, 5)]
    assert "no confidence interval" in drawn["expected-best"][0]


def test_the_best_so_far_says_what_it_is(synthetic: Make, drawn: Drawn) -> None:
    """TPE's trials have no band and another caption; no importances, no figure of them."""
    rows = [{**one, "importances": None} for one in ROWS]
    draw(synthetic, sampler="tpe", rows=rows)

    assert list(drawn) == ["best-so-far", "tuning-seconds"]
    alt, figure = drawn["best-so-far"]
    assert "would take independent draws" in alt
    assert not figure.axes[0].collections
    assert len(at_k(figure.axes[0].get_lines()[0])) == 6


def test_wide_seconds_have_a_logarithmic_axis(synthetic: Make, drawn: Drawn) -> None:
    """The dotted line stands at the seconds of the row that took the fewest, in each panel."""
    rows = [{**one, "trials": [dict(t) for t in one["trials"]]} for one in ROWS]
    for own in rows[0]["trials"]:
        own["seconds"] = 900.0
    draw(synthetic, rows=rows)
    labelled, pseudo = drawn["tuning-seconds"][1].axes

    assert labelled.get_xscale() == "log"
    assert pseudo.get_xscale() == "linear"
    for axis in (labelled, pseudo):
        (line,) = [one for one in axis.get_lines() if one.get_linestyle() == ":"]
        assert np.unique(at_k(line)).tolist() == [60.0]
    assert "second, separate view" in drawn["tuning-seconds"][0]


def test_long_names_are_not_cut(synthetic: Make, drawn: Drawn) -> None:
    """Twelve rows with long names and three parameters each: all names stand in the figures."""
    names = [f"a pretext with a long name (and its parts) {n} + maml, support" for n in range(12)]
    methods = [replace(MAML, label=one, params={"meta.order": n}) for n, one in enumerate(names)]
    space = {f"pretext.temperature_of_{n}": {"values": [1, 2]} for n in range(3)}
    rows = [
        {**row(MAML.label, [0.5, 0.6, 0.4, 0.55]), "variant": name, "space": space, "winner": 1}
        | {"importances": dict.fromkeys(space, 1 / 3)}
        for name in names
    ]
    plan, store = synthetic(methods=[*METHODS, *methods], seeds=2).build()
    plan = replace(plan, settings={**plan.settings, "tuning": record(rows, trials=4)})
    results = read_results(plan, store)
    found = analyse(results).tuning
    assert found is not None

    tuning_figures(results, found)

    for _, figure in drawn.values():
        figure.draw_without_rendering()
        width, height = figure.canvas.get_width_height()
        texts = [one for one in figure.findobj(Text) if isinstance(one, Text)]
        shown = " ".join(" ".join(one.get_text().split()) for one in texts)
        assert all(name in shown for name in names)
        for one in (*_names(figure), *figure.findobj(Legend)):
            box = one.get_window_extent()
            assert box.x0 >= -1
            assert box.x1 <= width + 1
            assert box.y0 >= -1
            assert box.y1 <= height + 1


def _names(figure: Figure) -> list[Text]:
    """Return the names of rows and parameters, and the titles of panels."""
    bars = [axis for axis in figure.axes if axis.get_xlabel() == "importance"]
    parameters = [label for axis in bars for label in axis.get_yticklabels()]
    texts = [one for axis in figure.axes for one in (*axis.texts, axis.title)]
    return [*parameters, *(one for one in texts if one.get_text())]
