"""Which variant the others of its class of labels are compared with."""

from collections.abc import Mapping, Sequence

from bench.catalogue import parameters
from bench.cell import Json
from bench.errors import UserError, suggest
from bench.suite import Choice, Suite
from bench.suite_values import ROLES
from bench.variant import Variant


def choose_baselines(
    suite: Suite, variants: Sequence[Variant], dropped: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Return each class of labels' baseline, and a note for each that the suite left open.

    ``dropped``: why, for each row that the plan is without.

    Raises:
        UserError: a pattern matches no variant or several, or one of another class of labels.
    """
    classes = list(dict.fromkeys(one.labels for one in variants))
    found: dict[str, str] = {}
    for labels, pattern in suite.baseline.items():
        where = suite.baseline_where[labels]
        label = _match(pattern, where, variants, labels, dropped)
        own = next(one.labels for one in variants if one.label == label)
        if labels not in ("*", own):
            raise UserError(
                where,
                f"the baseline of the class {labels!r} is {label!r}, which saw labels: {own}",
                f"Name a variant of that class: {_of_class(variants, labels) or 'there is none'}.",
            )
        found[own] = label
    notes = []
    for labels in classes:
        if labels not in found:
            found[labels] = _usual_baseline(labels, variants)
            notes.append(
                f"no baseline is given for rows with labels: {labels}; {found[labels]!r} is taken"
            )
    return found, notes


def _of_class(variants: Sequence[Variant], labels: str) -> str:
    return ", ".join(dict.fromkeys(one.label for one in variants if one.labels == labels))


def _match(
    pattern: str | Mapping[str, Choice],
    where: str,
    variants: Sequence[Variant],
    labels: str,
    dropped: Mapping[str, str],
) -> str:
    """Return the one label that a baseline's pattern matches."""
    if isinstance(pattern, str):
        matching = {one.label for one in variants if pattern in (one.label, one.control)}
        works = suggest(pattern, {one.label for one in variants})
    else:
        rows = [
            one
            for one in variants
            if labels in ("*", one.labels)
            and not one.beside
            and _has_roles(one, pattern)
            and all(_is(one, *item) for item in pattern.items())
        ]
        own = [one for one in rows if not one.added]  # a control only where no line of the suite is
        matching = {one.label for one in own or rows}
        works = f"Variants: {', '.join(dict.fromkeys(one.label for one in variants))}."
    if not matching and isinstance(pattern, str) and pattern in dropped:
        found = f"this baseline was dropped: {dropped[pattern]}"
        raise UserError(where, found, "Name another row.")
    if len(matching) != 1:
        shown = "no variant" if not matching else f"several variants, {', '.join(sorted(matching))}"
        raise UserError(where, f"this baseline matches {shown}", works)
    return matching.pop()


def _has_roles(variant: Variant, pattern: Mapping[str, Choice]) -> bool:
    """Whether other sets stand in the roles of a variant's data where the pattern has others."""
    roles = {role for axis, role in ROLES.items() if axis in pattern and axis != "data"}
    if not pattern.keys() & ROLES.keys():
        return True
    return variant.elsewhere.keys() <= roles


def _is(variant: Variant, axis: str, choice: Choice) -> bool:
    """Whether a variant has this value on an axis, in every parameter that is given."""
    if axis in ROLES and axis != "data":
        one = variant.pretrained if ROLES[axis] == "pretrain" else variant.tested
        params = parameters(one.source)
        return one.name == choice.name and all(
            _holds(params.get(key), value) for key, value in choice.params.items()
        )
    if axis == "init" and "init" not in variant.plugins:
        return variant.init == choice.name
    described = variant.described(axis)
    if described is None or choice.name == "none":
        return (variant.names.get(axis, "none")) == choice.name
    own = axis == "auxiliary"  # which has a weight beside a pretext's parameters
    params = described["params"] if own else parameters(variant.plugins[axis])
    return bool(
        described["name"] == choice.name
        and all(_holds(params.get(key), value) for key, value in choice.params.items())
    )


def _holds(own: Json, asked: Json) -> bool:
    """Whether a parameter is what a pattern asks for, in all that it says of nested plug-ins."""
    if isinstance(own, list) and isinstance(asked, list):
        return len(own) == len(asked) and all(map(_holds, own, asked))
    if not isinstance(own, dict) or "params" not in own:
        return bool(own == asked)
    named = {"name": asked} if isinstance(asked, str) else dict(asked)
    name = named.pop("name", None)
    return name == own["name"] and all(_holds(own["params"].get(k), v) for k, v in named.items())


def _usual_baseline(labels: str, variants: Sequence[Variant]) -> str:
    own = [one for one in variants if one.labels == labels]
    own = [one for one in own if not one.added or one.control == "random_init"] or own
    own = [one for one in own if one.selection.is_last] or own  # the main result, where it is there
    usual = [one for one in own if one.control == "random_init" or one.names["meta"] == "protonet"]
    plain = [one for one in usual if one.plugins.keys().isdisjoint({"pretext", "auxiliary"})]
    return (plain or usual or own)[0].label
