"""One row of a report, resolved: every plug-in built, every default filled in, nothing shared."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.catalogue import build, entries, resolved
from bench.cell import Json, Labels, Norm
from bench.checkpoint import noted_labels, opened
from bench.errors import UserError, suggest
from bench.suite import LAST, Budget, Choice, Combination, Selection

if TYPE_CHECKING:
    from bench.contract import AbstractData, AbstractPlugin, TaskShape
    from bench.dataset import Facts

FactsOf = Callable[[str, "AbstractData"], "Facts"]
PLAIN_INITS = ("scratch", "pretext", "checkpoint")  # the words of ``init`` that name no plug-in
LEAST_STEPS = 2  # of a training, however small the scale
PLUGINS = ("data", "encoder", "augment", "pretext", "init", "tasks", "meta")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A cell without its seed and shots.

    ``plugins`` has data, encoder and meta, and augment, pretext, init and tasks where they are
    used; ``given`` the parameters that the suite named, and ``asked`` the axes, for labels.
    ``norm`` is that of training and of testing, unless ``tested_norm`` is another; ``beside`` is
    then the label of the row whose weights this one tests.
    """

    label: str
    named: bool  # the label was given by the suite
    control: str
    added: bool  # by a control, and by no line of the suite
    plugins: Mapping[str, "AbstractPlugin"]
    names: Mapping[str, str]
    given: Mapping[str, Mapping[str, Json]]
    asked: frozenset[str]
    init: str
    weights: str | None  # sha256 of the file whose weights it starts from
    norm: Norm
    tested_norm: Norm
    beside: str
    labels: Labels
    ways: int
    selection: Selection
    budget: Budget
    facts: "Facts"
    where: str

    def described(self, axis: str) -> dict[str, Json] | None:
        """Return a plug-in as the keys hold it, or None where the axis is not used."""
        plugin = self.plugins.get(axis)
        return None if plugin is None else resolved(axis, self.names[axis], plugin)

    @property
    def identity(self) -> Json:
        """Everything that tells this variant from another; two with one identity are one."""
        axes = {axis: self.described(axis) for axis in PLUGINS}
        budget = {phase: self.steps(phase) for phase in self.phases}
        start, norms = [self.init, self.weights], [self.norm, self.tested_norm]
        return [axes, start, norms, self.ways, self.selection.described, budget]

    @property
    def phases(self) -> tuple[str, ...]:
        """The kinds of training this variant goes through."""
        pretrained = () if self.init in ("scratch", "checkpoint") else ("pretrain",)
        return pretrained + (("metatrain",) if "tasks" in self.plugins else ())

    @property
    def objective(self) -> str:
        """The axis that pre-training takes its loss from."""
        return "init" if "init" in self.plugins else "pretext"

    def augments(self, phase: str) -> bool:
        """Whether a phase of training asks for augmented views."""
        from bench.contract import AbstractInit, AbstractPretext, AbstractTasks

        plugin = self.plugins[self.objective if phase == "pretrain" else "tasks"]
        assert isinstance(plugin, AbstractPretext | AbstractInit | AbstractTasks)
        return plugin.augments

    def task_shape(self, shots: int) -> "TaskShape":
        """Return the shape of the tasks it meta-trains on, when it is tested at ``shots``."""
        from bench.contract import AbstractMetaTrained, AbstractTasks, TaskShape

        tasks, meta = self.plugins["tasks"], self.plugins["meta"]
        assert isinstance(tasks, AbstractTasks)
        assert isinstance(meta, AbstractMetaTrained)
        own = tasks.default_shots if tasks.shots is None else tasks.shots
        return TaskShape(
            ways=tasks.ways or meta.task_ways or self.ways,
            shots=shots if own == "match" else own or meta.task_shots,
            queries=meta.task_queries if tasks.queries is None else tasks.queries,
        )

    def examples_per_step(self, phase: str, shots: int = 1) -> int:
        """Return the examples that one training step passes forward."""
        from bench.contract import AbstractInit, AbstractMetaTrained, AbstractPretext

        if phase == "pretrain":
            objective = self.plugins[self.objective]
            assert isinstance(objective, AbstractPretext | AbstractInit)
            views = objective.views if isinstance(objective, AbstractPretext) else 1
            return views * objective.batch_size
        meta = self.plugins["meta"]
        assert isinstance(meta, AbstractMetaTrained)
        return meta.tasks_per_step * meta.examples_per_task(self.task_shape(shots), self.norm)

    def steps(self, phase: str, shots: int = 1) -> int:
        """Return the training steps that the budget buys, at least 2."""
        return max(LEAST_STEPS, self.bought(phase, shots))

    def images(self, phase: str, shots: int = 1) -> int:
        """Return the images that the budget of a phase comes to."""
        asked: int | None = getattr(self.budget, f"{phase}_images")
        if asked is not None:
            return round(asked * self.budget.scale)
        return self.steps(phase, shots) * self.examples_per_step(phase, shots)

    def asked_for(self, phase: str) -> str:
        """Return a phase's budget before the scale, as ``20000 images`` or ``300 steps``."""
        amounts = {unit: getattr(self.budget, f"{phase}_{unit}") for unit in ("steps", "images")}
        return next(f"{amount} {unit}" for unit, amount in amounts.items() if amount is not None)

    def bought(self, phase: str, shots: int = 1) -> int:
        """Return the whole steps that the budget buys, which may be too few to train."""
        steps, images = (getattr(self.budget, f"{phase}_{unit}") for unit in ("steps", "images"))
        if steps is None:
            steps = images / self.examples_per_step(phase, shots)
        return int(steps * self.budget.scale + 1e-9)  # 100 x 0.29 is 29 steps, not 28


def resolve(combination: Combination, shots: Sequence[int], facts_of: FactsOf) -> Variant | str:
    """Fill in a combination's defaults and build its plug-ins; or say why it makes no sense.

    Raises:
        UserError: an unknown plug-in, or a misspelt or mistyped parameter.
    """
    from bench.contract import AbstractData, AbstractEncoder, AbstractMeta, AbstractMetaTrained

    asked = dict(combination.axes)
    where = combination.where
    chosen = {
        "data": asked.get("data", _default("glyphs", where)),
        "encoder": asked.get("encoder", _default("conv4", where)),
        "meta": asked.get("meta", _default("none", where)),
    }
    pretext = asked.get("pretext", _default("none", where))
    init = asked.get("init", _default("scratch" if pretext.name == "none" else "pretext", where))
    if asked.get("auxiliary", _default("none", where)).name != "none":
        raise UserError(
            asked["auxiliary"].where, "an auxiliary loss", "Only `auxiliary: none` is known."
        )
    built = {axis: _build(axis, choice) for axis, choice in chosen.items()}
    data, meta, encoder = built["data"], built["meta"], built["encoder"]
    assert isinstance(data, AbstractData)
    assert isinstance(encoder, AbstractEncoder)
    assert isinstance(meta, AbstractMeta)
    if pretext.name != "none":
        chosen["pretext"] = pretext
    if init.name not in PLAIN_INITS:
        chosen["init"] = _known_init(init)
    tasks = asked.get("tasks", _default("labels", where))
    if isinstance(meta, AbstractMetaTrained):
        chosen["tasks"] = tasks
    elif "tasks" in asked:
        _build("tasks", tasks)  # not used here, but a mistake in it is still a mistake
    built |= {axis: _build(axis, chosen[axis]) for axis in chosen if axis not in built}
    policy = combination.augment or _default(data.augment, where)
    augment = _build("augment", policy)
    if any(getattr(built.get(axis), "augments", False) for axis in ("pretext", "init", "tasks")):
        chosen["augment"], built["augment"] = policy, augment
    reason = _nonsense(init.name, pretext.name)
    if reason:
        return reason
    facts = facts_of(chosen["data"].name, data)
    norm = combination.norm or meta.norm
    start = opened(init, encoder, facts, norm) if init.name == "checkpoint" else None
    variant = Variant(
        label=combination.label or "",
        named=combination.label is not None,
        control="",
        added=False,
        plugins=built,
        names={axis: choice.name for axis, choice in chosen.items()},
        given={axis: choice.params for axis, choice in chosen.items()},
        init=init.name,
        weights=start.sha256 if start else None,
        asked=frozenset(asked) | ({"augment"} if combination.augment else set()),
        norm=norm,
        tested_norm=norm,
        beside="",
        labels=_most([_labels(built), *(noted_labels(start, init) if start else ())]),
        ways=combination.ways,
        selection=LAST,
        budget=combination.budget,
        facts=facts,
        where=where,
    )
    variant = _selected(variant, combination.selection)
    return _declined(variant, shots) or _unselectable(variant) or variant


def _selected(variant: Variant, selection: Selection) -> Variant:
    """Return the variant with its weights selected; what trains nothing has none to select."""
    if selection.is_last or not variant.phases:
        return variant
    seen: Labels = "validation" if selection.name == "label_val" else "none"
    return replace(variant, selection=selection, labels=_most([variant.labels, seen]))


def _unselectable(variant: Variant) -> str | None:
    """Say why a rule cannot measure a variant's last training."""
    axis = "tasks" if "tasks" in variant.plugins else "init"
    labelled = axis in variant.plugins and _labels({axis: variant.plugins[axis]}) == "train"
    reason = f"pretext_val needs a loss without labels, {variant.names.get(axis)} uses them"
    return reason if labelled and variant.selection.name == "pretext_val" else None


def _default(name: str, where: str) -> Choice:
    return Choice(name=name, params={}, where=where)


def _build(axis: str, choice: Choice) -> "AbstractPlugin":
    return build(axis, choice.name, choice.params, choice.where)


def _known_init(init: Choice) -> Choice:
    known = (*PLAIN_INITS, *entries("init"))
    if init.name not in known:
        raise UserError(init.where, f"unknown init {init.name!r}", suggest(init.name, known))
    return init


def _nonsense(init: str, pretext: str) -> str | None:
    if init == "pretext" and pretext == "none":
        return "init is pretext, but there is no pretext"
    if init != "pretext" and pretext != "none":
        return f"init is {init}, so the pretext {pretext} would not be used"
    return None


def _labels(built: Mapping[str, "AbstractPlugin"]) -> Labels:
    from bench.contract import AbstractTasks

    tasks = built.get("tasks")
    uses = "init" in built or (isinstance(tasks, AbstractTasks) and tasks.uses_labels)
    return "train" if uses else "none"


def _most(labels: Sequence[Labels]) -> Labels:
    """Return the class of labels that covers all of these."""
    order: tuple[Labels, ...] = ("none", "validation", "train")
    return max(labels, key=order.index)


def _declined(variant: Variant, shots: Sequence[int]) -> str | None:
    """Ask every plug-in whether this combination makes sense, at each number of test shots."""
    from bench.contract import Setting

    if variant.names.get("augment") == "none":
        users = [
            variant.names[axis] for axis in ("pretext", "init", "tasks") if axis in variant.plugins
        ]
        return f"{' and '.join(users)} would see the same image twice: augment is none"
    settings = [
        Setting(
            shape=variant.facts.shape,
            norm=variant.norm,
            ways=variant.ways,
            trained=bool(variant.phases),
            task=variant.task_shape(number) if "tasks" in variant.plugins else None,
            fixed_classes=getattr(variant.plugins.get("tasks"), "fixed_classes", False),
        )
        for number in shots
    ]
    reasons = (p.declines(setting) for setting in settings for p in variant.plugins.values())
    return next((reason for reason in reasons if reason), None)
