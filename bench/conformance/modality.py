"""What every kind of data is: examples that can be told apart, altered, compared and shown.

Shapes: N stored examples.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from bench.conformance.subject import Subject, require, require_repeats
from bench.conformance.world import CPU
from bench.contract import AbstractModality, Form
from bench.stages.place import precision
from bench.stages.streams import generator

COUNT = 6
PNG = b"\x89PNG"


def _forms(subject: Subject) -> Iterator[tuple[AbstractModality, Form]]:
    assert isinstance(subject.plugin, AbstractModality)
    return ((subject.plugin, form) for form in subject.plugin.forms)


def _made(modality: AbstractModality, form: Form) -> torch.Tensor:
    return modality.made(form, COUNT, generator(CPU, "conformance", "modality"))


def _listed(modality: AbstractModality, form: Form) -> list[torch.Tensor]:
    return [_made(modality, form)]


def _stored(modality: AbstractModality, form: Form) -> np.ndarray:
    """Return made-up examples as a data source would store them."""
    made = _made(modality, form).numpy()
    levels = (made * 255).round() if modality.stored == "uint8" else made
    return levels.astype(modality.stored)


def its_forms_are_its_own(subject: Subject) -> None:
    """It names at least one form, of its own name, for others to be tried on."""
    names = {form.modality for _, form in _forms(subject)}
    require(
        names == {subject.name},
        f"its forms are of {', '.join(sorted(names)) or 'nothing'}",
        f"Give forms: a tuple of Form(shape=..., modality={subject.name!r}).",
    )


def made_up_examples_are_valid(subject: Subject) -> None:
    """What it makes up has the form that was asked for, differs, repeats, and could be real."""
    for modality, form in _forms(subject):
        for dtype in (torch.float32, torch.float64):
            with precision(dtype):
                (x,) = require_repeats(partial(_listed, modality, form), "made()")
            kind = dtype if x.is_floating_point() else torch.int64
            require(
                x.shape == (COUNT, *form.shape) and x.dtype == kind,
                f"it makes {x.dtype} {list(x.shape)} of {form}",
                "Return [count, *form.shape], floats in torch's default precision, or int64.",
            )
            reason = modality.allows(x, form)
            require(
                reason is None and len(torch.unique(x, dim=0)) == COUNT,
                f"what it makes could not be real, or is twice the same: {reason}",
                "Let made() return different examples that allows() lets through.",
            )


def stored_examples_are_read(subject: Subject) -> None:
    """Stored examples become what encoders see, in torch's precision, each valid."""
    for modality, form in _forms(subject):
        stored = torch.from_numpy(_stored(modality, form))
        for dtype in (torch.float32, torch.float64):
            with precision(dtype):
                x, made = modality.inputs(stored), _made(modality, form)
            reason = modality.allows(x, form)
            require(
                (x.shape, x.dtype) == (made.shape, made.dtype) and reason is None,
                f"stored {stored.dtype} {list(stored.shape)} becomes {x.dtype} {list(x.shape)}:"
                f" {reason}",
                "Let inputs() return the type and shape that made() has.",
            )
            close = not made.is_floating_point() or torch.allclose(x, made, atol=0.01, rtol=0)
            require(close, "stored values come back as others", "Let inputs() undo the storing.")


def altered_examples_are_others(subject: Subject) -> None:
    """Altered examples could be real, and none is what it was."""
    for modality, form in _forms(subject):
        x = _made(modality, form)
        other = modality.altered(x, form)
        reason = modality.allows(other, form) if other.shape == x.shape else "of another shape"
        same = other.shape == x.shape and bool((other == x).flatten(1).all(1).any())
        require(
            reason is None and not same,
            f"what it alters is {'the same as before' if same else reason}",
            "Return for each example another one of its form: the audit shows it in its place.",
        )


def equal_examples_look_alike(subject: Subject) -> None:
    """Equal examples have one hash and no distance; others have some, and are not blank."""
    for modality, form in _forms(subject):
        stored = _stored(modality, form)
        looks = modality.looks(np.concatenate([stored, stored]))
        if looks is not None:
            require(
                looks.dtype == np.uint64
                and looks.shape == (2 * COUNT,)
                and (looks[:COUNT] == looks[COUNT:]).all(),
                f"its hashes are {looks.dtype} {list(looks.shape)}, or differ for equal examples",
                "Return one uint64 for each example, a function of that example alone.",
            )
        away = modality.apart(stored[0], stored)
        require(
            away.shape == (COUNT,) and away[0] == 0 and (away[1:] > 0).all(),
            f"from the first example it finds the distances {away.tolist()}",
            "Return the distance of each from one: 0 for equal ones alone.",
        )
        require(
            not modality.blank(stored).any(),
            "it calls an example blank that differs from place to place",
            "Let blank() find examples that show nothing.",
        )


def examples_can_be_shown(subject: Subject) -> None:
    """Examples side by side become one PNG of at most 100 kB."""
    for modality, form in _forms(subject):
        shown = modality.sheet(list(_stored(modality, form)[:2]), form)
        require(
            shown[:4] == PNG and len(shown) <= 100_000,
            f"its sheet begins with {shown[:4]!r} and has {len(shown)} bytes",
            "Return the bytes of a small PNG.",
        )
