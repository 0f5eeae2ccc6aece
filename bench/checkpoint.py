"""Training that starts from a file: whether its weights fit, and which labels went into them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cell import Labels, Norm
from bench.errors import UserError
from bench.form import vocabulary_digest
from bench.suite import Choice
from bench.weights import Weights, keep

if TYPE_CHECKING:
    from bench.contract import AbstractEncoder
    from bench.dataset import Facts


def opened(init: Choice, encoder: "AbstractEncoder", facts: "Facts", norm: Norm) -> Weights:
    """Open the file that ``init: {checkpoint: ...}`` names, and see that it fits the encoder.

    Raises:
        UserError: it cannot be read, is another file, or holds the weights of another network.
    """
    found = keep(Path(init.params["checkpoint"]), init.params["sha256"], init.where)
    unfit = _unfit(found, _tensors_of(encoder, facts, norm), norm) or _unread(found, facts)
    if unfit:
        raise UserError(
            init.where,
            f"{init.params['checkpoint']}: {unfit}",
            "Name the encoder, the norm and the data that the weights were made with.",
        )
    return found


def _unfit(found: Weights, wanted: Mapping[str, Sequence[int]], norm: Norm) -> str | None:
    """Say why weights are not those of an encoder under a norm, if they are not."""
    if not wanted:
        return "the encoder has no weights to take from a file"
    for name, shape in wanted.items():
        if found.shapes.get(name) != shape:
            held = list(found.shapes[name]) if name in found.shapes else "not in the file"
            return f"{name} is {held}, the encoder's is {list(shape)}"
    if norm == "group" and any(name.endswith("running_mean") for name in found.shapes):
        return "it holds running statistics, which an encoder under norm: group has not"
    return None


def _unread(found: Weights, facts: "Facts") -> str | None:
    """Say why the weights read other tokens than those of a set, if they do."""
    wanted, noted = vocabulary_digest(facts.form), found.note.get("vocabulary")
    if wanted is None or wanted == noted:
        return None
    held = "notes no vocabulary" if noted is None else "is of another vocabulary"
    return f"it {held}, and ids of tokens would stand for others"


def _tensors_of(encoder: "AbstractEncoder", facts: "Facts", norm: Norm) -> dict[str, Sequence[int]]:
    """Return the shapes of an encoder's tensors by name; group norm keeps no running statistics."""
    import torch

    with torch.device("meta"):
        tensors = encoder.module(facts.form).state_dict()
    left_out = (
        "num_batches_tracked",
        *(("running_mean", "running_var") if norm == "group" else ()),
    )
    named = {f"encoder.{name}": tuple(value.shape) for name, value in tensors.items()}
    return {name: shape for name, shape in named.items() if not name.endswith(left_out)}


def noted_labels(found: Weights, init: Choice) -> list[Labels]:
    """Return the labels that went into weights: by the file's note, and as the suite says.

    Raises:
        UserError: neither says any.
    """
    said = [one for one in (found.note.get("labels"), init.params.get("labels")) if one]
    if not said:
        raise UserError(
            init.where,
            f"{init.params['checkpoint']} does not note which labels its training saw",
            "Write labels: none, validation or train beside sha256.",
        )
    return said
