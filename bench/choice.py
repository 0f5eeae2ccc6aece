"""A value of an axis as a suite asks for it, with the place where it stands."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.cell import Json
from bench.strict_yaml import Places, Route
from bench.suite_values import ROLES

Values = Mapping[str, Json]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One value of an axis: a plug-in's name and the parameters beside it.

    An auxiliary loss has the name of its pretext, and as parameters ``weight`` and ``pretext``
    (a mapping of name and parameters); none has no parameters.
    """

    name: str
    params: Mapping[str, Json]
    where: str = field(compare=False)


def choice_of(axis: str, value: Values, where: str) -> Choice:
    """Return the one choice that the checked value of an axis is."""
    if axis == "auxiliary":
        name = value["pretext"]["name"]
        loss = {"weight": value.get("weight", 1.0), "pretext": value["pretext"]}
        return Choice(name=name, params={} if name == "none" else loss, where=where)
    params = {key: param for key, param in value.items() if key != "name"}
    return Choice(name=value["name"], params=params, where=where)


def choices_of(axis: str, value: Values, route: Route, places: Places) -> dict[str, Choice]:
    """Return the choices that a value comes to, by axis.

    Those of data are ``data``, which is trained on, and, where a role names another set,
    ``data.pretrain`` and ``data.test``.
    """
    if axis != "data" or "name" in value:
        return {axis: choice_of(axis, value, places.where(*route))}
    return {
        of: choice_of("data", value[role], places.where(*route, role))
        for of, role in ROLES.items()
        if role in value
    }
