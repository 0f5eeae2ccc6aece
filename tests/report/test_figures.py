"""The figures of a report: which there are, what they show, their size, and equal bytes."""

import io
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from bench.report.comparison import blocks
from bench.report.figures.accuracy import accuracy_figures
from bench.report.figures.adaptation import MOST_CURVES, adaptation_figures
from bench.report.figures.cost import cost_figures, front
from bench.report.figures.coverage import LOOKS, coverage_figures
from bench.report.figures.effects import effects_figures
from bench.report.figures.episodes import episode_figures
from bench.report.figures.factorial_view import FactorialView
from bench.report.figures.forest import forest_figures
from bench.report.figures.pairs import pairs_picture, ranks_picture
from bench.report.figures.style import VERDICT_LOOKS, Picture
from bench.report.figures.ticks import byte_ticks, count_ticks, seconds_ticks
from bench.report.results import Results, read_results
from bench.statistics.interval import Interval

Make = Callable[..., Any]
Drawn = dict[str, Figure]
BROKEN = frozenset({("simclr + maml", 5, 1)})


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """Every figure that is drawn, by its name, before it is made into bytes."""
    kept: Drawn = {}

    def keep(name: str, alt: str, figure: Figure) -> Picture:
        kept[name] = figure
        return Picture(name=name, alt=alt, png=b"", svg=b"")

    for module in ("accuracy", "adaptation", "cost", "coverage", "effects", "episodes", "forest"):
        monkeypatch.setattr(f"bench.report.figures.{module}.picture", keep)
    return kept


def of_results(results: Results) -> list[Picture]:
    """Return all figures that have a line or a mark a variant."""
    compared = blocks(results)
    return [
        *coverage_figures(results),
        *accuracy_figures(results, compared),
        *forest_figures(results, compared),
        *episode_figures(results, compared),
        *adaptation_figures(results, compared),
        *cost_figures(results, compared),
    ]


def words_in(figure: Figure) -> list[str]:
    """Return every text of a figure, ticks and legends included."""
    found = [one for one in figure.findobj(Text) if isinstance(one, Text)]
    return [text.get_text() for text in found if text.get_text()]


def many(make: Make, number: int, **changes: object) -> Results:
    """Return results of ``number`` variants with steps, beside the usual floor and baseline."""
    bench = make()
    floor, protonet, maml, _ = bench.methods
    more = [
        replace(
            maml,
            label=f"a pretext with a long name (and its parts) {n} + maml",
            mean=0.5 + n / 200,
            params={"meta.order": n},  # and so a stage of its own
        )
        for n in range(number)
    ]
    return read_results(*make(methods=(floor, protonet, *more), **changes).build())


def test_every_figure_has_a_panel_a_number_of_shots(synthetic: Make, drawn: Drawn) -> None:
    """A complete suite has all figures; cost has a column for each of its three measures."""
    of_results(read_results(*synthetic().build()))

    assert {name: len(figure.axes) for name, figure in drawn.items()} == {
        "coverage": 1,
        "accuracy-glyphs-5way": 2,
        "seeds-glyphs-5way": 2,
        "forest-glyphs-5way": 2,
        "forest-floor-glyphs-5way": 2,
        "episodes-glyphs-5way": 2,
        "episodes-paired-glyphs-5way": 2,
        "adaptation-glyphs-5way": 2,
        "cost-glyphs-5way": 6,
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"broken": BROKEN, "missing": frozenset({"simclr + none"})},
        {"missing": frozenset({"random_init"})},
        {"seeds": 1},
        {"episodes": 1},
        {"shots": (5,)},
        {"settings": {"baseline": {}}},
        {
            "missing": frozenset(
                {"random_init", "none + protonet", "simclr + maml", "simclr + none"}
            )
        },
    ],
    ids=["incomplete", "no floor", "one seed", "one episode", "one shot", "no baseline", "nothing"],
)
def test_figures_are_small_and_wide(synthetic: Make, changes: dict[str, Any]) -> None:
    """Whatever is missing, figures are drawn at twice GitHub's width, and their text is text."""
    pictures = of_results(read_results(*synthetic(**changes).build()))

    assert {one.name.split("-")[0] for one in pictures} >= {"coverage", "accuracy", "seeds"}
    assert {Image.open(io.BytesIO(one.png)).width for one in pictures} == {1760}
    assert all(len(one.png) < 300_000 and len(one.svg) < 500_000 for one in pictures)
    assert all(b"<text" in one.svg for one in pictures)


def test_figures_are_the_same_bytes_each_time(synthetic: Make) -> None:
    """Nothing of a figure depends on when, or after which others, it was drawn."""
    results = read_results(*synthetic(broken=BROKEN).build())

    assert of_results(results) == of_results(results)


def test_incomplete_rows_are_said_in_words(synthetic: Make, drawn: Drawn) -> None:
    """A row that lacks a seed has no point, no density and no cost, but the reason in its place."""
    of_results(read_results(*synthetic(broken=BROKEN).build()))

    said = {name for name, figure in drawn.items() if "2 of 3 seeds" in " ".join(words_in(figure))}

    assert said == set(drawn) - {"coverage"}
    assert "failed" in words_in(drawn["coverage"])
    numbers = [word for word in words_in(drawn["forest-glyphs-5way"]) if word.endswith("]")]
    assert len(numbers) == 3  # of two rows with a baseline at two shots, one is incomplete


def test_a_forest_has_differences_in_the_looks_of_their_verdicts(
    synthetic: Make, drawn: Drawn
) -> None:
    """Each point stands at its row's difference; one legend has the verdicts and the margin."""
    results = read_results(*synthetic().build())
    block = blocks(results)[0]
    forest_figures(results, blocks(results))
    figure = drawn["forest-floor-glyphs-5way"]

    points = {
        round(float(np.ravel(line.get_xdata())[0]), 6): line.get_color()
        for line in figure.axes[0].lines
        if line.get_marker() in {look[1] for look in VERDICT_LOOKS.values()}
    }

    expected = {
        round(100 * row.floor.difference.mean, 6): VERDICT_LOOKS[row.floor.verdict or ""][0]
        for row in block.rows
        if row.floor and row.floor.difference
    }
    assert points == expected
    (legend,) = figure.legends
    assert {one.get_text() for one in legend.get_texts()} == {"better", "within ± 1 point"}


def test_forest_rows_are_sorted_below_what_they_are_compared_with(
    synthetic: Make, drawn: Drawn
) -> None:
    """Rows of one baseline stand together, the greatest difference first."""
    results = read_results(*synthetic().build())
    forest_figures(results, blocks(results))

    texts = words_in(drawn["forest-floor-glyphs-5way"])

    order = ["simclr + maml", "none + protonet", "simclr + none"]
    assert [text for text in texts if text in order] == order
    assert "minus random_init:" in texts


def test_a_row_of_one_seed_says_one_model(synthetic: Make, drawn: Drawn) -> None:
    """With one seed the forest says that its intervals are over the episodes of one model."""
    of_results(read_results(*synthetic(seeds=1).build()))

    assert any("one model" in word for word in words_in(drawn["forest-glyphs-5way"]))
    assert any("one model" in word for word in words_in(drawn["accuracy-glyphs-5way"]))


def test_without_a_number_axes_are_those_of_accuracies(synthetic: Make, drawn: Drawn) -> None:
    """Where one episode withholds every interval, the axis still runs from 0 to 100."""
    of_results(read_results(*synthetic(episodes=1).build()))

    assert drawn["accuracy-glyphs-5way"].axes[0].get_xlim() == (0, 100)


def _bounds(axis: Axes, direction: int) -> tuple[float, float]:
    """Return the least and the greatest place of anything drawn in the data's own units."""
    values = [
        np.asarray(path.vertices)[:, direction]
        for artist in axis.collections
        for path in artist.get_paths()
        if artist.get_transform() == axis.transData
    ]
    return float(np.concatenate(values).min()), float(np.concatenate(values).max())


@pytest.mark.parametrize(
    ("figure", "direction"),
    [("accuracy-glyphs-5way", 0), ("adaptation-glyphs-5way", 1), ("cost-glyphs-5way", 1)],
)
def test_no_interval_of_an_accuracy_reaches_beyond_0_or_100(
    synthetic: Make, drawn: Drawn, figure: str, direction: int
) -> None:
    """Two seeds have intervals tens of points wide, which are cut where accuracies end."""
    bench = synthetic()
    methods = tuple(replace(one, mean=0.99) for one in bench.methods)
    of_results(read_results(*synthetic(methods=methods, seeds=2, episodes=5).build()))

    for axis in drawn[figure].axes:
        low, high = _bounds(axis, direction)
        assert low >= 0
        assert high <= 100 + 1e-9


def test_the_front_is_what_none_dominates() -> None:
    """One costs more and is less accurate, or as accurate, than one of the front; ties stay."""
    points = [(0.0, 0.4), (0.0, 0.5), (3.0, 0.5), (2.0, 0.7), (2.0, 0.7), (9.0, 0.9), (8.0, 0.7)]

    def dominated(own: tuple[float, float]) -> bool:
        return any(c <= own[0] and a >= own[1] and (c, a) != own for c, a in points)

    assert sorted(front(points)) == [i for i, own in enumerate(points) if not dominated(own)]
    assert front([]) == []


def test_rows_that_train_on_nothing_have_a_place_on_the_logarithmic_axis(
    synthetic: Make, drawn: Drawn
) -> None:
    """No image at all stands at the left, under a tick that says so; seconds have none."""
    results = read_results(*synthetic().build())
    cost_figures(results, blocks(results))
    seconds, images, _ = drawn["cost-glyphs-5way"].axes[:3]

    assert next(label.get_text() for label in images.get_xticklabels()) == "none"
    assert "none" not in [label.get_text() for label in seconds.get_xticklabels()]
    assert images.get_xlim()[0] <= images.get_xticks()[0] < 6400
    assert images.get_xticks()[0] in {
        x for line in images.lines for x in np.ravel(line.get_xdata())
    }


def test_costs_that_are_not_stored_are_said(synthetic: Make, drawn: Drawn) -> None:
    """Rows whose training is gone from the store have no place there, and a note counts them."""
    results = read_results(*synthetic().build())
    gone = tuple(
        replace(one, trained={}) if one.cell.variant == "simclr + none" else one
        for one in results.cells
    )
    results = replace(results, cells=gone)

    cost_figures(results, blocks(results))

    assert any("cost of 1 row " in word for word in words_in(drawn["cost-glyphs-5way"]))


@pytest.mark.parametrize(
    ("ticks", "low", "high", "words"),
    [
        (seconds_ticks, 4.0, 2000.0, ["10 s", "30 s", "1 min", "5 min", "20 min"]),
        (seconds_ticks, 50.0, 4000.0, ["1 min", "5 min", "20 min", "1 h"]),
        (count_ticks, 900.0, 20000.0, ["1 k", "2 k", "5 k", "10 k", "20 k"]),
        (byte_ticks, 2.0**27, 2.0**31, ["128 MiB", "256 MiB", "512 MiB", "1 GiB", "2 GiB"]),
    ],
)
def test_ticks_are_round(
    ticks: Callable[[float, float], list[tuple[float, str]]],
    low: float,
    high: float,
    words: Sequence[str],
) -> None:
    """Ticks are what one would say, and at most five."""
    assert [word for _, word in ticks(low, high)] == words


def test_many_curves_are_thinned_to_the_best_and_it_is_said(synthetic: Make, drawn: Drawn) -> None:
    """Of twenty rows with steps the best eight are drawn, and the floor and the baseline."""
    results = many(synthetic, 20, shots=(1,))
    (picture,) = adaptation_figures(results, blocks(results))
    (legend,) = drawn["adaptation-glyphs-5way"].legends

    named = [text.get_text() for text in legend.get_texts()]

    assert len(named) == MOST_CURVES + 2
    assert {"random_init", "none + protonet"} < set(named)
    assert "all but the best 8 of 20 rows with steps" in picture.alt


def test_many_variants_stay_small(synthetic: Make) -> None:
    """Forty variants with long names make figures within the bounds of bytes."""
    results = many(synthetic, 40, episodes=20)

    for picture in of_results(results):
        assert len(picture.png) < 300_000, picture.name
        assert len(picture.svg) < 500_000, picture.name


def test_coverage_shows_each_status_in_a_colour_and_a_sign(synthetic: Make, drawn: Drawn) -> None:
    """A square for each cell in the colour of its status, each with its own marker over it."""
    results = read_results(*synthetic(broken=BROKEN, missing=frozenset({"simclr + none"})).build())
    coverage_figures(results)
    (axis,) = drawn["coverage"].axes

    squares = {
        tuple(np.ravel(artist.get_facecolor())[:3]): len(np.asarray(artist.get_offsets()))
        for artist in axis.collections[::2]  # below each status's signs
    }

    counts = {status: sum(one.status == status for one in results.cells) for status in LOOKS}
    assert counts == {"done": 17, "failed": 1, "missing": 6}
    assert squares == {to_rgb(LOOKS[status][0]): number for status, number in counts.items()}
    assert len({sign for _, _, sign, _ in LOOKS.values()}) == len(LOOKS)


def test_coverage_of_a_large_complete_suite_is_one_line(synthetic: Make, drawn: Drawn) -> None:
    """Complete variants share a line; one that lacks a cell keeps its own."""
    lost = frozenset({("none + protonet", 1, 0)})
    coverage_figures(many(synthetic, 30, episodes=2, broken=lost))
    texts = words_in(drawn["coverage"])
    (whole,) = coverage_figures(many(synthetic, 30, episodes=2))

    assert {"none + protonet", "31 complete variants"} < set(texts)
    assert whole.alt == "Coverage: of 192 cells 192 done"
    assert drawn["coverage"].get_figheight() < 1.5


def test_coverage_of_many_incomplete_variants_is_bounded(synthetic: Make) -> None:
    """Of a hundred variants without a cell thirty have lines, with a note, within the bytes."""
    bench = synthetic()
    names = frozenset(f"row {n}" for n in range(100))
    methods = [replace(bench.methods[0], label=name, control="") for name in sorted(names)]
    results = read_results(*synthetic(methods=methods, missing=names, seeds=20).build())

    (picture,) = coverage_figures(results)

    assert len(picture.png) < 300_000
    assert len(picture.svg) < 500_000
    assert "70 more variants are not complete" in picture.svg.decode()


def test_held_out_tasks_have_columns_in_coverage(held: Make, drawn: Drawn) -> None:
    """Each held-out task is a group of columns; a row that was not planned for it lacks squares."""
    coverage_figures(read_results(*held().build()))

    assert {"5-shot rotation", "5-shot jigsaw"} < set(words_in(drawn["coverage"]))


def _view(num_rows: int, num_columns: int) -> FactorialView:
    """Return a view with a departure that is certain at [0, 0], and a missing cell at the end."""
    rows = tuple(f"pretext {n}" for n in range(num_rows))
    columns = tuple(f"meta {n}" for n in range(num_columns))
    departure = np.linspace(-0.05, 0.01, num_rows * num_columns).reshape(num_rows, num_columns)
    accuracy = 0.6 + departure
    accuracy[-1, -1] = departure[-1, -1] = np.nan
    effect = Interval(mean=0.02, low=0.01, high=0.03, se=0.005, p=0.01, seeds=3)
    return FactorialView(
        title="glyphs, 5-way 1-shot",
        slug="glyphs-5way-1shot",
        first="pretext",
        second="meta",
        rows=rows,
        columns=columns,
        accuracy_GH=accuracy,
        main_first=[(rows[0], None, ""), *((row, effect, "better") for row in rows[1:])],
        main_second=[(columns[0], None, ""), *((one, effect, "undecided") for one in columns[1:])],
        departure_GH=departure,
        certain_GH=np.abs(departure) > 0.045,
    )


@pytest.mark.parametrize("shape", [(2, 2), (4, 5), (8, 10)])
def test_effects_have_three_panels(shape: tuple[int, int], drawn: Drawn) -> None:
    """Accuracies, departures (bold where certain) and effects, each with its number."""
    effects_figures([_view(*shape)])
    accuracy, departure, main = drawn["effects-glyphs-5way-1shot"].axes

    assert accuracy.get_title().startswith("mean accuracy")
    assert main.get_title() == "main effects"
    assert "55.0" in [text.get_text() for text in accuracy.texts]
    assert "incomplete" in [text.get_text() for text in accuracy.texts]
    bold = [text.get_text() for text in departure.texts if text.get_fontweight() == "bold"]
    assert bold[0] == "-5.0"
    assert len(bold) < len(departure.texts)
    numbers = [text.get_text() for text in main.texts if text.get_text().endswith("]")]
    assert numbers == ["+2.0 [1.0, 3.0]"] * (sum(shape) - 2)
    assert "minus pretext 0:" in [text.get_text() for text in main.texts]


def test_effects_are_the_same_bytes_each_time() -> None:
    """Heat maps, too, are drawn at twice GitHub's width and the same each time."""
    (first,), (second,) = effects_figures([_view(3, 4)]), effects_figures([_view(3, 4)])

    assert first == second
    assert Image.open(io.BytesIO(first.png)).width == 1760


@pytest.mark.parametrize("count", [3, 14, 40])
def test_pairs_have_signed_numbers_or_signs(count: int) -> None:
    """Up to fourteen variants have numbers with signs that mirror; more have signs and colours."""
    means = np.linspace(5, 0, count)
    difference = means[:, None] - means[None, :]
    verdict = np.where(difference > 1, "better", np.where(difference < -1, "worse", "undecided"))

    def draw() -> Picture:
        labels = [f"variant {n}" for n in range(count)]
        return pairs_picture("pairs", "All pairs", labels, difference, verdict.tolist())

    picture = draw()

    assert picture == draw()
    assert Image.open(io.BytesIO(picture.png)).width == 1760
    assert len(picture.svg) < 500_000
    text = picture.svg.decode()
    assert ("+5.0" in text and "-5.0" in text) == (count <= 14)
    assert "variant 1" in text


def test_a_critical_difference_diagram_names_ranks_and_joins_cliques() -> None:
    """Every variant has its name and its mean rank; a clique of one is no bar."""
    labels = ["b", "a", "c", "d", "e"]
    ranks = [2.25, 1.5, 3.0, 3.75, 4.5]

    def draw(cliques: Sequence[Sequence[int]]) -> Picture:
        return ranks_picture("ranks", "Mean ranks", labels, ranks, cliques)

    picture = draw([(0, 1), (2, 3, 4)])

    assert picture == draw([(0, 1), (2, 3, 4)])
    assert Image.open(io.BytesIO(picture.png)).width == 1760
    assert all(word in picture.svg.decode() for word in ("a  1.50", "b  2.25", "4.50  e"))
    assert draw([(0,)]).svg == draw([]).svg != picture.svg


def test_colours_are_those_that_the_colour_blind_tell_apart(synthetic: Make) -> None:
    """The pixels of a forest hold the colour of its verdict and white, and no pure red or green."""
    results = read_results(*synthetic().build())
    picture = next(one for one in forest_figures(results, blocks(results)) if "floor" in one.name)

    pixels = np.array(Image.open(io.BytesIO(picture.png)).convert("RGB")).reshape(-1, 3)
    found = {tuple(int(c) for c in colour) for colour in np.unique(pixels, axis=0)}

    assert (0x00, 0x72, 0xB2) in found
    assert tuple(pixels[0]) == (255, 255, 255)
    assert not found & {(255, 0, 0), (0, 128, 0), (0, 255, 0)}


def test_no_figure_needs_torch() -> None:
    """Every module of the figures is imported, and a heat map drawn, where torch is blocked."""
    code = """
import importlib, pkgutil, sys
sys.modules["torch"] = None
import numpy as np
from bench.report import figures
for one in pkgutil.iter_modules(figures.__path__):
    importlib.import_module(f"bench.report.figures.{one.name}")
from bench.report.figures.pairs import pairs_picture
assert pairs_picture("p", "p", "ab", np.eye(2), [["", "better"], ["worse", ""]]).png
"""
    subprocess.run([sys.executable, "-c", code], check=True)
