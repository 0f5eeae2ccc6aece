"""What every augmentation keeps."""

import torch

from bench.conformance.subject import Subject, Unchanged, require, require_repeats
from bench.conformance.world import CPU, inputs, kind_of, setting_for
from bench.contract import AbstractAugment, Form
from bench.stages.place import precision
from bench.stages.streams import generator

COUNT = 6
DTYPES = (torch.float32, torch.float64)


def _views(subject: Subject, x: torch.Tensor, seed: int = 0) -> torch.Tensor:
    assert isinstance(subject.plugin, AbstractAugment)
    return subject.plugin(x, generator(CPU, "conformance", "augment", seed))


def _form(subject: Subject) -> Form:
    return setting_for(subject.plugin, "running").form


def _examples(subject: Subject, count: int = COUNT) -> torch.Tensor:
    return inputs(_form(subject), count)


def views_are_like_their_examples(subject: Subject) -> None:
    """A view has the shape and the type of its example, and could be one itself."""
    for dtype in DTYPES:
        with precision(dtype):
            x = _examples(subject)
        views = _views(subject, x)
        require(
            (views.shape, views.dtype) == (x.shape, x.dtype),
            f"from {list(x.shape)} {x.dtype} it makes {list(views.shape)} {views.dtype}",
            "Return views of the shape and type of the batch; cast draws with .to(x.dtype).",
        )
        form = _form(subject)
        reason = kind_of(form.modality).allows(views, form)
        require(
            reason is None,
            f"its views are no {form.modality} data: {reason}",
            "Keep views what examples are: of images, end with .clamp(0, 1).",
        )


def examples_are_left_as_they_are(subject: Subject) -> None:
    """It makes new views and writes into nothing."""
    x = _examples(subject)
    unchanged = Unchanged(x=x)
    _views(subject, x)
    unchanged.require("it")


def draws_come_from_the_generator(subject: Subject) -> None:
    """Its views follow from the generator that it is handed, and from nothing else."""
    x = _examples(subject)
    require_repeats(lambda: [_views(subject, x)], "a batch of views")


def each_example_has_its_own_draws(subject: Subject) -> None:
    """Copies of one example become different views, unless it changes nothing at all."""
    with precision(torch.float64):
        x = _examples(subject, 1).expand(16, *[-1] * (_examples(subject, 1).dim() - 1)).contiguous()
        views = _views(subject, x)
    different = len({view.numpy().tobytes() for view in views})
    require(
        different > 8 or torch.equal(views, x),
        f"16 copies of one example became {different} different views",
        "Draw for each example of the batch: torch.rand(len(x), ..., generator=rng).",
    )
