"""Rows that every comparison should survive: each control as the combinations that make it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from bench.cell import Json, digest
from bench.suite import Budget, Choice, Combination
from bench.suite_values import ROLES
from bench.variant import Variant

LOGISTIC = {"name": "none", "head": "logistic"}
FIXED: Mapping[str, Mapping[str, Json]] = {
    "random_init": {"meta": "none"},
    "raw_neighbour": {"encoder": "raw", "meta": {"name": "none", "head": "neighbour"}},
    "scratch_support": {"meta": "finetune"},
    "ssl_prototypes": {"meta": "none"},
    "ssl_logistic": {"meta": LOGISTIC},
    "supervised_logistic": {"init": "supervised", "meta": LOGISTIC},
    "supervised_protonet": {"tasks": "labels", "meta": "protonet"},
    "joint_pretexts": {"meta": "none"},
    "scratch_summed": {},
}
"""The axes that make a control; data, encoder, ways, norm and budgets are the suite's."""

NEEDS: Mapping[str, str] = {
    "ssl_prototypes": "the suite names no pretext",
    "ssl_logistic": "the suite names no pretext",
    "joint_pretexts": "the suite names fewer than two pretexts",
    "scratch_summed": "no row of the suite is pre-trained and meta-trained",
}
"""Why a control came to nothing, for those that can."""


def combinations_of(
    control: str, asked: Sequence[Combination], kept: Sequence[Variant]
) -> Iterator[Combination]:
    """Return what a control adds to a suite whose combinations are ``asked``.

    ``kept`` are the variants that they came to, in the same order.
    """
    if control == "scratch_summed":
        made = _summed(asked, kept)
    elif control == "joint_pretexts":
        made = _joint(asked)
    else:
        held = ("pretext",) if control.startswith("ssl_") else ()
        made = (_taken(one, held) for one in asked if all(_is_named(one, axis) for axis in held))
    seen: dict[Json, Combination] = {}
    for one in sorted(made, key=lambda one: not one.selection.is_last):  # by last, if any row is
        fixed = {axis: _choice(control, value) for axis, value in FIXED[control].items()}
        both = {**one.axes, **fixed}
        made_of = {axis: [choice.name, choice.params] for axis, choice in both.items()}
        norm = None if control == "raw_neighbour" else one.norm  # which has no weights
        place = digest([made_of, one.ways, repr(one.budget), norm])
        where = f"the control {control}"
        own = replace(one, axes=both, norm=norm, where=where)
        seen.setdefault(place, replace(own, label=None, trials=None, tuned_on=None))
    return iter(seen.values())


def _taken(one: Combination, axes: Sequence[str]) -> Combination:
    """Keep data, encoder and the axes that are named; of norms, the one that is another network."""
    own = (*ROLES, "encoder", "strategy", *axes)
    kept = {axis: one.axes[axis] for axis in own if axis in one.axes}
    if "strategy" in kept and "pretext" not in axes:  # and so no pretext that could go on
        strategy = kept["strategy"]
        params = {key: v for key, v in strategy.params.items() if key != "pretext_steps"}
        kept["strategy"] = replace(strategy, params=params)
    return replace(one, axes=kept, norm=one.norm if one.norm == "group" else None)


def _is_named(one: Combination, axis: str) -> bool:
    return axis in one.axes and one.axes[axis].name != "none"


def _choice(control: str, value: Json) -> Choice:
    named = {"name": value} if isinstance(value, str) else dict(value)
    return Choice(name=named.pop("name"), params=named, where=f"the control {control}")


def _joint(asked: Sequence[Combination]) -> Iterator[Combination]:
    """Join all the pretexts of a suite in one pre-training, with equal weights."""
    named = [one.axes["pretext"] for one in asked if _is_named(one, "pretext")]
    members = {digest(member): member for one in named for member in _members(one)}
    if len(members) < 2:
        return
    mixture = _choice("joint_pretexts", {"name": "mixture", "members": list(members.values())})
    for one in asked:
        base = _taken(one, ())
        yield replace(base, axes={**base.axes, "pretext": mixture})


def _members(pretext: Choice) -> list[Json]:
    """Return a pretext as a list of one, a mixture or a search as those that it joins."""
    inner = {"mixture": "members", "best_of": "candidates"}.get(pretext.name)
    if inner is None:
        return [{"name": pretext.name, **pretext.params}]
    named = [_choice(pretext.where, one) for one in pretext.params.get(inner, [])]
    return [member for one in named for member in _members(one)]


def _summed(asked: Sequence[Combination], kept: Sequence[Variant]) -> Iterator[Combination]:
    """Spend the examples of pre-training and of meta-training on meta-training alone."""
    for one, variant in zip(asked, kept, strict=True):
        if variant.phases == ("pretrain", "metatrain"):
            base = _taken(one, ("tasks", "auxiliary", "meta"))
            yield replace(base, budget=_joined(variant), norm=one.norm)


def _joined(variant: Variant) -> Budget:
    """Join the examples of both phases, but for those of an embedding that the tasks are made of.

    It is trained for both rows; where the encoder starts from it, there is nothing to join.
    """
    embedding, examples = variant.embedding, variant.allowance("metatrain")
    if embedding is None:
        return Budget(metatrain_examples=examples + variant.allowance("pretrain"))
    if embedding.described("pretext") != variant.described("pretext"):
        examples += variant.allowance("pretrain")
    return Budget(metatrain_examples=examples, pretrain_steps=embedding.steps("pretrain"))
