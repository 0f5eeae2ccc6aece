"""What is tuned of a row, by what its trials are scored, and the row with other parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from math import prod
from pathlib import Path

from bench import auxiliary
from bench.catalogue import build, parameters
from bench.cell import Json, digest
from bench.errors import UserError, suggest
from bench.resolution import most, seen_by
from bench.space import Reals, Space, Whole, described, landmarks, most_points
from bench.suite import Suite, Tune
from bench.suite_values import ALWAYS
from bench.variant import Variant

AXES = ("pretext", "init", "tasks", "auxiliary", "meta")  # data, encoder and views are the suite's
NOTHING = "none of its plug-ins declares anything to tune"
MOST_POINTS = 100_000  # of a row's grid
EMPTIED = "the suite leaves nothing of it to tune"
FORM = 1  # raised when a tuning of the same suite is to come out otherwise
Params = Mapping[str, Json]  # by dotted names, such as meta.inner_rate
Place = tuple[str, str, int]  # of a row in a suite: label, data, ways


def place_of(variant: Variant) -> Place:
    """Return what tells a row from others of its suite."""
    return variant.label, variant.data, variant.ways


def spaces(variant: Variant, tune: Tune) -> dict[str, Space]:
    """Return what is tuned of a row: what its plug-ins declare, or the suite in their place.

    A row that tests the weights of another has nothing of its own, and the floor stays where it is.
    """
    if variant.beside or variant.control == ALWAYS:
        return {}
    found: dict[str, Space] = {}
    for axis in (one for one in AXES if one in variant.plugins):
        declared = auxiliary.SPACE if axis == "auxiliary" else variant.plugins[axis].space
        own = tune.space.get(f"{axis}/{variant.names[axis]}", declared)
        for name, space in own.items():
            found[f"{axis}.{name}"] = _fitting(space, _values(variant, axis).get(name))
    return found


def _fitting(space: Space, value: Json) -> Space:
    """Take ``{low: 1, high: 2}`` for a range of real numbers where the parameter is one."""
    if isinstance(space, Whole) and isinstance(value, float):
        return Reals(low=space.low, high=space.high, log=space.log)
    return space


def _values(variant: Variant, axis: str) -> Mapping[str, Json]:
    """Return what a row has for the parameters of an axis."""
    if axis == "auxiliary":
        return variant.given[axis]
    return parameters(variant.plugins[axis])


def params_of(variant: Variant, names: Sequence[str]) -> dict[str, Json]:
    """Return the values of a row's parameters."""
    found = {}
    for name in names:
        axis, _, own = name.partition(".")
        found[name] = _values(variant, axis)[own]
    return found


def with_params(variant: Variant, params: Params) -> Variant:
    """Return a row with other values of some parameters.

    Raises:
        UserError: a plug-in refuses its own.
    """
    given = {axis: dict(own) for axis, own in variant.given.items()}
    for name, value in params.items():
        axis, _, own = name.partition(".")
        given[axis][own] = value
    changed = {name.partition(".")[0] for name in params} - {"auxiliary"}
    built = {axis: build(axis, variant.names[axis], given[axis], variant.where) for axis in changed}
    return replace(variant, plugins={**variant.plugins, **built}, given=given)


def scored(variant: Variant, tune: Tune) -> Variant:
    """Say of a row that is tuned by what; the validation labels are then among what it saw."""
    if not spaces(variant, tune):
        return variant
    automatic = "pseudo_val" if variant.labels == "none" else "label_val"
    rule = automatic if tune.score == "auto" else tune.score
    return replace(variant, tuned_on=rule, labels=most([variant.labels, seen_by(rule)]))


def refuse_spaces(suite: Suite, variants: Sequence[Variant]) -> None:
    """Refuse a space of a plug-in or a parameter that no row has, and a score that has no room.

    Raises:
        UserError: any of these.
    """
    assert suite.tune is not None
    used = {
        f"{axis}/{one.names[axis]}": (one, axis)
        for one in variants
        for axis in AXES
        if axis in one.plugins
    }
    for named, own in suite.tune.space.items():
        where = suite.where("tune", "space", named)
        if named not in used:
            raise UserError(where, f"no row has {named}", suggest(named, used))
        row, axis = used[named]
        known = ["weight"] if axis == "auxiliary" else list(parameters(row.plugins[axis]))
        for name, space in own.items():
            if name not in known:
                raise UserError(where, f"{named} has no parameter {name!r}", suggest(name, known))
            fitting = _fitting(space, _values(row, axis)[name])
            _refuse_values(row, f"{axis}.{name}", fitting, where)
    for one in variants:
        if one.tuned_on and spaces(one, suite.tune):
            _refuse_score(one, suite, suite.tune)
            _refuse_grid(one, suite.tune, suite.where("tune", "points"))


def _refuse_values(row: Variant, name: str, space: Space, where: str) -> None:
    """Refuse values that the plug-in refuses, the others of its parameters as the row has them."""
    for value in landmarks(space):
        if name == "auxiliary.weight" and not (type(value) in (int, float) and value > 0):
            raise UserError(where, f"{name} of {value!r}", "Use numbers above 0.")
        try:
            with_params(row, {name: value})
        except UserError as error:
            found = f"{name} of {value!r}: {error.found}"
            raise UserError(where, found, error.works) from error


def _refuse_grid(variant: Variant, tune: Tune, where: str) -> None:
    """Refuse a grid that memory would not hold."""
    size = prod(most_points(one, tune.points) for one in spaces(variant, tune).values())
    if tune.sampler == "grid" and size > MOST_POINTS:
        found = f"a grid of {size} points for {variant.label}"
        raise UserError(where, found, f"Use fewer points (at most {MOST_POINTS}), or random.")


def _refuse_score(variant: Variant, suite: Suite, tune: Tune) -> None:
    """Check the episodes of trials against the validation split."""
    val, data, ways = variant.facts.counts["val"], variant.trained.title, variant.ways
    needed, where = max(suite.shots) + tune.queries, suite.where("tune")
    if variant.tuned_on == "label_val" and (ways > len(val) or needed > min(val)):
        raise UserError(
            where,
            f"episodes of {ways} classes with {needed} examples each, but the validation split of"
            f" {data} has {len(val)} classes of {min(val)} or more",
            "Use fewer queries or shots, or score: pseudo_val.",
        )
    clusters = sum(val) // tune.cluster_size
    if variant.tuned_on == "pseudo_val" and (clusters < 2 * ways or needed > tune.cluster_size):
        raise UserError(
            where,
            f"{clusters} clusters of about {tune.cluster_size} examples for episodes of {ways}"
            f" clusters with {needed} examples each",
            "Use another cluster_size, fewer queries, or score: label_val.",
        )


def study_of(variant: Variant, suite: Suite) -> str:
    """Hash all that decides what is tried of a row, but the number of trials.

    Trials are scored on the set that is trained on: rows that differ in the set that they are
    tested on have one study, and so the same parameters.
    """
    assert suite.tune is not None
    settings = asdict(replace(suite.tune, space={}))
    del settings["trials"]
    space = {name: described(one) for name, one in spaces(variant, suite.tune).items()}
    exam = [list(suite.shots), suite.evaluate.test_steps]
    trained = {role: one for role, one in variant.elsewhere.items() if role != "test"}
    tried = replace(variant, elsewhere=trained).identity
    return digest([FORM, tried, variant.tuned_on, space, exam, settings])


def record_path(name: str, results: Path) -> Path:
    """Return where the tuning of a suite is kept, as plans and reports hold it."""
    return results / "tuning" / f"{name}.json"


def record_of(
    suite: Suite,
    variants: Sequence[Variant],
    rows: Sequence[Json],
    shares: Sequence[Sequence[float]],
) -> dict[str, Json]:
    """Return all that plans and reports hold of a tuning.

    ``shares`` are those of the budget that the trials of each row went through.
    """
    tune = suite.tune
    assert tune is not None
    return {
        "revision": FORM,
        "sampler": tune.sampler,
        "pruner": tune.pruner,
        "trials": tune.trials,
        "parallel": tune.parallel,
        "seed": tune.seed,
        "seeds": list(tune.seeds),
        "fractions": sorted({share for one in shares for share in one} | {1.0}),
        "score": {
            "rule": tune.score,
            "episodes": tune.episodes,
            "shots": list(suite.shots),
            "queries": tune.queries,
            "test_steps": suite.evaluate.test_steps,
            "cluster_size": tune.cluster_size,
        },
        "rows": list(rows),
        "untuned": [
            {
                "variant": one.label,
                "data": one.data,
                "ways": one.ways,
                "trained": bool(one.phases),
                "why": EMPTIED if spaces(one, replace(tune, space={})) else NOTHING,
            }
            for one in variants
            if not one.beside and not spaces(one, tune)
        ],
    }


def winners(record: Json) -> dict[Place, Params | None]:
    """Return for each row of a tuning the parameters of its best trial; None: none finished."""
    return {
        (row["variant"], row["data"], row["ways"]): None
        if row["winner"] is None
        else row["trials"][row["winner"]]["params"]
        for row in record["rows"]
    }


def after_tuning(
    variants: Sequence[Variant], before: Mapping[Place, Variant], record: Json
) -> tuple[list[Variant], list[Variant]]:
    """Return the rows with the parameters that were found, and as they were where these differ.

    ``before``: the rows as the suite has them, whose labels no tuning has changed.
    """
    found, defaults = winners(record), []
    tuned: list[Variant] = []
    for one in variants:
        label, data, ways = place_of(one)
        params = found.get((one.beside or label, data, ways))
        tuned.append(with_params(one, params) if params else one)
        was = before.get(place_of(one))
        if params and was and tuned[-1].identity != one.identity:
            defaults.append(replace(was, label=f"{label}, default", default_of=label))
    return tuned, defaults
