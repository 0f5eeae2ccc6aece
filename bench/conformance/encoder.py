"""What every encoder is: a vector for each example, that the engine may normalise as it likes."""

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn.modules.batchnorm import _BatchNorm

from bench.conformance.subject import Fault, Subject, Unchanged, close, require, require_repeats
from bench.conformance.world import CPU, inputs, setting_for
from bench.contract import AbstractEncoder
from bench.stages.network import Network, Statistics, build_encoder
from bench.stages.place import precision

NORMS = "Write batch normalisation as nn.BatchNorm1d or 2d: the engine picks its statistics."
SLACK = 1e-9


class _Built:
    """An encoder as the engine has it, in float64."""

    def __init__(self, subject: Subject, *, channels_last: bool = False) -> None:
        assert isinstance(subject.plugin, AbstractEncoder)
        self.form = setting_for(subject.plugin, "running").form
        self.body = build_encoder(subject.plugin, self.form, "conformance")
        self._network = Network(
            self.body, nn.Identity(), channels_last=channels_last, grouped=False
        )
        self.params, self._buffers = self._network.tensors(CPU)

    def __call__(self, x: Tensor, statistics: Statistics = "stored") -> Tensor:
        buffers = {name: value.clone() for name, value in self._buffers.items()}
        return self._network.encode(self.params, buffers, x, statistics)


def features_are_vectors(subject: Subject) -> None:
    """Examples [B, *shape] become features [B, D], with one D for every B."""
    with precision(torch.float64):
        built = _Built(subject)
        shapes = [tuple(built(inputs(built.form, count)).shape) for count in (1, 2, 5)]
    require(
        all(len(shape) == 2 for shape in shapes)
        and [shape[0] for shape in shapes] == [1, 2, 5]
        and len({shape[1] for shape in shapes}) == 1,
        f"1, 2 and 5 examples become {', '.join(str(list(shape)) for shape in shapes)}",
        "Return [B, D]: end with nn.Flatten() or a mean over positions.",
    )


def every_weight_has_a_gradient(subject: Subject) -> None:
    """Every parameter gets a finite gradient from the features, and some are not zero."""
    with precision(torch.float64):
        built = _Built(subject)
        if not built.params:
            return
        built.params = {name: value.requires_grad_() for name, value in built.params.items()}
        features = built(inputs(built.form, 4), "batch")
        weights = torch.linspace(-1, 1, features.numel()).view_as(features)
        try:
            found = torch.autograd.grad((features * weights).sum(), list(built.params.values()))
        except RuntimeError as error:
            mend = "Use every parameter, and no .detach(), .item() or numpy on the way."
            raise Fault(
                f"its features are no function of every parameter ({error})", mend
            ) from error
    require(
        all(gradient.isfinite().all() for gradient in found)
        and any(gradient.any() for gradient in found),
        "the gradient of its features is zero or not finite",
        "Look for a saturated or undefined operation: sqrt or log at zero, 0 / 0.",
    )


def the_input_is_left_as_it_is(subject: Subject) -> None:
    """It does not write into the examples."""
    with precision(torch.float64):
        built = _Built(subject)
        x = inputs(built.form, 3)
        unchanged = Unchanged(x=x)
        built(x)
    unchanged.require("its module")


def weights_follow_from_the_seed(subject: Subject) -> None:
    """Its first weights come from torch's default generator, which the engine seeds."""
    assert isinstance(subject.plugin, AbstractEncoder)
    encoder, form = subject.plugin, setting_for(subject.plugin, "running").form
    require_repeats(lambda: list(encoder.module(form).state_dict().values()), "building a module")


def norms_are_the_engines(subject: Subject) -> None:
    """Under stored statistics an example's features do not depend on the rest of its batch."""
    with precision(torch.float64):
        built = _Built(subject)
        stray = [
            type(module).__name__
            for module in built.body.modules()
            if isinstance(module, _BatchNorm | nn.modules.instancenorm._InstanceNorm)
            and getattr(module, "track_running_stats", False)
        ]
        x = inputs(built.form, 4)
        alone, among = built(x[:1]), built(x)[:1]
    require(not stray, f"it holds {', '.join(stray)} with running statistics", NORMS)
    require(
        close(alone, among, SLACK),
        "an example's features depend on the other examples of its batch",
        NORMS,
    )


def modes_do_not_matter(subject: Subject) -> None:
    """Training and evaluation mode give the same features: only batch norm may differ."""
    with precision(torch.float64):
        built = _Built(subject)
        x = inputs(built.form, 3)
        training = built(x)
        built.body.eval()
        evaluation = built(x)
    require(
        close(training, evaluation, SLACK),
        "its features differ between training and evaluation mode",
        "The engine switches no modes: leave out dropout and what else looks at self.training.",
    )


def memory_formats_do_not_matter(subject: Subject) -> None:
    """Examples stored channels last, which are faster on a CPU, give the same features."""
    with precision(torch.float64):
        plain, fast = _Built(subject), _Built(subject, channels_last=True)
        x = inputs(plain.form, 3)
        try:
            same = close(plain(x, "batch"), fast(x, "batch"), SLACK)
        except RuntimeError as error:
            mend = "Use .flatten or .reshape where .view needs one memory format."
            raise Fault(f"it fails on examples stored channels last: {error}", mend) from error
    require(
        same,
        "examples stored channels last give other features",
        "Index by dimension, never by stride or storage.",
    )


def it_can_be_batched_over_tasks(subject: Subject) -> None:
    """Under torch.func.vmap, by which a GPU runs several tasks, features stay the same."""
    with precision(torch.float64):
        built = _Built(subject)
        x = inputs(built.form, 8).view(2, 4, *built.form.shape)
        try:
            together = vmap(lambda one: built(one, "batch"))(x)
        except RuntimeError as error:
            mend = "Avoid .item(), in-place operations on inputs, and branches on values."
            raise Fault(f"it fails under torch.func.vmap: {str(error)[:160]}", mend) from error
        apart = torch.stack([built(one, "batch") for one in x])
    require(
        close(together, apart, SLACK),
        "under torch.func.vmap it gives other features",
        "Treat the first dimension as the batch and nothing else.",
    )
