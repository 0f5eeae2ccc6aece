"""One row of a report, resolved: every plug-in built, every default filled in, nothing shared."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bench.auxiliary import described
from bench.budget import CEILING, LEAST_STEPS, Pretraining, steps_for
from bench.catalogue import resolved
from bench.cell import Json, Labels, Norm
from bench.domains import Domain, title_of
from bench.suite import LAST, Budget, Selection

if TYPE_CHECKING:
    from bench.contract import (
        AbstractClustered,
        AbstractPlugin,
        TaskShape,
        Validation,
    )
    from bench.dataset import Facts

PLUGINS = (
    *("data", "encoder", "augment", "pretext", "init", "tasks", "auxiliary", "meta", "strategy"),
)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A cell without its seed and shots.

    ``plugins`` has data, encoder and meta, and augment, pretext, init, tasks and auxiliary (a
    pretext) where they are used; ``given`` the parameters that the suite named, and ``asked`` the
    axes, for labels.
    ``norm`` is that of training and of testing, unless ``tested_norm`` is another; ``beside`` is
    then the label of the row whose weights this one tests.
    ``plugins["data"]`` and ``facts`` are those of the set that is trained on; ``elsewhere`` has
    the sets of the roles ``pretrain`` and ``test``, where they are others.
    ``tuned_on`` says what its parameters are chosen by, if they are; ``trials``, how many its
    tuning has, where that is not what all rows have; ``default_of``, which tuned row it was.
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
    elsewhere: Mapping[str, Domain] = field(default_factory=dict)
    tuned_on: str = ""
    trials: int | None = None
    default_of: str = ""

    def described(self, axis: str) -> dict[str, Json] | None:
        """Return a plug-in as the keys hold it, or None where the axis is not used."""
        plugin = self.plugins.get(axis)
        if plugin is not None and axis == "auxiliary":
            return described(self.names[axis], plugin, self.given[axis]["weight"])
        return None if plugin is None else resolved(axis, self.names[axis], plugin)

    @property
    def data(self) -> str:
        """What the report calls its data: the set's title, or those of several roles."""
        return title_of(self.trained, self.elsewhere)

    @property
    def trained(self) -> Domain:
        """The set whose training split is meta-trained on, and whose validation split tunes."""
        from bench.contract import AbstractData

        source = self.plugins["data"]
        assert isinstance(source, AbstractData)
        return Domain(
            name=self.names["data"], source=source, given=self.given["data"], facts=self.facts
        )

    @property
    def pretrained(self) -> Domain:
        """The set that is pre-trained on, by its training split."""
        return self.elsewhere.get("pretrain", self.trained)

    @property
    def tested(self) -> Domain:
        """The set whose test split the row is tested on."""
        return self.elsewhere.get("test", self.trained)

    @property
    def selected_on(self) -> Domain:
        """The set whose validation split selects weights: that of the last training."""
        return self.pretrained if self.phases[-1:] == ("pretrain",) else self.trained

    @property
    def roles(self) -> dict[str, str]:
        """What the report calls the set of each role."""
        of = {"pretrain": self.pretrained, "train": self.trained, "test": self.tested}
        return {role: one.title for role, one in of.items()}

    @property
    def domains(self) -> tuple[Domain, ...]:
        """Each of its sets once, the one that is trained on first."""
        return (self.trained, *self.elsewhere.values())

    @property
    def identity(self) -> Json:
        """Everything that tells this variant from another; two with one identity are one."""
        axes = {axis: self.described(axis) for axis in PLUGINS}
        budget = {phase: self.steps(phase) for phase in self.phases}
        budget |= {"embedding": self.embedding.steps("pretrain")} if self.embedding else {}
        start, norms = [self.init, self.weights], [self.norm, self.tested_norm]
        others = {role: one.described for role, one in self.elsewhere.items()}
        whole = [axes, start, norms, self.ways, self.selection.described, budget]
        return [*whole, others] if others else whole

    @property
    def phases(self) -> tuple[str, ...]:
        """The kinds of training this variant goes through."""
        pretrained = () if self.init in ("scratch", "checkpoint") else ("pretrain",)
        return pretrained + (("metatrain",) if "tasks" in self.plugins else ())

    @property
    def clustered(self) -> "AbstractClustered | None":
        """The source of its tasks, where these are made of clusters."""
        from bench.contract import AbstractClustered

        tasks = self.plugins.get("tasks")
        return tasks if isinstance(tasks, AbstractClustered) else None

    @property
    def embedding(self) -> "Variant | None":
        """What trains the embedding that its tasks are clusters of, as a row of its own."""
        tasks = self.clustered
        if tasks is None or tasks.pretext is None:
            return None
        shared = ("data", "encoder", "augment")
        kept = {axis: plugin for axis, plugin in self.plugins.items() if axis in shared}
        described = self.described("tasks")
        assert described is not None
        return replace(
            self,
            plugins={**kept, "pretext": tasks.pretext},
            names={**self.names, "pretext": described["params"]["pretext"]["name"]},
            init="pretext",
            weights=None,
            selection=LAST,
        )

    @property
    def objective(self) -> str:
        """The axis that pre-training takes its loss from."""
        return "init" if "init" in self.plugins else "pretext"

    def augments(self, phase: str) -> bool:
        """Whether a phase of training asks for augmented views."""
        axes = (self.objective,) if phase == "pretrain" else ("tasks", "auxiliary")
        return any(getattr(self.plugins.get(axis), "augments", False) for axis in axes)

    @property
    def pretraining(self) -> Pretraining:
        """What pre-training is of; only where there is any."""
        return Pretraining(
            objective=self.plugins[self.objective],
            budget=self.budget,
            held_out=sum(self.pretrained.facts.counts["val"]),
        )

    @property
    def validates(self) -> "Validation | None":
        """The episodes of the validation split that pre-training learns from or is chosen by."""
        return self.pretraining.validates if self.objective in self.plugins else None

    @property
    def prevalidated(self) -> bool:
        """Whether the validation split of the set that is pre-trained on teaches it or chooses."""
        chosen = not self.selection.is_last and self.phases[-1:] == ("pretrain",)
        parts = (self, self.embedding)
        return chosen or any(one.validates is not None for one in parts if one)

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

    def batch(self, phase: str, shots: int = 1) -> tuple[int, int]:
        """Return the examples of a training step before any view: tasks (1: none), and of each."""
        from bench.contract import AbstractMetaTrained

        if phase == "pretrain":
            return 1, self.pretraining.batch_size
        meta, shape = self.plugins["meta"], self.task_shape(shots)
        assert isinstance(meta, AbstractMetaTrained)
        return meta.tasks_per_step, shape.num_support + shape.num_queries

    def examples(self, phase: str, shots: int = 1) -> int:
        """Return the examples that a phase of training passes forward."""
        if phase == "pretrain":
            return self.pretraining.examples
        return self.steps(phase, shots) * self._examples_per_step(shots)

    def _examples_per_step(self, shots: int) -> int:
        """Return the examples that one step of meta-training passes forward."""
        from bench.contract import AbstractMetaTrained, AbstractPretext

        tasks, examples = self.batch("metatrain", shots)
        meta, auxiliary = self.plugins["meta"], self.plugins.get("auxiliary")
        assert isinstance(meta, AbstractMetaTrained)
        beside = auxiliary.views * examples if isinstance(auxiliary, AbstractPretext) else 0
        return tasks * (meta.examples_per_task(self.task_shape(shots), self.norm) + beside)

    def steps(self, phase: str, shots: int = 1) -> int:
        """Return the training steps that the budget buys, at least 2."""
        if phase == "pretrain":
            return self.pretraining.steps
        return max(LEAST_STEPS, self.bought(phase, shots))

    def allowance(self, phase: str, shots: int = 1) -> int:
        """Return the examples that the budget of a phase comes to."""
        asked: int | None = getattr(self.budget, f"{phase}_examples")
        if asked is not None:
            return round(asked * self.budget.scale)
        return self.examples(phase, shots)

    def asked_for(self, phase: str) -> str:
        """Return a phase's budget before the scale, as ``20000 examples`` or ``300 steps``."""
        amounts = {unit: getattr(self.budget, f"{phase}_{unit}") for unit in ("steps", "examples")}
        return next(f"{amount} {unit}" for unit, amount in amounts.items() if amount is not None)

    def bought(self, phase: str, shots: int = 1) -> int:
        """Return the whole steps that the budget buys, which may be too few to train."""
        if phase == "pretrain":
            return self.pretraining.bought
        steps, examples, scale = (
            self.budget.metatrain_steps,
            self.budget.metatrain_examples,
            self.budget.scale,
        )
        if steps is not None:
            return int(steps * scale + CEILING)
        assert examples is not None
        return steps_for(examples, scale, lambda steps: steps * self._examples_per_step(shots))
