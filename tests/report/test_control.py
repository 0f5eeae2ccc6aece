"""Unseen environments in a report: what steps do to errors and returns, and in whose words."""

import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.analysis import analyse
from bench.report.comparison import Block, blocks
from bench.report.evidence.evidence import gather
from bench.report.figures import control as figures
from bench.report.figures.accuracy import reach, within
from bench.report.figures.forest import forest_figures
from bench.report.gallery import Gallery
from bench.report.headline import ACCURACY, EXPLAINED
from bench.report.results import Results, read_results
from bench.report.text import Report, write_text
from bench.report.verify import verify
from bench.report.views.control import Control, Controlled, control
from bench.report.words import number, number_more
from bench.report.write import contents, write_report
from bench.statistics.interval import Interval, crossed_interval, paired_difference
from bench.statistics.verdict import holm
from tests.report.worlds import DROP, Worlds

SETTING = "pendulum, 10 transitions"
OF_CLASSES = re.compile(
    r"accurac|(?<!two-)\bways?\b|(?<!few-)\bshot|\bclass(?!es of labels| of labels)|chance|naming",
    re.I,
)


@pytest.fixture
def worlds(tmp_path: Path) -> Callable[..., Worlds]:
    """A maker of benches of environments; keywords change what the default holds."""
    return lambda **changes: Worlds(**({"results": tmp_path / "results"} | changes))


Make = Callable[..., Worlds]


def read(bench: Worlds) -> Results:
    """The results of a bench, once its store is filled."""
    return read_results(*bench.build())


def only(results: Results) -> Block:
    """The one setting."""
    (block,) = blocks(results)
    return block


def row(found: Control, variant: str) -> Controlled:
    """The row of a variant."""
    return next(one for one in found.rows if one.row.group.variant == variant)


def written(results: Results) -> Report:
    """The text, without figures."""
    return write_text(analyse(results), Gallery(), "0" * 64)


def test_a_row_is_compared_with_itself_before_any_step(worlds: Make) -> None:
    """The change of an error is paired by seed and environment, and the error falls by it."""
    found = control(only(read(worlds())))
    maml = row(found, "none + maml")
    error_TSE = maml.row.group.measured("error")
    assert maml.error.change.difference is not None
    assert maml.error.change.difference.mean == pytest.approx(-DROP["none + maml"], abs=0.01)
    own = paired_difference(error_TSE[-1], error_TSE[0])
    assert maml.error.change.difference.low == pytest.approx(own.low)
    assert maml.error.before == crossed_interval(error_TSE[0])
    assert maml.errors == tuple(map(crossed_interval, error_TSE))


def test_less_error_is_better_and_more_return_is(worlds: Make) -> None:
    """Verdicts: steps help maml, harm the pre-trained row, and leave what takes nothing off."""
    found = control(only(read(worlds())))
    verdicts = {
        one.row.group.variant: (one.error.change.verdict, one.planned.change.verdict)
        for one in found.rows
    }
    assert verdicts == {
        "none + maml": ("better", "better"),
        "none + reptile": ("better", "better"),
        "next_state + none": ("worse", "worse"),
        "random_init": ("undecided", "undecided"),
    }


def test_the_changes_of_all_rows_are_one_family(worlds: Make) -> None:
    """Holm's adjustment counts every row's change of one measure, and no other comparison."""
    found = control(only(read(worlds())))
    for family in (
        [one.error.change for one in found.rows],
        [one.planned.change for one in found.rows],
        [one.random for one in found.rows],
    ):
        p = [one.difference.p or 1.0 for one in family if one.difference]
        assert [one.p_holm for one in family] == pytest.approx(holm(p))


def test_a_return_is_read_before_any_step_and_after_the_last(worlds: Make) -> None:
    """Between them there is none; the random policy is the same in each row, and knows no seeds."""
    found = control(only(read(worlds())))
    reptile = row(found, "none + reptile")
    return_TSE = reptile.row.group.measured("return")
    assert np.isnan(return_TSE[1:-1]).all()
    own = paired_difference(return_TSE[-1], return_TSE[0])
    assert reptile.planned.change.difference == own
    random_E = reptile.row.group.measured("random_return")[-1].mean(0)
    assert reptile.random.difference is not None
    own = paired_difference(return_TSE[-1], np.tile(random_E, (3, 1)))
    assert reptile.random.difference.low == pytest.approx(own.low)
    assert found.random is not None
    assert found.random.mean == pytest.approx(random_E.mean())
    half = 1.96 * random_E.std(ddof=1) / len(random_E) ** 0.5
    assert found.random.high - found.random.mean == pytest.approx(half, rel=1e-3)
    assert not found.random.one_model


def test_rows_are_compared_with_the_floor_and_with_their_baseline(worlds: Make) -> None:
    """After the last step, in error and in return, within a class of labels."""
    results = read(worlds())
    found = control(only(results))
    maml = row(found, "none + maml")
    named = {group.variant: group for group in results.groups}

    def last(measure: str, variant: str) -> np.ndarray:
        value_SE: np.ndarray = named[variant].measured(measure)[-1]
        return value_SE

    for judged, measure in ((maml.error, "error"), (maml.planned, "return")):
        for one, reference in ((judged.floor, "random_init"), (judged.baseline, "none + reptile")):
            assert one is not None
            assert one.difference is not None
            own = paired_difference(last(measure, "none + maml"), last(measure, reference))
            assert one.difference.mean == pytest.approx(own.mean)
            assert (one.reference, one.verdict) == (reference, "better")
    assert row(found, "none + reptile").error.baseline is None
    assert row(found, "random_init").error.floor is None


def test_the_answer_says_whom_steps_help_and_whom_not(worlds: Make) -> None:
    """It names each verdict with its rows, by how much, first for errors and then for returns."""
    said = "\n".join(written(read(worlds())).answer)
    errors, returns = said.split("**Does a planner")
    assert errors.startswith(
        "**Do 5 steps on 10 transitions of an unseen environment make predictions better?** "
        f"({SETTING}; mean squared error)"
    )
    line = next(one for one in errors.splitlines() if one.startswith("* After minus before"))
    yes, no, open_ = line.split("; ")
    assert yes.startswith("* After minus before: **yes** for none + ")
    assert "none + maml (from 0.5999 to 0.1995, -0.4004 [" in yes
    assert no.startswith("**no, it is worse** for next_state + none (from 0.5")
    assert open_.startswith("**undecided** for random_init (from 1.0")
    assert "the random policy earns -1" in returns
    assert "* After minus the random policy: **yes** for" in returns
    assert "* Return minus that of the baseline none + reptile: **yes** for none + maml" in returns


def test_one_seed_decides_nothing(worlds: Make) -> None:
    """With one seed every verdict is undecided, and says of what its interval is."""
    said = written(read(worlds(seeds=1))).answer
    lines = [one for one in said if one.startswith("* ")]
    assert lines
    assert all("**undecided**" in one and "(one model)" in one for one in lines)
    assert not any("**yes**" in one for one in lines)


def test_a_row_that_is_not_whole_has_no_numbers(worlds: Make) -> None:
    """It counts in its families, stands in the tables with why, and is in no sentence."""
    bench = worlds(broken=frozenset({("none + maml", 10, 1)}))
    results = read(bench)
    found = control(only(results))
    maml = row(found, "none + maml")
    assert (maml.errors, maml.steps, maml.error.after) == ((), (), None)
    assert maml.error.change.trouble == "incomplete (2 of 3 seeds)"
    whole = row(found, "none + reptile").error.change
    assert whole.p_holm is not None
    assert whole.difference is not None
    assert whole.p_holm >= 2 * (whole.difference.p or 0.0)
    report = written(results)
    assert "none + maml" not in "".join(one for one in report.answer if one.startswith("* "))
    table = next(one for one in report.tables if one.name.startswith("errors-"))
    shown = next(one for one in table.rows if one[0] == "none + maml")
    assert "incomplete (2 of 3 seeds)" in shown


def test_nothing_is_said_of_a_setting_without_a_whole_row(worlds: Make) -> None:
    """A report of nothing yet says so, and draws no figure of errors."""
    bench = worlds(missing=frozenset(DROP))
    plan, store = bench.build()
    results = read_results(plan, store)
    assert f"No row of {SETTING} is done" in "".join(written(results).answer)
    assert figures.control_figures(results, blocks(results)) == []
    assert "index.md" in contents(gather(plan, store))


@pytest.fixture
def files(worlds: Make) -> Mapping[str, bytes]:
    """Every file of a report, by its name."""
    return contents(gather(*worlds().build()))


def test_a_report_of_environments_speaks_of_no_classes(files: Mapping[str, bytes]) -> None:
    """Neither accuracy nor ways, shots, classes, chance or their names, in any of its texts."""
    texts = {
        name: content.decode()
        for name, content in files.items()
        if name.endswith((".md", ".csv", ".tex", ".txt", ".json", ".svg"))
    }
    for name, text in texts.items():
        text = text.replace('"ways"', "").replace('"shots"', "").replace('"classes"', "")
        text = re.sub(r"^[^\n]*pendulum[^\n]*1-way[^\n]*$", "", text, flags=re.M)  # cells' names
        if name == "cells.csv":
            text = text.replace("ways,shots", "")
        assert not (found := OF_CLASSES.search(text)), (name, text[found.start() - 80 :][:160])
    assert not any("accuracy" in name for name in files)


def test_files_are_named_after_what_is_measured(files: Mapping[str, bytes]) -> None:
    """Tables and figures of variance explained, of errors and returns, by transitions."""
    names = {"explained", "errors", "returns"}
    assert {f"{name}-pendulum-10transitions.csv" for name in names} <= files.keys()
    assert {f"{name}-pendulum.svg" for name in (*names, "adaptation")} <= files.keys()
    explained = pd.read_csv(io.BytesIO(files["explained-pendulum-10transitions.csv"]))
    assert {"explained", "explained_low", "explained_high"} <= set(explained.columns)
    cells = pd.read_csv(io.BytesIO(files["cells.csv"]))
    assert {"explained", "error", "return", "random_return", "rate"} <= set(cells.columns)
    found = json.loads(files["report.json"])
    assert found["settings"]["protocol"] == "control"
    assert {"explained", "seeds"} <= found["blocks"][0]["rows"][0].keys()
    assert "explained" in found["blocks"][0]["rows"][0]["seeds"][0]


def test_the_method_is_ready_for_a_paper(files: Mapping[str, bytes]) -> None:
    """Environments, planner, the choice of the rate, and to what one may infer."""
    text = " ".join(files["method.txt"].decode().split())
    assert "pendulum (40 train, 10 val and 20 test environments" in text
    assert "tested on 12 environments (10 transitions; 100 of each predicted;" in text
    assert "64 plans of 15 actions, 8 of them kept, 3 times for each action" in text
    assert "one of 0.01 and 0.1: for each start the one of least mean error" in text
    assert "Inference is to new seeds and new environments drawn from the same ranges." in text
    assert "Inference is to new seeds and new environments" in files["index.md"].decode()
    assert "rubinstein2004cross" in files["references.bib"].decode()
    assert "chua2018pets" in files["references.bib"].decode()


def test_a_report_verifies_itself(worlds: Make, tmp_path: Path) -> None:
    """What is measured between read-outs, or is not, comes through the evidence as it was."""
    plan, store = worlds().build()
    write_report(plan, store, tmp_path / "reports")
    found = verify(tmp_path / "reports" / plan.name, store)
    assert found.agrees, found.text
    assert "720 shares of variance explained" not in found.text
    assert f"{4 * 3 * 4 * 12:,} shares of variance explained of single environments" in found.text


def test_the_audit_asks_for_no_chance(worlds: Make) -> None:
    """Neither chance before steps, nor a supervised oracle; the floor's presence is checked."""
    (table,) = analyse(read(worlds())).audit.tables
    checks = set(table.frame["check"])
    assert "random-init floor" not in checks or "chance" not in table.markdown
    assert not {"accuracy before any step", "supervised oracle"} & checks
    assert "trained rows against the floor" in checks


def test_axes_reach_below_nothing_where_values_do(worlds: Make) -> None:
    """A share of variance has no least value: neither axes, bars nor differences are cut there."""
    axis = Figure().add_subplot()
    axis.plot([0, 1], [-300, 50])
    axis.set_ylim(-320, 120)
    within(axis, "y", EXPLAINED)
    assert axis.get_ylim() == (-320, 101)
    within(axis, "y", ACCURACY)
    assert axis.get_ylim() == (-1, 101)
    wide = Interval(mean=-2.0, low=-3.0, high=-1.0, se=0.3, p=0.01, seeds=3)
    assert reach(wide, EXPLAINED) == [[100.0], [100.0]]
    results = read(worlds(scale=5.0))
    assert forest_figures(results, blocks(results))


def test_the_figure_shows_both_returns_and_the_random_policy(
    worlds: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any step hollow and after all steps filled, a dotted line at the random policy."""
    drawn: list[tuple[float, str]] = []
    lines: list[float] = []
    bar, line = Axes.errorbar, Axes.axvline

    def noted(self: Axes, x: float, *given: object, **how: object) -> object:
        drawn.append((x, str(how["markerfacecolor"])))
        return bar(self, x, *given, **how)  # type: ignore[arg-type]

    def ruled(self: Axes, x: float, **how: object) -> object:
        lines.append(x)
        return line(self, x, **how)  # type: ignore[arg-type]

    results = read(worlds())
    monkeypatch.setattr(Axes, "errorbar", noted)
    monkeypatch.setattr(Axes, "axvline", ruled)
    errors, returns = figures.control_figures(results, blocks(results))
    found = control(only(results))
    before = {one.planned.before.mean for one in found.rows if one.planned.before}
    after = {one.planned.after.mean for one in found.rows if one.planned.after}
    assert {x for x, fill in drawn if fill == "white"} == before
    assert {x for x, fill in drawn if fill != "white"} == after
    assert found.random is not None
    assert lines == [found.random.mean]
    assert (errors.name, returns.name) == ("errors-pendulum", "returns-pendulum")
    assert b"mean squared error" in errors.svg
    assert b">0.5<" in errors.svg  # a tick, in plain numbers
    assert b"mathdefault" not in errors.svg


@pytest.mark.parametrize(
    ("interval", "shown"),
    [
        ((-823.4, -900.2, -746.5), "-823 [-900, -746]"),
        ((0.01234, 0.0101, 0.0145), "0.0123 [0.0101, 0.0145]"),
        ((-0.0001, -0.3, 0.3), "0.00 [-0.30, 0.30]"),
        ((1.0, 1.0, 1.0), "1.00 [1.00, 1.00]"),
    ],
)
def test_numbers_in_units_of_their_own(interval: tuple[float, float, float], shown: str) -> None:
    """Two digits of how far an interval reaches say how many decimals it has."""
    mean, low, high = interval
    made = Interval(mean=mean, low=low, high=high, se=1.0, p=0.5, seeds=3)
    assert number(made) == shown
    assert number_more(made) == (shown if mean < -0.01 else f"+{shown}")
    assert number(replace(made, one_model=True)) == f"{shown} (one model)"
