"""Each check of the conformance suite fails on a plug-in with the fault it looks for."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from pydantic import ConfigDict
from torch import Generator, Tensor, nn

from bench.augment.none import NoAugment
from bench.catalogue import build
from bench.conformance import augment, data, encoder, form, meta, metatrain, pretext, tasks
from bench.conformance.subject import Check, Fault, Subject, checks_of, perform
from bench.contract import (
    AbstractAugment,
    AbstractData,
    AbstractEncoder,
    AbstractLearner,
    AbstractNetwork,
    AbstractPlugin,
    AbstractSource,
    Examples,
    Setting,
    Shape,
    Task,
    TaskShape,
    Tensors,
)
from bench.encoder.conv4 import Conv4
from bench.meta.maml import Maml
from bench.meta.none import NoMeta
from bench.meta.protonet import Protonet
from bench.pretext.rotation import Rotation
from bench.pretext.simclr import Simclr
from bench.tasks.instances import Instances
from bench.tasks.labels import Labels

Result = tuple[Tensor, Tensors]
KIND_OF = {
    "Augment": "augment",
    "Data": "data",
    "Encoder": "encoder",
    "Meta": "meta",
    "Pretext": "pretext",
    "Tasks": "tasks",
}

# --- form ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ByPosition(NoAugment):
    """Takes its parameter by position."""

    degrees: float = 3.0


@dataclass(frozen=True, kw_only=True)
class Unhashable(NoAugment):
    """Has a list for a parameter."""

    sizes: list[int] = None  # type: ignore[assignment]  # a default would have to be a factory

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", [1, 2])


@dataclass(frozen=True, kw_only=True)
class Untyped(NoAugment):
    """Takes anything."""

    degrees: Any = 3.0


@dataclass(frozen=True, kw_only=True)
class Lenient(NoAugment):
    """Ignores what it does not know."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="ignore", strict=True)


@dataclass(frozen=True, kw_only=True)
class Loose(NoAugment):
    """Has a parameter that is none."""

    degrees = 3.0


@dataclass(frozen=True, kw_only=True)
class Unclaimed(AbstractAugment):
    """Names no source."""

    def __call__(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        return x_BCHW


@dataclass(frozen=True, kw_only=True)
class Claiming(NoMeta):
    """Lets a suite choose what it claims."""

    transductive: bool = False  # type: ignore[misc]  # the fault


@dataclass(frozen=True, kw_only=True)
class Misfit(NoAugment):
    """Has a default that its own annotation refuses."""

    order: Literal[1, 2] = 3  # type: ignore[assignment]  # the fault


@dataclass(frozen=True, kw_only=True)
class Drifting(NoAugment):
    """Changes its parameter while it is made."""

    degrees: float = 3.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "degrees", self.degrees + 1)


@dataclass(frozen=True, kw_only=True)
class Unnamed(NoAugment):
    """Has a source that no bibliography can find."""

    reference: ClassVar[str] = "Snell 2017"


@dataclass(frozen=True, kw_only=True)
class Unrevised(NoAugment):
    """Counts its revisions from 0."""

    revision: ClassVar[int] = 0


@dataclass(frozen=True, kw_only=True)
class Silent(NoAugment):  # noqa: D101  # the fault
    pass


@dataclass(frozen=True, kw_only=True)
class Rambling(NoAugment):
    """An augmentation that takes a batch of images and, after some consideration,
    returns it.
    """  # noqa: D205  # the fault


class Annealed(Rotation):
    """Anneals its rate below zero."""

    def schedule(self, progress: float) -> float:
        return 0.5 - progress


class Fast(Rotation):
    """Names an optimizer that the engine does not have."""

    optimizer: ClassVar[Any] = "lion"


# --- augment and state -----------------------------------------------------------------------


class Remembering(NoAugment):
    """Keeps the last batch."""

    def __call__(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        object.__setattr__(self, "last", x_BCHW)
        return x_BCHW


class Counting(NoAugment):
    """Counts in a container of its class."""

    calls: ClassVar[list[int]] = []

    def __call__(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        self.calls.append(1)
        return x_BCHW


class Cropping(NoAugment):
    """Returns smaller images."""

    def __call__(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        return x_BCHW[..., 1:]


class Brightening(NoAugment):
    """Leaves [0, 1]."""

    def __call__(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        return x_BCHW * 2


class Overwriting(NoAugment):
    """Writes into its batch."""

    def __call__(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        return x_BCHW.mul_(0.5)


class OwnDraws(NoAugment):
    """Draws from the clock's entropy."""

    def __call__(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        return x_BCHW * np.random.default_rng().random()


class PythonDraws(NoAugment):
    """Draws from Python's generator."""

    def __call__(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        return x_BCHW * random.random()


class OneDraw(NoAugment):
    """Draws once for the whole batch."""

    def __call__(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        return x_BCHW * torch.rand(1, generator=rng).to(x_BCHW.dtype)


# --- data ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ToyData(AbstractData):
    """Six small classes, right."""

    reference: ClassVar[str] = "doi:10.1126/science.aab3050"
    per_class: ClassVar[int] = 3

    def read(self, root: Path | None) -> Examples:
        arrays = {
            key: np.full((self.per_class, 1, 4, 4), 9 * number, np.uint8)
            for number, key in enumerate("abcdef")
        }
        return Examples(arrays=arrays, splits={"train": tuple("ab"), "val": ("c", "d"),
                                               "test": ("e", "f")})

    def fingerprint(self, root: Path | None) -> str:
        return type(self).__name__


class UnknownPolicy(ToyData):
    """Suits a policy that does not exist."""

    augment: ClassVar[str] = "afine"


class Unstable(ToyData):
    """Has another fingerprint every time."""

    def fingerprint(self, root: Path | None) -> str:
        return str(np.random.default_rng().integers(10**12))


class Floats(ToyData):
    """Reads floats."""

    def read(self, root: Path | None) -> Examples:
        examples = super().read(root)
        return replace(examples, arrays={k: a / 255 for k, a in examples.arrays.items()})


class OneEach(ToyData):
    """Has one example a class."""

    per_class: ClassVar[int] = 1


# --- encoder ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SmallEncoder(AbstractEncoder):
    """Flatten, and one layer."""

    reference: ClassVar[str] = "arXiv:1606.04080"

    def module(self, shape: Shape) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 5), *self.more())

    def more(self) -> Iterator[nn.Module]:
        """Yield what comes after the layer."""
        yield from ()


class _Apply(nn.Module):
    def __init__(self, function: Any) -> None:  # noqa: ANN401  # any function of a tensor
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)  # type: ignore[no-any-return]


class Maps(Conv4):
    """Returns feature maps."""

    def module(self, shape: Shape) -> nn.Module:
        return nn.Conv2d(shape[0], 4, 3)


class Detached(SmallEncoder):
    """Cuts the gradient off."""

    def more(self) -> Iterator[nn.Module]:
        yield _Apply(lambda x: x.detach())


class Saturated(SmallEncoder):
    """Has no gradient."""

    def more(self) -> Iterator[nn.Module]:
        yield _Apply(lambda x: x * 0)


class Inverting(SmallEncoder):
    """Inverts its input in place."""

    def module(self, shape: Shape) -> nn.Module:
        return nn.Sequential(_Apply(lambda x: x.neg_()), super().module(shape))


class Entropic(SmallEncoder):
    """Draws weights of its own."""

    def module(self, shape: Shape) -> nn.Module:
        module = super().module(shape)
        weight = next(module.parameters())
        values = np.random.default_rng().normal(size=weight.shape)
        weight.data = torch.from_numpy(values).to(weight.dtype)
        return module


class OwnNorm(SmallEncoder):
    """Normalises over the batch by hand."""

    def more(self) -> Iterator[nn.Module]:
        yield _Apply(lambda x: x - x.mean(0))


class Tracking(SmallEncoder):
    """Keeps running statistics that the engine does not know."""

    def module(self, shape: Shape) -> nn.Module:
        tracked = nn.InstanceNorm2d(shape[0], track_running_stats=True)
        return nn.Sequential(tracked, super().module(shape))


class Dropping(SmallEncoder):
    """Drops features in training mode."""

    def more(self) -> Iterator[nn.Module]:
        yield nn.Dropout(0.5)


class Viewing(SmallEncoder):
    """Needs one memory format."""

    def module(self, shape: Shape) -> nn.Module:
        return nn.Sequential(_Apply(lambda x: x.view(len(x), -1)), super().module(shape))


class Strided(SmallEncoder):
    """Looks at the order in memory."""

    def module(self, shape: Shape) -> nn.Module:
        by_memory = _Apply(lambda x: x.as_strided((len(x), x[0].numel()), (x[0].numel(), 1)))
        return nn.Sequential(by_memory, super().module(shape))


class Branching(SmallEncoder):
    """Looks at its values."""

    def more(self) -> Iterator[nn.Module]:
        yield _Apply(lambda x: x if float(x.sum()) > 0 else x * 2)


# --- pretext ---------------------------------------------------------------------------------


class Changed(Rotation):
    """Right, but for what ``change`` does to the loss."""

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BCHW: Tensor, rng: Generator
    ) -> Result:
        return self.change(super().loss(net, state, x_BCHW, rng)[0]), state

    def change(self, loss: Tensor) -> Tensor:
        """Return the faulty loss."""
        return loss


class NotScalar(Changed):
    """Returns a vector."""

    def change(self, loss: Tensor) -> Tensor:
        return loss.expand(3)


class Undefined(Changed):
    """Returns NaN."""

    def change(self, loss: Tensor) -> Tensor:
        return loss * torch.nan


class Cut(Changed):
    """Returns a constant."""

    def change(self, loss: Tensor) -> Tensor:
        return loss.detach()


class Steep(Changed):
    """Has an infinite gradient."""

    def change(self, loss: Tensor) -> Tensor:
        return (loss - loss.detach()).sqrt()


class Uphill(Changed):
    """Returns a loss whose gradient has the wrong sign."""

    def change(self, loss: Tensor) -> Tensor:
        return 2 * loss.detach() - loss


class Single(Changed):
    """Returns float32, whatever the batch."""

    def change(self, loss: Tensor) -> Tensor:
        return loss.float()


class Coarse(Changed):
    """Overflows in float32."""

    def change(self, loss: Tensor) -> Tensor:
        return loss * 1e-40 * 1e40


class HeadOnly(Rotation):
    """Trains the head alone."""

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BCHW: Tensor, rng: Generator
    ) -> Result:
        scores = net.head(net.encode(x_BCHW).detach())
        return nn.functional.cross_entropy(scores, torch.arange(len(x_BCHW)) % 4), state


class Staining(Rotation):
    """Writes into the batch."""

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BCHW: Tensor, rng: Generator
    ) -> Result:
        x_BCHW[0] = 0
        return super().loss(net, state, x_BCHW, rng)


class NumpyDraws(Rotation):
    """Draws noise from numpy's global generator."""

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BCHW: Tensor, rng: Generator
    ) -> Result:
        noise = np.random.normal(size=x_BCHW.shape)
        return super().loss(net, state, x_BCHW + torch.from_numpy(noise).to(x_BCHW.dtype), rng)


class EntropicHead(Rotation):
    """Draws the head's weights from elsewhere."""

    def head(self, width: int, shape: Shape) -> nn.Module:
        head = nn.Linear(width, 4)
        head.bias.data += float(np.random.default_rng().normal())
        return head


class Miscounted(Rotation):
    """Claims one view of four."""

    views: ClassVar[int] = 1


class Growing(Rotation):
    """Appends to its state."""

    def state(self, net: AbstractNetwork) -> Tensors:
        return {"queue": torch.zeros(2)}

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BCHW: Tensor, rng: Generator
    ) -> Result:
        loss, _ = super().loss(net, state, x_BCHW, rng)
        return loss, {"queue": torch.cat([state["queue"], torch.ones(1)])}


class Crowded(Simclr):
    """Divides by the number of images beyond two."""

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BCHW: Tensor, rng: Generator
    ) -> Result:
        return super().loss(net, state, x_BCHW, rng)[0] / (len(x_BCHW) - 2), state


# --- tasks -----------------------------------------------------------------------------------


class Reshaped(Labels):
    """Right, but for what ``change`` does to the task."""

    def sample(self, source: AbstractSource, shape: TaskShape, rng: Generator) -> Task:
        return self.change(super().sample(source, shape, rng))

    def change(self, task: Task) -> Task:
        """Return the faulty task."""
        return task


class Greedy(Reshaped):
    """Keeps a support of one shot more."""

    def change(self, task: Task) -> Task:
        return replace(task, support_x=torch.cat([task.support_x, task.support_x[:3]]))


class Bright(Reshaped):
    """Returns bytes."""

    def change(self, task: Task) -> Task:
        return replace(task, query_x=task.query_x * 255)


class FixedWays(Reshaped):
    """Always says three ways."""

    def change(self, task: Task) -> Task:
        return replace(task, ways=3)


class ClassFirst(Reshaped):
    """Orders by class first."""

    def change(self, task: Task) -> Task:
        return replace(task, support_y=task.support_y.sort().values)


class Stuck(Labels):
    """Always draws the same task."""

    def sample(self, source: AbstractSource, shape: TaskShape, rng: Generator) -> Task:
        return super().sample(source, shape, Generator().manual_seed(0))


class NumpyTasks(Labels):
    """Draws from numpy's global generator."""

    def sample(self, source: AbstractSource, shape: TaskShape, rng: Generator) -> Task:
        rng.manual_seed(int(np.random.randint(1000)))
        return super().sample(source, shape, rng)


class Erasing(Labels):
    """Erases an example of the source."""

    def sample(self, source: AbstractSource, shape: TaskShape, rng: Generator) -> Task:
        source._x[5] = 0  # type: ignore[attr-defined]  # the fault
        return super().sample(source, shape, rng)


class Repeating(Reshaped):
    """Asks what the support showed."""

    def change(self, task: Task) -> Task:
        return replace(task, query_x=task.support_x[task.query_y])


class Mixed(Reshaped):
    """Mixes two classes up."""

    def change(self, task: Task) -> Task:
        return replace(task, query_x=task.query_x.roll(1, 0))


class Sorted(Labels):
    """Numbers its classes in their order."""

    def sample(self, source: AbstractSource, shape: TaskShape, rng: Generator) -> Task:
        task = super().sample(source, shape, rng)
        order = task.support_x[: shape.ways].flatten(1)[:, 0].argsort()
        pick = [
            (torch.arange(each)[:, None] * shape.ways + order).flatten()
            for each in (shape.shots, shape.queries)
        ]
        return replace(task, support_x=task.support_x[pick[0]], query_x=task.query_x[pick[1]])


class Hidden(Instances):
    """Uses labels and does not say so."""

    def sample(self, source: AbstractSource, shape: TaskShape, rng: Generator) -> Task:
        source.classes()
        return super().sample(source, shape, rng)


# --- meta ------------------------------------------------------------------------------------


class Eager(Maml):
    """Yields what its first step leads to first."""

    def adapt(
        self, learner: AbstractLearner, params: Tensors, support_x: Tensor, support_y: Tensor
    ) -> Iterator[Tensors]:
        steps = super().adapt(learner, params, support_x, support_y)
        next(steps)
        yield from steps


class Empty(NoMeta):
    """Yields nothing."""

    def adapt(
        self, learner: AbstractLearner, params: Tensors, support_x: Tensor, support_y: Tensor
    ) -> Iterator[Tensors]:
        yield from ()


class InPlace(Maml):
    """Takes its steps where the parameters are."""

    def adapt(
        self, learner: AbstractLearner, params: Tensors, support_x: Tensor, support_y: Tensor
    ) -> Iterator[Tensors]:
        while True:
            yield params
            for value in params.values():
                value.mul_(0.9)


class Partial(Maml):
    """Yields the head alone."""

    def adapt(
        self, learner: AbstractLearner, params: Tensors, support_x: Tensor, support_y: Tensor
    ) -> Iterator[Tensors]:
        yield params
        yield {name: value for name, value in params.items() if name.startswith("head.")}


class Exploding(Maml):
    """Divides by zero."""

    def adapt(
        self, learner: AbstractLearner, params: Tensors, support_x: Tensor, support_y: Tensor
    ) -> Iterator[Tensors]:
        yield params
        yield {name: value / 0 for name, value in params.items()}


class Scored(NoMeta):
    """Right, but for what ``change`` does to the scores."""

    def predict(self, learner: AbstractLearner, params: Tensors, task: Task) -> Tensor:
        return self.change(super().predict(learner, params, task), task)

    def change(self, scores: Tensor, task: Task) -> Tensor:
        """Return the faulty scores."""
        return scores


class Noisy(Scored):
    """Breaks ties by a generator of its own."""

    def change(self, scores: Tensor, task: Task) -> Tensor:
        return scores + float(np.random.default_rng().random())


class Turned(Scored):
    """Scores ways by queries."""

    def change(self, scores: Tensor, task: Task) -> Tensor:
        return scores.T


class Infinite(Scored):
    """Scores infinitely."""

    def change(self, scores: Tensor, task: Task) -> Tensor:
        return scores / 0


class Peeking(Scored):
    """Reads the labels of the queries."""

    def change(self, scores: Tensor, task: Task) -> Tensor:
        return scores + nn.functional.one_hot(task.query_y, task.ways)


class ByPlace(Scored):
    """Knows that queries are sorted by label."""

    def change(self, scores: Tensor, task: Task) -> Tensor:
        place = torch.arange(len(scores)) % task.ways
        return scores + nn.functional.one_hot(place, task.ways)


class Transductive(Scored):
    """Centres over the queries."""

    def change(self, scores: Tensor, task: Task) -> Tensor:
        return scores - scores.mean(0)


class Frozen(Maml):
    """Claims a frozen encoder, and uses its head."""

    frozen_encoder: ClassVar[bool] = True


class Rescaled(NoMeta):
    """Claims a frozen encoder, and looks at the images."""

    def predict(self, learner: AbstractLearner, params: Tensors, task: Task) -> Tensor:
        return super().predict(learner, params, task) * task.query_x.mean()


class Forgetful(Scored):
    """Knows nothing of class 0."""

    def change(self, scores: Tensor, task: Task) -> Tensor:
        return scores.index_fill(1, torch.tensor([0]), -1e9)


class Masking(Maml):
    """Indexes by a mask."""

    def predict(self, learner: AbstractLearner, params: Tensors, task: Task) -> Tensor:
        assert len(task.support_x[task.support_y == 0])
        return super().predict(learner, params, task)


# --- meta-training ---------------------------------------------------------------------------


class Directed(Protonet):
    """Right, but for what ``change`` does to loss and direction."""

    def meta_gradient(self, learner: AbstractLearner, params: Tensors, task: Task) -> Result:
        loss, gradient = super().meta_gradient(learner, params, task)
        return self.change(loss, dict(gradient))

    def change(self, loss: Tensor, gradient: dict[str, Tensor]) -> Result:
        """Return the faulty loss and direction."""
        return loss, gradient


class Missing(Directed):
    """Forgets a parameter."""

    def change(self, loss: Tensor, gradient: dict[str, Tensor]) -> Result:
        gradient.popitem()
        return loss, gradient


class Zero(Directed):
    """Goes nowhere."""

    def change(self, loss: Tensor, gradient: dict[str, Tensor]) -> Result:
        return loss, {name: value * 0 for name, value in gradient.items()}


class Summed(Directed):
    """Returns a loss for each query."""

    def change(self, loss: Tensor, gradient: dict[str, Tensor]) -> Result:
        return loss.expand(9), gradient


class Doubled(Directed):
    """Returns twice the gradient."""

    def change(self, loss: Tensor, gradient: dict[str, Tensor]) -> Result:
        return loss, {name: value * 2 for name, value in gradient.items()}


class Ascending(Directed):
    """Goes uphill."""

    def change(self, loss: Tensor, gradient: dict[str, Tensor]) -> Result:
        return loss, {name: -value for name, value in gradient.items()}


class FirstOrder(Maml):
    """Claims second order, and takes constants for its inner gradients."""

    def meta_gradient(self, learner: AbstractLearner, params: Tensors, task: Task) -> Result:
        return Maml(order=1).meta_gradient(learner, params, task)


class Shrinking(Protonet):
    """Writes into the parameters."""

    def meta_gradient(self, learner: AbstractLearner, params: Tensors, task: Task) -> Result:
        result = super().meta_gradient(learner, params, task)
        with torch.no_grad():
            next(iter(params.values())).mul_(0.5)
        return result


class Rolling(Directed):
    """Adds noise from numpy's global generator."""

    def change(self, loss: Tensor, gradient: dict[str, Tensor]) -> Result:
        return loss + float(np.random.normal()), gradient


class EntropicMaml(Maml):
    """Draws the head's weights from elsewhere."""

    def head(self, width: int, ways: int) -> nn.Module:
        head = nn.Linear(width, ways)
        head.bias.data += float(np.random.default_rng().normal())
        return head


class Thrifty(Maml):
    """Counts its queries alone."""

    def examples_per_task(self, shape: TaskShape) -> int:
        return shape.num_queries


class Itemised(Directed):
    """Takes a number out of a tensor."""

    def change(self, loss: Tensor, gradient: dict[str, Tensor]) -> Result:
        return loss if float(loss) > 0 else -loss, gradient


class Leaking(Protonet):
    """Lets one task of a batch see the one before."""

    def meta_gradient(self, learner: AbstractLearner, params: Tensors, task: Task) -> Result:
        loss, gradient = super().meta_gradient(learner, params, task)
        return loss + learner.passed, gradient  # type: ignore[attr-defined]  # the fault


PLANTED: list[tuple[Check, type[AbstractPlugin], str]] = [
    (form.parameters_are_keywords, ByPosition, "degrees can be given by position"),
    (form.parameters_are_keywords, Unhashable, "cannot be hashed"),
    (form.parameters_are_typed, Untyped, "degrees accepts"),
    (form.parameters_are_typed, Lenient, "does not exist is accepted"),
    (form.parameters_are_annotated, Loose, "degrees has no annotation"),
    (form.what_is_asked_for_is_there, Unclaimed, "reference is missing"),
    (form.what_is_asked_for_is_there, Claiming, "transductive is a parameter"),
    (form.defaults_can_be_written_down, Misfit, "cannot be read back"),
    (form.defaults_can_be_written_down, Drifting, "it is another"),
    (form.the_source_is_named, Unnamed, "its reference is 'Snell 2017'"),
    (form.the_source_is_named, Unrevised, "its revision is 0"),
    (form.the_summary_is_a_sentence, Silent, "the first line of its docstring"),
    (form.the_summary_is_a_sentence, Rambling, "the first line of its docstring"),
    (form.the_optimizer_can_be_set, Annealed, r"schedule\(0.999\) is -0.499"),
    (form.the_optimizer_can_be_set, Fast, "its optimizer is 'lion'"),
    (augment.views_are_like_their_examples, Remembering, "keeps state: last changed"),
    (augment.views_are_like_their_examples, Counting, "keeps state: calls changed"),
    (augment.views_are_like_their_examples, Cropping, "it makes"),
    (augment.views_are_like_their_examples, Brightening, "its views reach from"),
    (augment.examples_are_left_as_they_are, Overwriting, "writes into what it was given: x"),
    (augment.draws_come_from_the_generator, OwnDraws, "differs between two runs"),
    (augment.draws_come_from_the_generator, PythonDraws, "Python's global generator"),
    (augment.each_example_has_its_own_draws, OneDraw, "became 1 different views"),
    (data.its_policy_exists, UnknownPolicy, "its augmentation is 'afine'"),
    (data.the_fingerprint_is_stable, Unstable, "its fingerprint is"),
    (data.examples_keep_the_contract, Floats, "is float64"),
    (data.a_task_can_be_drawn, OneEach, "a class with one example"),
    (encoder.features_are_vectors, Maps, "1, 2 and 5 examples become"),
    (encoder.every_weight_has_a_gradient, Detached, "no function of every parameter"),
    (encoder.every_weight_has_a_gradient, Saturated, "is zero or not finite"),
    (encoder.the_input_is_left_as_it_is, Inverting, "writes into what it was given: x"),
    (encoder.weights_follow_from_the_seed, Entropic, "differs between two runs"),
    (encoder.norms_are_the_engines, OwnNorm, "depend on the other examples"),
    (encoder.norms_are_the_engines, Tracking, "it holds InstanceNorm2d"),
    (encoder.modes_do_not_matter, Dropping, "differ between training and evaluation"),
    (encoder.memory_formats_do_not_matter, Viewing, "fails on images stored channels last"),
    (encoder.memory_formats_do_not_matter, Strided, "give other features"),
    (encoder.it_can_be_batched_over_tasks, Branching, "fails under torch.func.vmap"),
    (pretext.the_loss_can_be_trained, NotScalar, r"its loss has the shape \[3\]"),
    (pretext.the_loss_can_be_trained, Undefined, "its loss is nan"),
    (pretext.the_loss_can_be_trained, Cut, "cannot be differentiated"),
    (pretext.the_loss_can_be_trained, Steep, "is not finite"),
    (pretext.the_loss_can_be_trained, HeadOnly, "with respect to the encoder is zero"),
    (pretext.a_step_writes_into_nothing, Staining, "writes into what it was given: x"),
    (pretext.a_step_follows_from_its_seed, NumpyDraws, "numpy's or Python's global"),
    (pretext.the_head_follows_from_the_seed, EntropicHead, "differs between two runs"),
    (pretext.views_are_counted, Miscounted, "views is 1, but each image .* 4 times"),
    (pretext.the_state_keeps_its_form, Growing, "its state is"),
    (pretext.two_images_are_enough, Crowded, "on a batch of two images"),
    (pretext.steps_make_the_loss_smaller, Uphill, "steps of Adam took its loss"),
    (pretext.both_precisions_agree, Single, "float32 in float64"),
    (pretext.both_precisions_agree, Coarse, "in float32 and"),
    (tasks.tasks_have_the_asked_shape, Greedy, "support_x is"),
    (tasks.tasks_have_the_asked_shape, Bright, "query_x reaches"),
    (tasks.tasks_have_the_asked_shape, FixedWays, "ways is 3"),
    (tasks.tasks_have_the_asked_shape, Hidden, "says that it uses no labels"),
    (tasks.labels_are_in_order, ClassFirst, "support_y is"),
    (tasks.tasks_follow_from_the_generator, Stuck, "one and the same task"),
    (tasks.tasks_follow_from_the_generator, NumpyTasks, "numpy's or Python's global"),
    (tasks.the_source_is_left_as_it_is, Erasing, "writes into the examples"),
    (tasks.support_and_queries_are_different_examples, Repeating, "is twice in one task"),
    (tasks.support_and_queries_are_different_examples, Mixed, "stands for several classes"),
    (tasks.labels_say_nothing_of_classes, Sorted, "always in the order"),
    (meta.adaptation_starts_where_it_is_told, Eager, "is not the parameters it was given"),
    (meta.adaptation_starts_where_it_is_told, Empty, "yields nothing"),
    (meta.adaptation_is_pure, InPlace, "writes into what it was given: encoder"),
    (meta.adaptation_is_pure, Partial, "of other names or shapes"),
    (meta.adaptation_is_pure, Exploding, "that are not finite"),
    (meta.predictions_repeat, Noisy, "differs between two runs"),
    (meta.scores_have_their_shape, Turned, r"scores are \[3, 9\]"),
    (meta.scores_have_their_shape, Infinite, "scores are not finite"),
    (meta.query_labels_are_not_read, Peeking, "reads the labels of the queries"),
    (meta.the_order_of_queries_says_nothing, ByPlace, "depend on its place"),
    (meta.other_queries_are_ignored, Transductive, "other queries are removed or altered"),
    (meta.the_encoder_is_frozen_as_claimed, Frozen, "but fails on features"),
    (meta.the_encoder_is_frozen_as_claimed, Rescaled, "lead to other predictions"),
    (meta.labels_are_only_names, Forgetful, "after 0 steps its accuracy"),
    (meta.tests_can_be_batched, Masking, "fails under torch.func.vmap"),
    (metatrain.the_direction_has_every_parameter, Missing, "its direction is missing"),
    (metatrain.the_direction_has_every_parameter, Zero, "its direction is zero"),
    (metatrain.the_direction_has_every_parameter, Summed, "its loss is"),
    (metatrain.training_writes_into_nothing, Shrinking, "writes into what it was given"),
    (metatrain.the_direction_repeats, Rolling, "numpy's or Python's global"),
    (metatrain.the_head_follows_from_the_seed, EntropicMaml, "differs between two runs"),
    (metatrain.the_direction_is_the_gradient, Doubled, "finite differences of its loss"),
    (metatrain.the_direction_is_the_gradient, FirstOrder, "finite differences of its loss"),
    (metatrain.descending_makes_the_loss_smaller, Ascending, "steps of its own optimizer"),
    (metatrain.examples_are_counted, Thrifty, "examples_per_task says 9, but"),
    (metatrain.tasks_can_be_batched, Itemised, "fails under torch.func.vmap"),
    (metatrain.tasks_can_be_batched, Leaking, "give different directions"),
]
