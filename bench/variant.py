"""One row of a report, resolved: every plug-in built, every default filled in, nothing shared."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bench.catalogue import build, resolved
from bench.cell import Json
from bench.errors import UserError, suggest
from bench.suite import Budget, Choice, Combination, Suite

if TYPE_CHECKING:
    from bench.contract import AbstractData, AbstractPlugin, TaskShape
    from bench.dataset import Facts

FactsOf = Callable[[str, "AbstractData"], "Facts"]
INITS = ("scratch", "pretext")
LEAST_STEPS = 2  # of a training, however small the scale
KIND_OF = {axis: axis for axis in ("data", "encoder", "augment", "pretext", "tasks", "meta")}


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A cell without its seed and shots.

    ``plugins`` has data, encoder, augment and meta, and pretext and tasks where they are used;
    ``given`` the parameters that the suite named, and ``asked`` the axes, for labels.
    """

    label: str
    named: bool  # the label was given by the suite
    control: str
    plugins: Mapping[str, "AbstractPlugin"]
    names: Mapping[str, str]
    given: Mapping[str, Mapping[str, Json]]
    asked: frozenset[str]
    init: str
    norm: str
    labels: Literal["none", "validation", "train"]
    ways: int
    selection: str
    budget: Budget
    budget_overridden: bool
    facts: "Facts"
    where: str

    def described(self, axis: str) -> dict[str, Json] | None:
        """Return a plug-in as the keys hold it, or None where the axis is not used."""
        plugin = self.plugins.get(axis)
        return None if plugin is None else resolved(axis, self.names[axis], plugin)

    @property
    def identity(self) -> Json:
        """Everything that tells this variant from another; two with one identity are one."""
        axes = {axis: self.described(axis) for axis in KIND_OF}
        budget = {phase: self.steps(phase) for phase in self.phases}
        return [axes, self.init, self.norm, self.ways, self.selection, budget]

    @property
    def phases(self) -> tuple[str, ...]:
        """The kinds of training this variant goes through."""
        pretrained = ("pretrain",) if self.init == "pretext" else ()
        return pretrained + (("metatrain",) if "tasks" in self.plugins else ())

    def augments(self, phase: str) -> bool:
        """Whether a phase of training asks for augmented views."""
        from bench.contract import AbstractPretext, AbstractTasks

        plugin = self.plugins["pretext" if phase == "pretrain" else "tasks"]
        assert isinstance(plugin, AbstractPretext | AbstractTasks)
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
        from bench.contract import AbstractMetaTrained, AbstractPretext

        if phase == "pretrain":
            pretext = self.plugins["pretext"]
            assert isinstance(pretext, AbstractPretext)
            return pretext.views * pretext.batch_size
        meta = self.plugins["meta"]
        assert isinstance(meta, AbstractMetaTrained)
        return meta.tasks_per_step * meta.examples_per_task(self.task_shape(shots))

    def steps(self, phase: str, shots: int = 1) -> int:
        """Return the training steps that the budget buys, at least 2."""
        return max(LEAST_STEPS, self.bought(phase, shots))

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
    from bench.contract import AbstractData, AbstractMeta, AbstractMetaTrained

    asked = dict(combination.axes)
    where = combination.where
    chosen = {
        "data": asked.get("data", _default("glyphs", where)),
        "encoder": asked.get("encoder", _default("conv4", where)),
        "meta": asked.get("meta", _default("none", where)),
    }
    pretext = asked.get("pretext", _default("none", where))
    init = _init(asked.get("init"), pretext.name)
    if asked.get("auxiliary", _default("none", where)).name != "none":
        raise UserError(
            asked["auxiliary"].where, "an auxiliary loss", "Only `auxiliary: none` is known."
        )
    built = {axis: _build(axis, choice) for axis, choice in chosen.items()}
    data, meta = built["data"], built["meta"]
    assert isinstance(data, AbstractData)
    assert isinstance(meta, AbstractMeta)
    if pretext.name != "none":
        chosen["pretext"] = pretext
    tasks = asked.get("tasks", _default("labels", where))
    if isinstance(meta, AbstractMetaTrained):
        chosen["tasks"] = tasks
    elif "tasks" in asked:
        _build("tasks", tasks)  # not used here, but a mistake in it is still a mistake
    built |= {axis: _build(axis, chosen[axis]) for axis in chosen if axis not in built}
    policy = combination.augment or _default(data.augment, where)
    augment = _build("augment", policy)
    if any(getattr(built.get(axis), "augments", False) for axis in ("pretext", "tasks")):
        chosen["augment"], built["augment"] = policy, augment
    reason = _nonsense(init, pretext.name)
    if reason:
        return reason
    variant = Variant(
        label=combination.label or "",
        named=combination.label is not None,
        control="",
        plugins=built,
        names={axis: choice.name for axis, choice in chosen.items()},
        given={axis: choice.params for axis, choice in chosen.items()},
        init=init,
        asked=frozenset(asked) | ({"augment"} if combination.augment else set()),
        norm=combination.norm or meta.norm,
        labels=_labels(built),
        ways=combination.ways,
        selection=combination.selection,
        budget=combination.budget,
        budget_overridden=combination.budget_overridden,
        facts=facts_of(chosen["data"].name, data),
        where=where,
    )
    return _declined(variant, shots) or variant


def _default(name: str, where: str) -> Choice:
    return Choice(name=name, params={}, where=where)


def _build(axis: str, choice: Choice) -> "AbstractPlugin":
    return build(KIND_OF[axis], choice.name, choice.params, choice.where)


def _init(asked: Choice | None, pretext: str) -> str:
    if asked is None:
        return "scratch" if pretext == "none" else "pretext"
    if asked.name not in INITS or asked.params:
        raise UserError(asked.where, f"{asked.name!r}", suggest(asked.name, INITS))
    return asked.name


def _nonsense(init: str, pretext: str) -> str | None:
    if init == "pretext" and pretext == "none":
        return "init is pretext, but there is no pretext"
    if init == "scratch" and pretext != "none":
        return f"init is scratch, so the pretext {pretext} would not be used"
    return None


def _labels(built: Mapping[str, "AbstractPlugin"]) -> Literal["none", "train"]:
    from bench.contract import AbstractTasks

    tasks = built.get("tasks")
    return "train" if isinstance(tasks, AbstractTasks) and tasks.uses_labels else "none"


def _declined(variant: Variant, shots: Sequence[int]) -> str | None:
    """Ask every plug-in whether this combination makes sense, at each number of test shots."""
    from bench.contract import Setting

    if variant.names.get("augment") == "none":
        users = [variant.names[axis] for axis in ("pretext", "tasks") if axis in variant.plugins]
        return f"{' and '.join(users)} would see the same image twice: augment is none"
    settings = [
        Setting(
            shape=variant.facts.shape,
            norm=variant.norm,  # type: ignore[arg-type]  # the suite admits only these words
            ways=variant.ways,
            trained=bool(variant.phases),
            task=variant.task_shape(number) if "tasks" in variant.plugins else None,
        )
        for number in shots
    ]
    reasons = (p.declines(setting) for setting in settings for p in variant.plugins.values())
    return next((reason for reason in reasons if reason), None)


def refuse_impossible(variant: Variant, suite: Suite) -> None:
    """Check a variant against the size of its data.

    Raises:
        UserError: more ways than classes, more shots and queries than examples, a batch
            beyond the training split.
    """
    from bench.contract import AbstractPretext

    test, train = variant.facts.counts["test"], variant.facts.counts["train"]
    data, queries = variant.names["data"], suite.evaluate.queries
    if variant.ways > len(test):
        raise UserError(
            suite.where("ways"),
            f"{variant.ways} ways, but {data} has {len(test)} test classes",
            f"Use at most {len(test)}.",
        )
    if max(suite.shots) + queries > min(test):
        raise UserError(
            suite.where("evaluate", "queries"),
            f"{max(suite.shots)} shots + {queries} queries a class, but the smallest test class"
            f" of {data} has {min(test)} examples",
            f"Use at most {min(test)} in all.",
        )
    pretext = variant.plugins.get("pretext")
    if isinstance(pretext, AbstractPretext) and pretext.batch_size > sum(train):
        raise UserError(
            variant.where,
            f"batch_size {pretext.batch_size}, but {data} has {sum(train)} training examples",
            f"Use {{name: {variant.names['pretext']}, batch_size: {sum(train)}}} or less.",
        )
    if "tasks" in variant.plugins:
        _refuse_tasks(variant, suite, train)


def _refuse_tasks(variant: Variant, suite: Suite, train: tuple[int, ...]) -> None:
    from bench.contract import AbstractTasks

    tasks = variant.plugins["tasks"]
    assert isinstance(tasks, AbstractTasks)
    name, data = variant.names["tasks"], variant.names["data"]
    for shots in suite.shots:
        shape = variant.task_shape(shots)
        most = len(train) if tasks.uses_labels else sum(train)
        if shape.ways > most:
            raise UserError(
                variant.where,
                f"{variant.label} trains on {shape.ways}-way tasks, but {data} can fill {most}",
                f"Use tasks: {{name: {name}, ways: {most}}} or less.",
            )
        if tasks.uses_labels and shape.shots + shape.queries > min(train):
            raise UserError(
                variant.where,
                f"{variant.label} trains on {shape.shots} shots + {shape.queries} queries a class,"
                f" but the smallest training class of {data} has {min(train)} examples",
                f"Use tasks: {{name: {name}, shots: ..., queries: ...}}, {min(train)} in all.",
            )
