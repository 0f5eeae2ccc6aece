"""The auxiliary axis: a pretext's loss beside that of meta-training, as suites and keys have it.

Gidaris et al. (2019), arXiv:1906.05186, equation 4: L_few(theta, phi) + a L_self(theta, psi), on
the examples of the same step; Su et al. (2020), arXiv:1910.03560, likewise, with weights 1 - a and
a. The encoder theta is one, the heads phi and psi are two.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench.catalogue import build, card, resolved
from bench.cell import Json
from bench.errors import UserError
from bench.space import Reals, Space
from bench.suite import Choice

if TYPE_CHECKING:
    from bench.contract import AbstractMeta, AbstractPlugin

REFERENCE = "arXiv:1906.05186"
OF_THE_STEP = {  # what a pretext has beside its loss, and whose it is here
    "batch_size": "its examples are those of the step's tasks",
    "rate": "the meta-algorithm's optimizer takes the step",
}
SPACE: Mapping[str, Space] = {  # what tuning may change: the pretext's rate has no meaning here
    "weight": Reals(low=0.1, high=10.0, log=True),  # a tenth to ten times that of Gidaris et al., 1
}


def build_auxiliary(choice: Choice) -> "AbstractPlugin":
    """Make the pretext of an auxiliary loss.

    Raises:
        UserError: no such pretext or parameter, or one that has no meaning here.
    """
    params = {key: value for key, value in choice.params["pretext"].items() if key != "name"}
    for name, reason in OF_THE_STEP.items():
        if name in params:
            found = f"an auxiliary {choice.name} has no {name}: {reason}"
            raise UserError(choice.where, found, f"Remove {name}.")
    made = build("pretext", choice.name, params, choice.where)
    if getattr(made, "validates", None):
        found = f"an auxiliary {choice.name} that learns from validation episodes"
        raise UserError(choice.where, found, "Use a pretext that trains on its examples alone.")
    return made


def unusable(name: str, meta_name: str, meta: "AbstractMeta") -> str | None:
    """Say why a meta-algorithm can do nothing with an auxiliary loss, if so."""
    from bench.contract import AbstractMetaTrained

    if not isinstance(meta, AbstractMetaTrained):
        return f"{meta_name} trains over no tasks, so the auxiliary {name} would not be used"
    if not meta.descends_loss:
        return f"{meta_name} descends no loss that the auxiliary {name} could be added to"
    return None


def described(name: str, pretext: "AbstractPlugin", weight: float) -> dict[str, Json]:
    """Describe an auxiliary loss as keys hold it, without what has no meaning here."""
    whole = resolved("pretext", name, pretext)
    params = {key: value for key, value in whole["params"].items() if key not in OF_THE_STEP}
    return {"name": name, "params": {"weight": weight, "pretext": whole | {"params": params}}}


def parameters_of(described: Mapping[str, Json]) -> dict[str, Json]:
    """Return every parameter by its dotted name: ``weight``, ``pretext.temperature``."""
    weight, pretext = described["params"]["weight"], described["params"]["pretext"]
    own = {f"pretext.{key}": value for key, value in pretext["params"].items()}
    return {"weight": weight} | own


def card_of(name: str, pretext: "AbstractPlugin", described: Mapping[str, Json]) -> dict[str, Json]:
    """Describe an auxiliary loss for the report; its source is the pretext's, and that of the sum.

    ``described`` is what keys hold of it.
    """
    whole = card("pretext", name, pretext)
    sources = f"{whole['reference']}, {REFERENCE}"
    return whole | {"reference": sources, "params": parameters_of(described)}
