"""Which rows of a suite meet a held-out pretext task as new, and what their test is made of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.catalogue import build, resolved
from bench.cell import Cell, Json, Norm
from bench.errors import UserError
from bench.held_out import Held, names_of
from bench.suite import Suite
from bench.variant import Variant

if TYPE_CHECKING:
    from bench.contract import AbstractClassifying

TRAINED_ON = ("pretext", "init", "tasks", "auxiliary")  # axes that may hold a pretext task
ALL_ALIKE = (
    "every row takes the same steps on a new task, whatever else it does at test: meta: none"
)


@dataclass(frozen=True, kw_only=True)
class NewTask:
    """A pretext task that a row is tested on, and those that its rate of steps is chosen on.

    ``member`` and ``family`` are described as the keys hold them.
    """

    held: Held
    member: Json
    family: tuple[Json, ...]


STREAMED = (
    "every row takes the same steps at test, whatever its method does there: write meta: none"
)


def tested_alike(variants: Sequence[Variant]) -> tuple[list[Variant], list[str]]:
    """Return the rows that new tasks tell apart, and the labels of the others.

    All take the same steps at test, so methods that differ at test alone come to the same. The
    steps move the features, which running statistics would not follow: rows are tested under the
    support's, or in groups where they are trained so.
    """
    from bench.contract import AbstractMetaTrained

    plain = resolved("meta", "none", build("meta", "none", {}, ""))
    kept: list[Variant] = []
    others: list[str] = []
    for one in variants:
        if one.described("meta") == plain or isinstance(one.plugins["meta"], AbstractMetaTrained):
            norm: Norm = "group" if one.norm == "group" else "support"
            kept.append(replace(one, tested_norm=norm))
        else:
            others.append(one.label)
    return kept, others


def warnings(suite: Suite, cells: Sequence[Cell]) -> list[str]:
    """Say what may surprise in the test on new tasks; nothing where there are none."""
    return _same_numbers(cells) + _unheard(suite) if suite.held_out else []


def _same_numbers(cells: Sequence[Cell]) -> list[str]:
    """Say which rows meet new tasks from the same weights: they differ at a test that is not done.

    Such are rows under two norms without meta-training, or with and without ``tune_steps``.
    """
    rows: dict[str, list[str]] = {}
    for cell in cells:
        rows.setdefault(cell.stages["evaluate"], []).append(cell.variant)
    alike = dict.fromkeys(tuple(labels) for labels in rows.values() if len(labels) > 1)
    return [f"{' and '.join(labels)} come to the same on a new task; keep one" for labels in alike]


def settings_of(suite: Suite) -> dict[str, Json]:
    """Return what the report needs of the new tasks of a suite; nothing where there are none."""
    held = [
        {"title": one.title, "tested": one.tested, "members": list(one.members)}
        for one in suite.held_out
    ]
    if not held:
        return {}
    evaluate = suite.evaluate
    return {
        "held_out": held,
        "rates": list(evaluate.rates),
        "rate_tasks": evaluate.rate_tasks,
    }


def _unheard(suite: Suite) -> list[str]:
    """Say where a rate is chosen on fewer tasks than members of the family are left."""
    most = len(_family(suite)) - min(len(held.members) for held in suite.held_out)
    tasks = suite.evaluate.rate_tasks
    if tasks >= most:
        return []
    return [f"rate_tasks: {tasks} for {most} members that are left: some have no say in the rate"]


def rows_of(
    suite: Suite, variants: Sequence[Variant]
) -> tuple[list[tuple[Variant, NewTask | None]], list[tuple[str, str]]]:
    """Return each row with each new task it is tested on, and what was dropped and why.

    In suites without ``held_out`` every row is tested once, on classes.
    """
    if not suite.held_out:
        return [(one, None) for one in variants], []
    described = _family(suite)
    rows: list[tuple[Variant, NewTask | None]] = []
    dropped: list[tuple[str, str]] = []
    for held in suite.held_out:
        (member,) = [one for one in described if one["name"] == held.tested]
        left = tuple(one for one in described if one["name"] not in held.members)
        new = NewTask(held=held, member=member, family=left)
        for variant in variants:
            made = without(variant, held)
            if isinstance(made, Variant):
                rows.append((made, new))
            else:
                dropped.append((f"{variant.label}, new {held.title}", made))
    return rows, dropped


def without(variant: Variant, held: Held) -> Variant | str:
    """Keep a row's training from what is held out; or say why that cannot be."""
    if variant.names.get("tasks") == "pretext":
        given = variant.given["tasks"]
        left = [one for one in given["family"] if names_of([one])[0] not in held.members]
        if not left:
            return "its tasks have no member of the family left"
        tasks = build("tasks", "pretext", {**given, "family": left}, variant.where)
        variant = replace(variant, plugins={**variant.plugins, "tasks": tasks})
    for axis in TRAINED_ON:
        met = sorted(set(_names(variant.described(axis))) & set(held.members))
        if met:
            these, them = ("is", "it") if len(met) == 1 else ("are", "them")
            return f"{' and '.join(met)} {these} held out, and its {axis} would train on {them}"
    return variant


def members_of(suite: Suite) -> "list[tuple[str, AbstractClassifying]]":
    """Return the whole family of a suite with ``held_out``, with names; two may have one name.

    Raises:
        UserError: a member has no classes to tell apart.
    """
    from bench.contract import AbstractClassifying

    family: list[tuple[str, AbstractClassifying]] = []
    where = suite.where("tasks", "family")
    for one in _given(suite):
        member = build("pretext", one["name"], one["params"], where)
        if not isinstance(member, AbstractClassifying):
            found = f"{one['name']} has no classes that an example could be shown as"
            raise UserError(where, found, "Leave it out.")
        family.append((one["name"], member))
    return family


def _given(suite: Suite) -> Iterator[dict[str, Json]]:
    assert suite.family is not None
    for one in suite.family.params["family"]:
        params = dict(one) if isinstance(one, dict) else {"name": one}
        yield {"name": params.pop("name"), "params": params}


def _family(suite: Suite) -> list[Json]:
    return [resolved("pretext", name, plugin) for name, plugin in members_of(suite)]


def _names(described: Json) -> Iterator[str]:
    """Return every plug-in's name in a description, nested ones included."""
    if isinstance(described, dict):
        if isinstance(described.get("name"), str):
            yield described["name"]
        described = list(described.values())
    if isinstance(described, list | tuple):
        for one in described:
            yield from _names(one)
