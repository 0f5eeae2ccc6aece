"""What a data source has to return: splits of classes, and examples of one form."""

from typing import TYPE_CHECKING

import numpy as np

from bench.errors import UserError
from bench.form import Form

if TYPE_CHECKING:
    from bench.contract import Examples

SPLITS = ("train", "val", "test")
TYPES = (np.dtype("uint8"), np.dtype("float32"), np.dtype("int32"))  # of stored examples


def checked(name: str, modality: str, examples: "Examples", *, unlabelled: bool = False) -> Form:
    """Return the form of a set's examples, when set and examples are sound.

    A set that is ``unlabelled`` has a training split alone, and one class in it.

    Raises:
        UserError: splits or examples that break the contract.
    """
    if unlabelled:
        _check_unlabelled(name, examples)
    else:
        _check_splits(name, examples)
    return _form(name, modality, examples)


def _check_unlabelled(name: str, examples: "Examples") -> None:
    """Refuse a split beside train, and classes that pre-training could not be told of anyway."""
    classes = tuple(examples.arrays)
    if len(classes) != 1 or dict(examples.splits) != {"train": classes}:
        sizes = {split: len(names) for split, names in examples.splits.items()}
        found = f"classes in each split: {sizes}"
        raise UserError(f"data {name}", found, "An unlabelled set has one class, in train.")


def _check_splits(name: str, examples: "Examples") -> None:
    """Refuse splits that are missing, empty, overlapping, or not about the classes read."""
    splits = examples.splits
    if set(splits) != set(SPLITS) or not all(splits.values()):
        sizes = {split: len(names) for split, names in splits.items()}
        raise UserError(
            f"data {name}", f"classes in each split: {sizes}", "train, val, test need some each."
        )
    placed: dict[str, str] = {}
    for split, names in splits.items():
        for key in names:
            if key in placed:
                found = f"class {key!r} is in {placed[key]} and in {split}"
                raise UserError(f"data {name}", found, "Splits share no class, and list each once.")
            placed[key] = split
    for key in sorted(set(placed) ^ set(examples.arrays)):
        found = "has no examples" if key in placed else "is in no split"
        raise UserError(f"data {name}", f"class {key!r} {found}", "Each class needs both.")


def _form(name: str, modality: str, examples: "Examples") -> Form:
    """Return the form that all examples share.

    Refuses classes that are empty, of a type that nothing is stored in or of another than the
    rest, values that are not finite, and ids that stand for nothing.
    """
    first = next(iter(examples.arrays.values()))
    vocabulary = examples.vocabulary
    for key, array in examples.arrays.items():
        found = f"class {key!r} is {array.dtype} {list(array.shape)}"
        alike = array.dtype == first.dtype and array.shape[1:] == first.shape[1:]
        if array.dtype not in TYPES or not alike or array.ndim < 2 or not len(array):
            sizes = ", ".join(map(str, first.shape[1:]))
            works = f"All classes are of one type, {' or '.join(map(str, TYPES))}"
            raise UserError(f"data {name}", found, f"{works}: [examples, {sizes}].")
        if array.dtype == np.float32 and not np.isfinite(array).all():
            found = f"class {key!r} holds values that are not finite"
            raise UserError(f"data {name}", found, "Fill them in, or leave such examples out.")
        if array.dtype == np.int32 and not (array.min() >= 0 and array.max() < len(vocabulary)):
            found = f"class {key!r} holds ids from {array.min()} to {array.max()}"
            works = f"The vocabulary has the ids from 0 to {len(vocabulary) - 1}."
            raise UserError(f"data {name}", found, works)
    return Form(shape=tuple(first.shape[1:]), modality=modality, vocabulary=vocabulary)
