"""Where numbers are predicted of examples, and no classes told apart: what makes no sense there.

Plug-ins decline for themselves, by ``Setting.values``; here is what belongs to no plug-in alone.
"""

from typing import TYPE_CHECKING

from bench.catalogue import load_class
from bench.variant import Variant

if TYPE_CHECKING:
    from bench.contract import Form

OF_CLASSES = ("label_val", "pseudo_val")  # rules whose episodes are of classes, or of clusters


def predicted(form: "Form") -> bool:
    """Say whether what is predicted of such examples are numbers."""
    from bench.contract import AbstractModality

    made = load_class("modality", form.modality)
    assert issubclass(made, AbstractModality)
    return made.values


def senseless(variant: Variant) -> str | None:
    """Say what of a row needs classes to tell apart, where numbers are predicted."""
    form = variant.facts.form
    if not predicted(form):
        return None
    numbers = f"of {form.modality}s numbers are predicted"
    if variant.selection.name in OF_CLASSES:
        return f"{variant.selection.name} tests on episodes of classes, {numbers}"
    if variant.tuned_on in OF_CLASSES:
        return f"{variant.tuned_on} tunes on episodes of classes, {numbers}"
    if "auxiliary" in variant.plugins:
        auxiliary = variant.names["auxiliary"]
        return f"the auxiliary {auxiliary} sees what tasks show, which hides what is predicted"
    if "pretrain" in variant.phases and variant.validates:
        return f"{variant.names[variant.objective]} learns from episodes of classes, {numbers}"
    return None
