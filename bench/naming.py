"""How rows are called: by what tells them from the others, ``simclr + maml``."""

from collections.abc import Sequence
from dataclasses import replace

from bench.cell import Json
from bench.variant import Variant


def label_all(variants: list[Variant]) -> list[Variant]:
    """Name every variant by what tells it from the others: ``simclr + maml``."""
    names = [_label(one, variants) for one in variants]
    return [replace(one, label=name) for one, name in zip(variants, names, strict=True)]


def _label(variant: Variant, among: list[Variant]) -> str:
    if variant.named:
        return variant.label
    base = variant.control or f"{_start(variant, among)} + {_with_params(variant, 'meta', among)}"
    extras = [
        _with_params(variant, axis, among)
        for axis in ("tasks", "encoder", "augment", "strategy")
        if axis in variant.plugins and _varies(axis, among) and not variant.control
    ]
    if "auxiliary" in variant.plugins and not variant.control and _varies("auxiliary", among):
        extras.append(_beside(variant, among))
    if variant.control:
        extras += _among_controls(variant, [o for o in among if o.control == variant.control])
    unnamed = [one for one in among if not one.named]
    norms = {one.norm for one in unnamed if one.names["meta"] == variant.names["meta"]}
    extras += [f"norm {variant.norm}"] if len(norms) > 1 else []
    extras += _rule(variant, among)
    return f"{base} ({', '.join(extras)})" if extras else base


def _start(variant: Variant, among: list[Variant]) -> str:
    """Return what the encoder was trained on first: a pretext, labels, a file, or nothing."""
    if variant.init == "checkpoint":
        return variant.init
    return _with_params(variant, "init" if "init" in variant.plugins else "pretext", among)


def _among_controls(variant: Variant, alike: list[Variant]) -> list[str]:
    """Return what tells a control from others of its name: axes, and what it may spend."""
    axes = [
        _with_params(variant, axis, alike)
        for axis in ("pretext", "tasks", "meta", "encoder", "strategy")
        if any(one.described(axis) != variant.described(axis) for one in alike)
    ]
    if any(one.described("auxiliary") != variant.described("auxiliary") for one in alike):
        axes.append(_beside(variant, alike))
    spent = [sum(one.allowance(phase) for phase in one.phases) for one in (variant, *alike)]
    same = [one for one in alike if one.names == variant.names and one.given == variant.given]
    return axes + ([f"{spent[0]} examples"] if len(same) > 1 and len(set(spent)) > 1 else [])


def _beside(variant: Variant, among: list[Variant]) -> str:
    """Name an auxiliary loss: its pretext, its weight, and parameters that others have not."""
    if "auxiliary" not in variant.plugins:
        return "no auxiliary"
    name, given = variant.names["auxiliary"], variant.given["auxiliary"]
    others = [o.given["auxiliary"]["pretext"] for o in among if o.names.get("auxiliary") == name]
    differing = {
        key: value
        for key, value in given["pretext"].items()
        if any(other.get(key) != value for other in others)
    }
    words = [f"{key}={_written(value)}" for key, value in sorted(differing.items())]
    return " ".join(["auxiliary", name, str(float(given["weight"])), *words])


def _rule(variant: Variant, among: list[Variant]) -> list[str]:
    """Say by which rule weights are selected, where another row of the method has another.

    Rows by ``last`` keep the plain name: they are the main result.
    """
    own, meta = variant.selection, variant.names["meta"]
    rules = [one.selection for one in among if one.phases and one.names["meta"] == meta]
    if own.is_last or all(rule == own for rule in rules):
        return []
    alike = [rule.params for rule in rules if rule.name == own.name]
    differing = {
        key: value for key, value in own.params.items() if any(o[key] != value for o in alike)
    }
    return [" ".join([own.name, *(f"{key}={value}" for key, value in sorted(differing.items()))])]


def _varies(axis: str, among: list[Variant]) -> bool:
    """Whether the variants that were not named or added as controls were asked to differ."""
    rows = [one for one in among if not one.named and not one.control]
    values = [
        (one.names[axis], one.given[axis]) if axis in one.asked else None
        for one in rows
        if axis in one.plugins
    ]
    if axis == "auxiliary" and len(values) < len(rows):
        return True  # a row without one is another row; one without tasks has no choice of them
    return any(value != values[0] for value in values)


def _with_params(variant: Variant, axis: str, among: list[Variant]) -> str:
    """Return a plug-in's name, and its given parameters where others of that name differ."""
    if axis not in variant.plugins:
        return "none"
    name, given = variant.names[axis], variant.given[axis]
    others = [one.given[axis] for one in among if one.names.get(axis) == name and not one.named]
    differing = {
        key: value
        for key, value in given.items()
        if key != "pretext" and any(o.get(key) != value for o in others)
    }
    nested = _nested(given.get("pretext"), [o.get("pretext") for o in others])
    return " ".join(
        [name, *nested, *(f"{key}={_written(differing[key])}" for key in sorted(differing))]
    )


def _nested(pretext: Json, others: Sequence[Json]) -> list[str]:
    """Name the pretext that a plug-in is given, and its parameters where others differ in them."""
    if pretext is None:
        return []
    own = {"name": pretext} if isinstance(pretext, str) else pretext
    alike = [{"name": one} if isinstance(one, str) else one for one in others if one is not None]
    alike = [one for one in alike if one["name"] == own["name"]]
    differing = {
        key: value for key, value in own.items() if any(o.get(key) != value for o in alike)
    }
    return [own["name"], *(f"{key}={_written(differing[key])}" for key in sorted(differing))]


def _written(value: Json) -> str:
    """Write a parameter, plug-ins in a list by their names: ``rotation angles=8+jigsaw``."""
    if isinstance(value, list) and value and all(_is_plugin(one) for one in value):
        return "+".join(_written(one) for one in value)
    if isinstance(value, str) or not _is_plugin(value):
        return str(value)
    params = [f"{key}={_written(value[key])}" for key in sorted(value) if key != "name"]
    return " ".join([value["name"], *params])


def _is_plugin(value: Json) -> bool:
    return isinstance(value, str) or (isinstance(value, dict) and "name" in value)
