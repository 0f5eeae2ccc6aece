"""The figures of a report, by the section that shows them."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from bench.report.analysis import Analysis
from bench.report.figures.accuracy import accuracy_figures
from bench.report.figures.adaptation import adaptation_figures
from bench.report.figures.continual import continual_figures
from bench.report.figures.control import control_figures
from bench.report.figures.cost import cost_figures
from bench.report.figures.coverage import coverage_figures
from bench.report.figures.domains import domains_figures
from bench.report.figures.effects import effects_figures
from bench.report.figures.episodes import episode_figures
from bench.report.figures.factorial_view import FactorialView
from bench.report.figures.forest import NO_VERDICT, forest_figures
from bench.report.figures.learning import learning_figure
from bench.report.figures.lookalikes import lookalike_figures
from bench.report.figures.pairs import pairs_picture, ranks_picture
from bench.report.figures.profiles import profiles_picture
from bench.report.figures.speed import speed_figures
from bench.report.figures.style import Picture, looks
from bench.report.figures.tuning import tuning_figures
from bench.report.figures.weights import weights_figure
from bench.report.views.all_pairs import AllPairs
from bench.report.views.data_sets import DataSets
from bench.report.views.factorial import Effect, Factorial
from bench.statistics.interval import Interval

Pictures = tuple[Picture, ...]


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Every figure of a report; each field is what one section shows, in order."""

    answer: Pictures = ()
    accuracy: Pictures = ()
    tuning: Pictures = ()
    effects: Pictures = ()
    pairs: Pictures = ()
    domains: Pictures = ()
    data_sets: Pictures = ()
    cost: Pictures = ()
    training: Pictures = ()
    coverage: Pictures = ()
    look_alikes: Pictures = ()

    @property
    def every(self) -> Pictures:
        """All of them, in the order of the page."""
        return tuple(one for field in fields(self) for one in getattr(self, field.name))


def gallery(found: Analysis) -> Gallery:
    """Draw everything."""
    results, blocks = found.results, found.blocks
    over_training = (learning_figure(results), weights_figure(results))
    return Gallery(
        answer=tuple(forest_figures(results, blocks)),
        accuracy=(
            *speed_figures(results, blocks),
            *control_figures(results, blocks),
            *accuracy_figures(results, blocks),
            *adaptation_figures(results, blocks),
            *continual_figures(found.streams),
            *episode_figures(results, blocks),
        ),
        tuning=tuple(tuning_figures(results, found.tuning)) if found.tuning else (),
        effects=tuple(effects_figures([_view(one) for one in found.factorials if not one.trouble])),
        pairs=tuple(_matrix(one) for one in found.pairs),
        domains=tuple(domains_figures(found.domains)),
        data_sets=(*_ranks(found.data_sets), *_profiles(found)),
        cost=tuple(cost_figures(results, blocks)),
        training=tuple(one for one in over_training if one),
        coverage=tuple(coverage_figures(results)),
        look_alikes=tuple(lookalike_figures(results)),
    )


def _view(found: Factorial) -> FactorialView:
    """Return what the heat maps of a factorial view show."""
    assert found.accuracy_GH is not None
    departure_GH = np.array([[one.mean for one in row] for row in found.departures])
    p = [adjusted for *_, adjusted in found.departed]
    g, h = found.reference
    return FactorialView(
        title=found.block.title,
        slug=found.block.slug,
        first="pretext",
        second="meta",
        rows=found.starts,
        columns=found.learnings,
        accuracy_GH=found.accuracy_GH,
        headline=found.block.headline,
        main_first=[(found.starts[g], None, "reference"), *map(_effect, found.of_start)],
        main_second=[(found.learnings[h], None, "reference"), *map(_effect, found.of_learning)],
        departure_GH=departure_GH,
        certain_GH=np.reshape(p, departure_GH.shape) < 0.05,
    )


def _effect(one: Effect) -> tuple[str, Interval | None, str]:
    return one.level, one.compared.difference, one.compared.verdict or NO_VERDICT


def _matrix(found: AllPairs) -> Picture:
    """Draw the matrix of a setting; rows of other labels are not compared in it."""
    names = found.variants
    difference_VV = np.full((len(names), len(names)), np.nan)
    verdict_VV = [[""] * len(names) for _ in names]
    for i, one in enumerate(names):
        for j, other in enumerate(names):
            compared = found.compared.get((one, other))
            if compared and compared.difference and compared.verdict:
                difference_VV[i, j] = 100 * compared.difference.mean
                verdict_VV[i][j] = compared.verdict
    title = found.block.title
    alt = f"Paired differences of all rows that saw the same labels: {title}"
    return pairs_picture(f"all-pairs-{found.block.slug}", alt, names, difference_VV, verdict_VV)


def _profiles(found: Analysis) -> Iterator[Picture]:
    """Draw performance profiles where there are enough data sets."""
    look = looks(found.results)
    for one in found.data_sets:
        if one.profiles:
            of = one.blocks[0].headline
            alt = f"Performance profiles: the share of runs above {of.an}, {one.title}"
            yield profiles_picture(f"profiles-{one.slug}", alt, one.profiles, look, of)


def _ranks(found: tuple[DataSets, ...]) -> Iterator[Picture]:
    """Draw mean ranks where a difference is attainable."""
    for one in found:
        for own in one.rankings:
            if own.found is not None:
                alt = f"Critical-difference diagram: mean ranks, {one.title}, labels: {own.labels}"
                name = f"ranks-{one.slug}-{own.labels}"
                yield ranks_picture(name, alt, own.variants, own.found.ranks, own.found.cliques)
