"""Plants a fault in a plug-in that conforms, and sees that the check for it tells so."""

from collections.abc import Callable, Mapping
from types import ModuleType

import pytest

from bench import catalogue, contract
from bench.catalogue import load_class as _load_class
from bench.conformance.checks import checks_within
from bench.conformance.subject import Check, Fault, Subject, perform
from bench.contract import AbstractPlugin

Fails = Callable[..., None]
KINDS: dict[str, type[AbstractPlugin] | tuple[type[AbstractPlugin], ...]] = {
    "augment": contract.AbstractAugment,
    "data": contract.AbstractData,
    "encoder": contract.AbstractEncoder,
    "init": contract.AbstractInit,
    "meta": contract.AbstractMeta,
    "modality": contract.AbstractModality,
    "pretext": (contract.AbstractPretext, contract.AbstractSearch),
    "strategy": contract.AbstractStrategy,
    "tasks": contract.AbstractTasks,
}


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> Fails:
    """Return what checks a plug-in without and with a fault: it must pass, and then fail.

    The fault is attributes and methods in the place of the plug-in's own, or a whole class.
    """

    def run(
        check: Check,
        right: type[AbstractPlugin],
        fault: Mapping[str, object] | type[AbstractPlugin],
        told: str,
    ) -> None:
        perform(check, _installed(right, monkeypatch))
        if not isinstance(fault, type):
            fault = type("Planted", (right,), {"__doc__": "A fault.", **fault})
        with pytest.raises(Fault, match=told):
            perform(check, _installed(fault, monkeypatch))

    return run


def _installed(cls: type[AbstractPlugin], patch: pytest.MonkeyPatch) -> Subject:
    """Let the catalogue know a class under the name ``planted``."""
    find, load_class = catalogue.find, _load_class

    def found(kind: str, name: str, where: str) -> catalogue.Entry | None:
        return None if name == "planted" else find(kind, name, where)

    def loaded(kind: str, name: str) -> type[AbstractPlugin]:
        return cls if name == "planted" else load_class(kind, name)

    patch.setattr("bench.catalogue.find", found)
    for module in ("bench.catalogue", "bench.conformance.form"):
        patch.setattr(f"{module}.load_class", loaded)
    kind = next(kind for kind, base in KINDS.items() if issubclass(cls, base))
    return Subject(kind=kind, name="planted", plugin=cls())


@pytest.fixture
def checks_in() -> Callable[[ModuleType], set[Check]]:
    """Return what lists the checks of a module, for guards that none is left out."""
    return lambda module: set(checks_within(module))
