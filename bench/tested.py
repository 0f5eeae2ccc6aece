"""What the test of a row is made of where it is no test on episodes: its stage, and who is told."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.catalogue import build, parameters, resolved
from bench.cell import Json
from bench.errors import UserError
from bench.suite import Evaluate, Protocol, Suite
from bench.variant import Variant

if TYPE_CHECKING:
    from bench.contract import AbstractClassifying, AbstractStrategy

READOUTS = (0, 1, 3, 5, 10, 20, 50, 100)  # test-time steps after which accuracy is read
REVISIONS = {"continual": 1, "control": 1}  # of a protocol's own code; raised as a stage kind's
NO_PRETEXT = "its strategy goes on with the row's own pretext, and it has none"
NO_LESSON = "its strategy goes on with the row's own pretext, which needs a validation split"
SEARCHED = "its strategy goes on with the row's own pretext, which is a search among several"


def strategy_of(variant: Variant) -> "AbstractStrategy":
    """Return how a row learns a stream; only of such as do."""
    from bench.contract import AbstractStrategy

    strategy = variant.plugins["strategy"]
    assert isinstance(strategy, AbstractStrategy)
    return strategy


def declined(variant: Variant) -> str | None:
    """Say why a row's strategy cannot be followed from its start."""
    from bench.contract import AbstractPretext

    if "strategy" not in variant.plugins or not strategy_of(variant).pretext_steps:
        return None
    if "pretext" not in variant.plugins or variant.init != "pretext":
        return NO_PRETEXT
    pretext = variant.plugins["pretext"]
    if not isinstance(pretext, AbstractPretext):
        return SEARCHED
    return NO_LESSON if pretext.validates else None


def told(variant: Variant, evaluate: Evaluate) -> Variant:
    """Note that a row's rate is chosen by the classes of validation streams, where it is."""
    if "strategy" not in variant.plugins or variant.labels != "none":
        return variant
    return replace(variant, labels="validation") if chosen(variant, evaluate) else variant


def chosen(variant: Variant, evaluate: Evaluate) -> bool:
    """Whether the rate of a row's steps is one of several, chosen on the validation split."""
    takes_steps = "strategy" not in variant.plugins or strategy_of(variant).rated
    return takes_steps and len(evaluate.rates) > 1


def warnings(variants: Sequence[Variant], shots: int) -> list[str]:
    """Say which rows would keep more than they are shown, at no more than so many shots."""
    return [
        f"{one.label} keeps {kept} examples of each class, and is shown {shots}"
        for one in variants
        if "strategy" in one.plugins and (kept := strategy_of(one).kept) > shots
    ]


def groups_of(protocol: Protocol) -> int:
    """Return how many groups, or domains, a stream brings."""
    shown = domains_of(protocol)
    return shown.num_classes if shown else protocol.groups


def domains_of(protocol: Protocol) -> "AbstractClassifying | None":
    """Return the pretext that shows every example in each domain; None where there are none.

    Raises:
        UserError: there is no such pretext, or it shows nothing.
    """
    from bench.contract import AbstractClassifying

    if protocol.domains is None:
        return None
    params = dict(protocol.domains)
    name, where = params.pop("name"), protocol.where
    made = build("pretext", name, params, where)
    if not isinstance(made, AbstractClassifying):
        works = "Name one that does, such as rotation."
        raise UserError(where, f"{name} has no classes that an example could be shown as", works)
    return made


def readouts_of(evaluate: Evaluate) -> list[int]:
    """Return where a curve is read: after steps, the last of which is the headline, or groups."""
    protocol = evaluate.protocol
    if protocol and protocol.name == "continual":
        return list(range(1, groups_of(protocol) + 1))
    return readouts(evaluate.test_steps)


def readouts(test_steps: int) -> list[int]:
    """Return the steps at which accuracy is read; the last is the headline."""
    return [step for step in READOUTS if step < test_steps] + [test_steps]


def inputs_of(variant: Variant, evaluate: Evaluate) -> dict[str, Json]:
    """Describe the test of a row: what its stage is told beside data, encoder, sizes and seed."""
    protocol = evaluate.protocol
    assert protocol is not None
    inputs: dict[str, Json] = {
        "revision": REVISIONS[protocol.name],
        "protocol": protocol.name,
        "rates": sorted(evaluate.rates),
    }
    if chosen(variant, evaluate):
        inputs |= {
            "rate_tasks": evaluate.rate_tasks,
            "rate_data": variant.trained.split("val"),
        }
    own = _stream if protocol.name == "continual" else _control
    return inputs | own(variant, evaluate, protocol)


def _control(variant: Variant, evaluate: Evaluate, protocol: Protocol) -> dict[str, Json]:
    family = parameters(variant.tested.source)["family"]
    steps = readouts(evaluate.test_steps)
    return {"planner": dict(protocol.planner), "family": family, "readouts": steps}


def _stream(variant: Variant, evaluate: Evaluate, protocol: Protocol) -> dict[str, Json]:
    strategy, shown = strategy_of(variant), domains_of(protocol)
    inputs: dict[str, Json] = {
        "strategy": variant.described("strategy"),
        "scenario": protocol.scenario,
        "groups": groups_of(protocol),
        "steps": evaluate.test_steps,
        "readouts": readouts_of(evaluate),
    }
    if not strategy.rated:
        inputs |= {"rates": [], "steps": 0}  # what has no say in it is in no key
    if shown:
        inputs["domains"] = resolved("pretext", protocol.domains["name"], shown)
    if strategy.pretext_steps:
        inputs["pretext"] = variant.described("pretext")
        inputs["augment"] = variant.described("augment") if variant.augments("pretrain") else None
        inputs["pretrain_data"] = variant.pretrained.split("train")
    return inputs


def settings_of(suite: Suite) -> dict[str, Json]:
    """Return what the report needs of a suite's protocol; nothing where there is none."""
    evaluate = suite.evaluate
    protocol = evaluate.protocol
    if protocol is None:
        return {}
    settings: dict[str, Json] = {
        "protocol": protocol.name,
        "rates": list(evaluate.rates),
        "rate_tasks": evaluate.rate_tasks,
    }
    if protocol.name == "control":
        return settings | {"planner": dict(protocol.planner)}
    own = {"scenario": protocol.scenario, "groups": groups_of(protocol)}
    return settings | own | ({"domains": protocol.domains["name"]} if protocol.domains else {})
