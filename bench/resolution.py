"""From a combination as asked to a variant: plug-ins built, defaults filled in; or why not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.auxiliary import build_auxiliary, unusable
from bench.catalogue import build, entries
from bench.cell import Labels
from bench.checkpoint import noted_labels, opened
from bench.domains import Domain, refuse_other_form, refuse_role
from bench.errors import UserError, suggest
from bench.of_numbers import predicted, senseless
from bench.suite import LAST, Choice, Combination, Selection
from bench.suite_values import ROLES
from bench.tested import declined
from bench.variant import Variant

if TYPE_CHECKING:
    from bench.contract import AbstractData, AbstractPlugin
    from bench.dataset import Facts

FactsOf = Callable[[str, "AbstractData"], "Facts"]
PLAIN_INITS = ("scratch", "pretext", "checkpoint")  # the words of ``init`` that name no plug-in


def resolve(combination: Combination, shots: Sequence[int], facts_of: FactsOf) -> Variant | str:
    """Fill in a combination's defaults and build its plug-ins; or say why it makes no sense.

    Raises:
        UserError: an unknown plug-in, or a misspelt or mistyped parameter.
    """
    from bench.contract import AbstractData, AbstractEncoder, AbstractMeta, AbstractMetaTrained

    asked = dict(combination.axes)
    where = combination.where
    source = asked.get("data", _default("glyphs", where))
    data = _build("data", source)
    assert isinstance(data, AbstractData)
    refuse_role("train", data, source)
    chosen = {
        "data": source,
        "encoder": asked.get("encoder", _default(data.encoder, where)),
        "meta": asked.get("meta", _default("none", where)),
    }
    pretext = asked.get("pretext", _default("none", where))
    init = asked.get("init", _default("scratch" if pretext.name == "none" else "pretext", where))
    auxiliary = asked.get("auxiliary", _default("none", where))
    built = {axis: _build(axis, choice) for axis, choice in chosen.items()}
    meta, encoder = built["meta"], built["encoder"]
    assert isinstance(encoder, AbstractEncoder)
    assert isinstance(meta, AbstractMeta)
    if pretext.name != "none":
        chosen["pretext"] = pretext
    if "strategy" in asked:
        chosen["strategy"] = asked["strategy"]
    if init.name not in PLAIN_INITS:
        chosen["init"] = _known_init(init)
    tasks = asked.get("tasks", _default("labels", where))
    if isinstance(meta, AbstractMetaTrained):
        chosen["tasks"] = tasks
    elif "tasks" in asked:
        _build("tasks", tasks)  # not used here, but a mistake in it is still a mistake
    if auxiliary.name != "none":
        built["auxiliary"], chosen["auxiliary"] = build_auxiliary(auxiliary), auxiliary
    built |= {axis: _build(axis, chosen[axis]) for axis in chosen if axis not in built}
    policy = combination.augment or _default(data.augment, where)
    augment = _build("augment", policy)
    if _augmenting({axis: choice.name for axis, choice in chosen.items()}, built):
        chosen["augment"], built["augment"] = policy, augment
    reason = _nonsense(init.name, pretext.name)
    if "auxiliary" in chosen:
        reason = reason or unusable(auxiliary.name, chosen["meta"].name, meta)
    if reason:
        return reason
    facts = facts_of(chosen["data"].name, data)
    own = Domain(name=source.name, source=data, given=source.params, facts=facts)
    elsewhere = _elsewhere(asked, own, facts_of)
    norm = combination.norm or meta.norm
    start = opened(init, encoder, facts, norm) if init.name == "checkpoint" else None
    noted = noted_labels(start, init) if start else ()
    variant = Variant(
        label=combination.label or "",
        named=combination.label is not None,
        control="",
        added=False,
        plugins=built,
        names={axis: choice.name for axis, choice in chosen.items()},
        given={axis: choice.params for axis, choice in chosen.items()}
        | ({"init": init.params} if start else {}),
        init=init.name,
        weights=start.sha256 if start else None,
        asked=frozenset(asked) | ({"augment"} if combination.augment else set()),
        norm=norm,
        tested_norm=norm,
        beside="",
        labels=most([_labels(built), seen_by(combination.tuned_on or ""), *noted]),
        ways=combination.ways,
        selection=LAST,
        budget=combination.budget,
        facts=facts,
        where=where,
        elsewhere=elsewhere,
        tuned_on=combination.tuned_on or "",
        trials=combination.trials,
    )
    variant = _selected(variant, combination.selection)
    unused = [augment] if combination.augment and "augment" not in built else []
    reason = _declined(variant, shots, unused) or _unlabelled(variant) or senseless(variant)
    return reason or _unselectable(variant) or declined(variant) or variant


def _elsewhere(asked: Mapping[str, Choice], own: Domain, facts_of: FactsOf) -> dict[str, Domain]:
    """Return the sets of the other roles, where they are not the one that is trained on.

    Raises:
        UserError: one has no classes but needs them, or examples of another form.
    """
    from bench.contract import AbstractData

    found: dict[str, Domain] = {}
    for axis, role in ROLES.items():
        if role != "train" and axis in asked:
            choice = asked[axis]
            source = _build("data", choice)
            assert isinstance(source, AbstractData)
            refuse_role(role, source, choice)
            facts = facts_of(choice.name, source)
            one = Domain(name=choice.name, source=source, given=choice.params, facts=facts)
            refuse_other_form(own, one, choice.where)
            if facts.digest != own.facts.digest:
                found[role] = one
    return found


def _selected(variant: Variant, selection: Selection) -> Variant:
    """Return the variant with its weights selected; what trains nothing has none to select."""
    if selection.is_last or not variant.phases:
        return variant
    labels = most([variant.labels, seen_by(selection.name)])
    return replace(variant, selection=selection, labels=labels)


def seen_by(rule: str) -> Labels:
    """Return the labels that a rule looks at which chooses weights or parameters."""
    return "validation" if rule == "label_val" else "none"


def _unlabelled(variant: Variant) -> str | None:
    """Say what of a row's pre-training needs classes or a validation split, if its set has none.

    The training of the embedding that its tasks are clusters of is pre-training, too.
    """
    embedding = variant.embedding
    return _lacking(variant) or (_lacking(embedding) if embedding else None)


def _lacking(variant: Variant) -> str | None:
    """Say the same of one training alone."""
    if "pretrain" not in variant.phases or not variant.pretrained.source.unlabelled:
        return None
    title = variant.pretrained.title
    if "init" in variant.plugins:
        return f"{variant.names['init']} needs classes, and {title} has none"
    if variant.validates or (variant.phases[-1] == "pretrain" and not variant.selection.is_last):
        what = variant.names["pretext"] if variant.validates else variant.selection.name
        return f"{what} needs a validation split, and {title} has none"
    return None


def _unselectable(variant: Variant) -> str | None:
    """Say why a rule cannot measure a variant's last training."""
    axis = "tasks" if "tasks" in variant.plugins else "init"
    if variant.selection.name == "pretext_val" and variant.clustered:
        return "pretext_val needs tasks on the validation split, and no cluster is there"
    used = variant.plugins.get(axis)
    labelled = used is not None and getattr(used, "uses_labels", axis == "init")
    if variant.selection.name != "pretext_val":
        return None
    if labelled:
        return f"pretext_val needs a loss without labels, {variant.names.get(axis)} uses them"
    if variant.validates and "tasks" not in variant.plugins:
        return "pretext_val needs one loss for all snapshots, validation episodes change this one"
    return None


def _default(name: str, where: str) -> Choice:
    return Choice(name=name, params={}, where=where)


def _build(axis: str, choice: Choice) -> "AbstractPlugin":
    return build(axis, choice.name, choice.params, choice.where)


def _known_init(init: Choice) -> Choice:
    known = (*PLAIN_INITS, *entries("init"))
    if init.name not in known:
        raise UserError(init.where, f"unknown init {init.name!r}", suggest(init.name, known))
    return init


def _augmenting(names: Mapping[str, str], plugins: Mapping[str, "AbstractPlugin"]) -> list[str]:
    """Name what asks for augmented views, the pretext of an embedding included."""
    users = {axis: plugins.get(axis) for axis in ("pretext", "init", "tasks", "auxiliary")}
    found = [names[axis] for axis, one in users.items() if getattr(one, "augments", False)]
    nested = getattr(users["tasks"], "pretext", None)
    return found + (["the clusters' pretext"] if getattr(nested, "augments", False) else [])


def _nonsense(init: str, pretext: str) -> str | None:
    if init == "pretext" and pretext == "none":
        return "init is pretext, but there is no pretext"
    if init != "pretext" and pretext != "none":
        return f"init is {init}, so the pretext {pretext} would not be used"
    return None


def _labels(built: Mapping[str, "AbstractPlugin"]) -> Labels:
    """Return the labels that plug-ins see; the pretext of an embedding hands on what it saw."""
    from bench.contract import AbstractPretext, AbstractSearch, AbstractTasks

    tasks = built.get("tasks")
    labelled = isinstance(tasks, AbstractTasks) and tasks.uses_labels and not tasks.known_origins
    if "init" in built or labelled:
        return "train"
    pretexts = (built.get("pretext"), getattr(tasks, "pretext", None))
    validated = [
        one.validates.classes
        for one in pretexts
        if isinstance(one, AbstractPretext | AbstractSearch) and one.validates
    ]
    return "validation" if "labels" in validated else "none"


def most(labels: Sequence[Labels]) -> Labels:
    """Return the class of labels that covers all of these."""
    order: tuple[Labels, ...] = ("none", "validation", "train")
    return max(labels, key=order.index)


def _declined(
    variant: Variant, shots: Sequence[int], unused: Sequence["AbstractPlugin"]
) -> str | None:
    """Ask every plug-in whether this combination makes sense, at each number of test shots.

    ``unused``: those that were asked for to no effect; a mistake in them is still a mistake.
    """
    from bench.contract import Setting

    if variant.names.get("augment") == "none":
        users = _augmenting(variant.names, variant.plugins)
        return f"{' and '.join(users)} would see the same example twice: augment is none"
    settings = [
        Setting(
            form=variant.facts.form,
            norm=variant.norm,
            ways=variant.ways,
            trained=bool(variant.phases),
            task=variant.task_shape(number) if "tasks" in variant.plugins else None,
            fixed_classes=getattr(variant.plugins.get("tasks"), "fixed_classes", False),
            values=predicted(variant.facts.form),
        )
        for number in shots
    ]
    asked = (*variant.plugins.values(), *unused)
    reasons = (plugin.refuses(setting) for setting in settings for plugin in asked)
    return next((reason for reason in reasons if reason), None)
