"""How rows are called: by what tells them from the others, ``simclr + maml``."""

from dataclasses import replace

from bench.variant import Variant


def label_all(variants: list[Variant]) -> list[Variant]:
    """Name every variant by what tells it from the others: ``simclr + maml``."""
    names = [_label(one, variants) for one in variants]
    return [replace(one, label=name) for one, name in zip(variants, names, strict=True)]


def _label(variant: Variant, among: list[Variant]) -> str:
    if variant.named:
        return variant.label
    base = variant.control or " + ".join(
        _with_params(variant, axis, among) for axis in ("pretext", "meta")
    )
    extras = [
        _with_params(variant, axis, among)
        for axis in ("tasks", "encoder", "augment")
        if axis in variant.plugins and _varies(axis, among) and not variant.control
    ]
    alike = [one for one in among if one.control == variant.control]
    encoder = variant.described("encoder")
    if variant.control and any(one.described("encoder") != encoder for one in alike):
        extras.append(_with_params(variant, "encoder", alike))
    norms = {one.norm for one in among if one.names["meta"] == variant.names["meta"]}
    extras += [f"norm {variant.norm}"] if len(norms) > 1 else []
    return f"{base} ({', '.join(extras)})" if extras else base


def _varies(axis: str, among: list[Variant]) -> bool:
    """Whether the variants that were not named or added as controls were asked to differ."""
    values = [
        (one.names[axis], one.given[axis]) if axis in one.asked else None
        for one in among
        if axis in one.plugins and not one.named and not one.control
    ]
    return any(value != values[0] for value in values)


def _with_params(variant: Variant, axis: str, among: list[Variant]) -> str:
    """Return a plug-in's name, and its given parameters where others of that name differ."""
    if axis not in variant.plugins:
        return "none"
    name, given = variant.names[axis], variant.given[axis]
    others = [one.given[axis] for one in among if one.names.get(axis) == name and not one.named]
    differing = {
        key: value for key, value in given.items() if any(o.get(key) != value for o in others)
    }
    return " ".join([name, *(f"{key}={value}" for key, value in sorted(differing.items()))])
