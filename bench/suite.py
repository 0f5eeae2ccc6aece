"""What is asked: a suite, one YAML file, checked the moment it is read.

A mistake is one UserError that names file, line and key. Names of plug-ins and their parameters
are checked by the plan, which knows the catalogue; each Choice carries the place it came from.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path

from bench.cell import Json, Norm
from bench.choice import Choice as Choice
from bench.choice import Values, choice_of, choices_of
from bench.errors import UserError
from bench.held_out import Held, read_held_out
from bench.protocol import RATE_TASKS, read_protocol, suited
from bench.strict_yaml import Places, Route, parse, read_text
from bench.suite_form import check
from bench.suite_form import schema as schema
from bench.suite_values import AXES as AXES
from bench.suite_values import LAST as LAST
from bench.suite_values import MOST_SEEDS, ROLES, Score, is_by_class
from bench.suite_values import Budget as Budget
from bench.suite_values import Evaluate as Evaluate
from bench.suite_values import Protocol as Protocol
from bench.suite_values import Selection as Selection
from bench.tune_form import Tune as Tune
from bench.tune_form import read_tune, refuse_known_seeds

DEFAULT_EXAMPLES = 1_000_000  # for each phase whose budget is not given
MOST_COMBINATIONS = 10_000
MOST_SCALE = 1000
COUNTS = ("episodes", "queries", "test_steps", "rate_tasks")
FIELDS = (*AXES, "ways", "augment", "norm", "selection", "budget")  # what variants inherit
Asked = Mapping[str, tuple[Json, Route]]  # a key to its checked value and its place


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One variant as asked: every axis but shots and seeds.

    ``axes`` holds only those that the grid, the variant or the top level names; the plan fills in
    defaults. ``label`` is None unless ``variants`` gives one.
    """

    label: str | None
    axes: Mapping[str, Choice]
    ways: int
    augment: Choice | None
    norm: Norm | None
    selection: Selection
    budget: Budget
    trials: int | None = None  # of its tuning; None: as many as all rows
    tuned_on: Score | None = None  # what its parameters were chosen by, before this suite
    where: str


@dataclass(frozen=True, kw_only=True)
class Suite:
    """One question, as read from ``file``; ``source`` is its YAML.

    ``baseline`` maps a class of labels (``*``: all of them) to a variant's label, a control's
    name, or a pattern of axes; ``baseline_where`` says where each stands. With ``held_out``
    rows are tested on new tasks of these members, not on classes.
    """

    name: str
    file: str
    source: str
    combinations: tuple[Combination, ...]
    shots: tuple[int, ...]
    seeds: tuple[int, ...]
    evaluate: Evaluate
    margin: float
    baseline: Mapping[str, str | Mapping[str, Choice]]
    baseline_where: Mapping[str, str]
    controls: tuple[str, ...]
    only: str | None
    held_out: tuple[Held, ...] = ()
    family: Choice | None = None  # the tasks whose members are held out
    tune: Tune | None = None
    places: Places = field(repr=False, compare=False)

    def where(self, *path: str | int) -> str:
        """Name a key of the YAML as ``file:line: dotted.key[2]``."""
        return self.places.where(*path)


def read_suite(path: Path) -> Suite:
    """Read and check a suite.

    Raises:
        UserError: the first mistake, with its file, line and key.
    """
    source = read_text(path)
    places = Places(str(path))
    written = parse(source, places)
    asked = check(written, places)
    grid = {key: asked["grid"][key] for key in written.get("grid", {})}
    _refuse_repeats(asked, grid, places)
    held_out = read_held_out(asked, places)
    protocol = read_protocol(asked, places)
    suite_wide = asked | grid
    return Suite(
        name=asked["name"],
        file=str(path),
        source=source,
        combinations=_combinations(asked, grid, places, protocol),
        shots=tuple(suite_wide.get("shots", (1, 5))),
        seeds=tuple(suite_wide.get("seeds", range(5))),
        evaluate=_evaluate(asked.get("evaluate", {}), protocol),
        margin=float(asked.get("margin", 0.01)),
        baseline={of: _against(value, route, places) for of, value, route in _baselines(asked)},
        baseline_where={of: places.where(*route) for of, _, route in _baselines(asked)},
        controls=tuple(asked.get("controls", ())),
        only=None,
        held_out=held_out,
        family=choice_of("tasks", asked["tasks"], places.where("tasks")) if held_out else None,
        tune=read_tune(asked, places),
        places=places,
    )


def with_options(
    suite: Suite,
    *,
    budget_scale: float | None = None,
    seeds: int | str | None = None,
    episodes: int | None = None,
    only: str | None = None,
) -> Suite:
    """Apply the command line's options, and add a suffix to the name for each.

    Args:
        suite: as read.
        budget_scale: multiplies the budget of every combination.
        seeds: a count n (0 to n-1), or seeds joined by commas.
        episodes: the first so many of the suite's test episodes, of those that trials are scored
            on, and of tasks to choose a rate on.
        only: which variants to keep; the plan applies it.

    Raises:
        UserError: an option that cannot be applied.
    """
    if budget_scale is not None:
        suite = _scaled(suite, budget_scale)
    if seeds is not None:
        suite = replace(_renamed(suite, f"s{str(seeds).replace(',', '_')}"), seeds=_seeds(seeds))
    if episodes is not None:
        most = suite.evaluate.episodes
        if not 1 <= episodes <= most:
            raise UserError("--episodes", f"{episodes} is given", f"Use 1 to the suite's {most}.")
        fewer = min(suite.evaluate.rate_tasks, episodes)
        evaluate = replace(suite.evaluate, episodes=episodes, rate_tasks=fewer)
        tune = suite.tune and replace(suite.tune, episodes=min(suite.tune.episodes, episodes))
        suite = replace(_renamed(suite, f"e{episodes}"), evaluate=evaluate, tune=tune)
    if only is not None:
        if not only.strip():
            raise UserError("--only", "nothing is named", "Name variants to keep.")
        suite = replace(_renamed(suite, f"only_{only}"), only=only)
    refuse_known_seeds(suite.tune, suite.seeds, suite.where("tune", "seeds"))
    return suite


def _scaled(suite: Suite, scale: float) -> Suite:
    if not 0 < scale <= MOST_SCALE:  # also refuses NaN
        works = f"Use a number above 0, up to {MOST_SCALE}, such as 0.01."
        raise UserError("--budget-scale", f"{scale} is given", works)
    combinations = tuple(
        replace(one, budget=replace(one.budget, scale=one.budget.scale * scale))
        for one in suite.combinations
    )
    words = repr(float(scale)).removesuffix(".0")
    return replace(_renamed(suite, f"x{words}"), combinations=combinations)


def _seeds(asked: int | str) -> tuple[int, ...]:
    numbers: Sequence[int] = ()
    if re.fullmatch(r"\d{1,15}", str(asked), re.ASCII) and int(asked) <= MOST_SEEDS:
        numbers = range(int(asked))
    elif re.fullmatch(r"\d{1,15}(,\d{1,15})+", str(asked), re.ASCII):
        numbers = [int(number) for number in str(asked).split(",")]
    if not numbers or len(set(numbers)) < len(numbers):
        works = f"Use a count from 1 to {MOST_SEEDS}, or different seeds joined by commas: 3,5."
        raise UserError("--seeds", f"{asked!r} is given", works)
    return tuple(numbers)


def _renamed(suite: Suite, suffix: str) -> Suite:
    """Add a suffix that fits a file's name; where that loses something, a hash keeps it unique."""
    slug = re.sub(r"[^\w.-]+", "_", suffix, flags=re.ASCII)[:40].strip("_")
    if slug != suffix:
        exact = suffix.encode(errors="backslashreplace")
        slug += f"-{hashlib.sha256(exact).hexdigest()[:4]}"
    return replace(suite, name=f"{suite.name}-{slug}")


def _combinations(
    asked: Values, grid: Values, places: Places, protocol: Protocol | None
) -> tuple[Combination, ...]:
    """Return the grid's combinations in the order written, then the variants."""
    top = {key: (asked[key], (key,)) for key in FIELDS if key in asked}
    variants = list(enumerate(asked.get("variants", ())))
    axes = {key: values for key, values in grid.items() if key not in {"shots", "seeds"}}
    if not axes and not variants and top.keys().isdisjoint({"pretext", "meta"}):
        found = "an empty suite, which names no pretext and no meta"
        raise UserError(places.where(), found, "Write a grid, variants, or meta: and a method.")
    points = _points(axes, places) if axes or not variants else ()
    made = [_combination(top, point, ("grid",), places, protocol) for point in points]
    for index, variant in variants:
        route = ("variants", index)
        own = {key: (value, (*route, key)) for key, value in variant.items()}
        made.append(_combination(top, own, route, places, protocol))
    _refuse_twins((_decisive(one), one.where) for one in made)
    return tuple(made)


def _points(axes: Values, places: Places) -> Iterator[Asked]:
    size = math.prod(len(values) for values in axes.values())
    if size > MOST_COMBINATIONS:
        found = f"{size} combinations"
        raise UserError(places.where("grid"), found, f"Use at most {MOST_COMBINATIONS}.")
    for point in product(*(enumerate(values) for values in axes.values())):
        pairs = zip(axes, point, strict=True)
        yield {key: (value, ("grid", key, index)) for key, (index, value) in pairs}


def _combination(
    top: Asked, own: Asked, route: Route, places: Places, protocol: Protocol | None
) -> Combination:
    """Join what the top level says with what a point of the grid or a variant says."""
    both = suited(protocol, {**top, **own}, places)
    fields = {key: value for key, (value, _) in both.items()}
    choices = {
        axis: choice
        for key, (value, at) in both.items()
        if key in {*AXES, "augment"}
        for axis, choice in choices_of(key, value, at, places).items()
    }
    usual, _ = top.get("budget", ({}, ()))
    budget = _budget(fields.get("budget", {}), usual)
    rule, at = both.get("selection", (LAST.described, route))
    return Combination(
        label=fields.get("label"),
        axes={axis: choices[axis] for axis in (*AXES, *ROLES) if axis in choices},
        ways=fields.get("ways", 5),
        augment=choices.get("augment"),
        norm=fields.get("norm"),
        selection=Selection(**rule, where=places.where(*at)),
        budget=budget,
        trials=fields.get("trials"),
        tuned_on=fields.get("tuned_on"),
        where=places.where(*route),
    )


def _evaluate(asked: Values, protocol: Protocol | None) -> Evaluate:
    own = {key: asked[key] for key in asked if key in COUNTS}
    own |= {"rate_tasks": own.get("rate_tasks", RATE_TASKS)} if protocol else {}
    own |= {"rates": tuple(map(float, asked["rates"]))} if "rates" in asked else {}
    return Evaluate(**own, protocol=protocol)


def _budget(*asked: Mapping[str, int]) -> Budget:
    """For each phase take what the first one says; one million examples where none does."""
    chosen: dict[str, int] = {}
    for phase in ("pretrain", "metatrain"):
        examples, steps = f"{phase}_examples", f"{phase}_steps"
        given = [{key: one[key] for key in (examples, steps) if key in one} for one in asked]
        chosen |= next(filter(None, given), {examples: DEFAULT_EXAMPLES})
    return Budget(**chosen)


def _baselines(asked: Values) -> Iterator[tuple[str, Json, Route]]:
    baseline = asked.get("baseline", {})
    if is_by_class(baseline):
        yield from ((of, row, ("baseline", of)) for of, row in baseline.items())
    elif baseline:
        yield "*", baseline, ("baseline",)


def _against(row: Json, route: Route, places: Places) -> str | dict[str, Choice]:
    if isinstance(row, str):
        return row
    return {
        axis: choice
        for key in row
        for axis, choice in choices_of(key, row[key], (*route, key), places).items()
    }


def _refuse_repeats(asked: Values, grid: Values, places: Places) -> None:
    """Refuse an axis in two places, and a value, seed or label that stands twice."""
    for key in grid.keys() & asked.keys():
        found = f"{key} also stands in line {places.line(key)}, at the top level"
        raise UserError(places.where("grid", key), found, "Keep one of the two.")
    lists: dict[Route, list[Json]] = {("grid", key): values for key, values in grid.items()}
    lists |= {(key,): asked[key] for key in ("shots", "seeds", "controls") if key in asked}
    lists |= {("evaluate", "rates"): asked.get("evaluate", {}).get("rates", [])}
    rows = enumerate(asked.get("variants", ()))  # on other data or ways a label is another row's
    labels = [[one.get("label", i), one.get("data"), one.get("ways")] for i, one in rows]
    for route, values in {**lists, ("variants",): labels}.items():
        _refuse_twins((value, places.where(*route, i)) for i, value in enumerate(values))


def _refuse_twins(values: Iterable[tuple[Json, str]]) -> None:
    """Refuse a value that came before; each has the place where it stands."""
    seen: dict[str, str] = {}
    for value, where in values:
        first = seen.setdefault(json.dumps(value, sort_keys=True), where)
        if first is not where:
            raise UserError(where, f"the same as {first}", "Keep one of the two.")


def _decisive(one: Combination) -> Json:
    """What makes two combinations differ: neither the label nor the place."""
    choices = {**one.axes, "augment": one.augment}
    named = {axis: [c.name, c.params] for axis, c in choices.items() if c}
    return [named, one.ways, one.norm, one.selection.described, asdict(one.budget)]
