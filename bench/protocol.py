"""How rows are tested where that is not on episodes: along a stream, or by control."""

from collections.abc import Mapping

from bench.cell import Json
from bench.errors import UserError
from bench.strict_yaml import Places, Route
from bench.suite_values import Protocol, Scenario

OWN: Mapping[str, tuple[str, ...]] = {
    "continual": ("groups", "scenario", "domains"),
    "control": ("planner",),
}
"""The keys of ``evaluate`` that a protocol has for itself."""
SHARED = ("rates", "rate_tasks")  # by both protocols, and by new tasks
PLANNER: Mapping[str, int] = {
    "horizon": 15,  # PETS looks 25 steps ahead, Chua et al. (2018); a pendulum swings in 15
    "population": 64,
    "elites": 8,
    "iterations": 3,  # warm from the step before; PETS takes 5
    "real_steps": 100,
}
"""Of the cross-entropy method: steps ahead, plans that are tried, those that the next ones are
drawn around, rounds of that; and the steps that are taken in the true environment."""
NORM = "group"  # batch statistics would be those of which group?
GROUPS, RATE_TASKS = 5, 10


def read_protocol(asked: Mapping[str, Json], places: Places) -> Protocol | None:
    """Return the protocol that a suite's ``evaluate`` names; None without one.

    Raises:
        UserError: keys of another protocol, or such as do not go together.
    """
    own = asked.get("evaluate", {})
    name = own.get("protocol")
    _refuse_others(own, name, "held_out" in asked, places)
    if name is None:
        return None
    for key in ("held_out", "tune"):
        if key in asked:
            found = f"{key} beside protocol {name}, where every start takes the same steps"
            raise UserError(places.where(key), found, "Write two suites.")
    if name == "control":
        return Protocol(name=name, planner=_planner(own.get("planner", {}), places))
    return _stream(own, places)


def _planner(asked: Mapping[str, int], places: Places) -> Mapping[str, int]:
    planner = {**PLANNER, **asked}
    elites, population = planner["elites"], planner["population"]
    if elites > population:
        found = f"{elites} elites of {population} plans"
        raise UserError(places.where("evaluate", "planner"), found, "Take fewer, or more plans.")
    return planner


def suited(
    protocol: Protocol | None, asked: Mapping[str, tuple[Json, Route]], places: Places
) -> Mapping[str, tuple[Json, Route]]:
    """Return what a combination asks for, with what its protocol decides.

    Raises:
        UserError: a strategy where there is no stream, or a norm that a protocol cannot have.
    """
    name = protocol.name if protocol else None
    if name != "continual" and "strategy" in asked:
        found, works = "a strategy without a stream", "Write evaluate: {protocol: continual, ...}."
        raise UserError(places.where(*asked["strategy"][1]), found, works)
    if name is None:
        return asked
    norm, route = asked.get("norm", (NORM, ()))
    if norm != NORM:
        found = f"norm {norm} beside protocol {name}, whose batches change as it goes"
        raise UserError(places.where(*route), found, f"Leave it out: it is {NORM}.")
    decided: dict[str, tuple[Json, Route]] = {"norm": (NORM, ())}
    if name == "control":
        if "ways" in asked:
            works = "Leave it out: a task is of one environment."
            raise UserError(places.where(*asked["ways"][1]), "ways beside protocol control", works)
        decided["ways"] = (1, ())
    if name == "continual" and "strategy" not in asked:
        decided["strategy"] = ({"name": "naive"}, ())
    return {**asked, **decided}


def _refuse_others(
    own: Mapping[str, Json], name: str | None, held_out: bool, places: Places
) -> None:
    known = (*(OWN[name] if name else ()), *(SHARED if held_out or name else ()))
    for key in (*SHARED, *(one for keys in OWN.values() for one in keys)):
        if key not in own or key in known:
            continue
        where = places.where("evaluate", key)
        if key in SHARED:
            works = "Write one of them, or leave it out: methods have rates of their own."
            raise UserError(where, f"{key} without held_out or a protocol", works)
        of = next(one for one, keys in OWN.items() if key in keys)
        raise UserError(
            where, f"{key} without protocol: {of}", "Write it as well, or leave it out."
        )


def _stream(own: Mapping[str, Json], places: Places) -> Protocol:
    scenario: Scenario = own.get("scenario", "class")
    if scenario != "domain":
        if "domains" in own:
            works = "Write scenario: domain as well, or leave it out."
            raise UserError(places.where("evaluate", "domains"), f"scenario {scenario}", works)
        groups = own.get("groups", GROUPS)
        return Protocol(name="continual", groups=groups, scenario=scenario)
    if "domains" not in own:
        works = "Write domains: and a pretext that shows every example as each of its classes."
        raise UserError(places.where("evaluate", "scenario"), "domain without domains", works)
    if "groups" in own:
        works = "Leave it out: there are as many as the pretext has classes."
        raise UserError(places.where("evaluate", "groups"), "groups beside domains", works)
    where = places.where("evaluate", "domains")
    return Protocol(name="continual", scenario=scenario, domains=own["domains"], where=where)
