"""What is checked, how a fault is told, and the state that no check may leave changed.

A check takes a subject, and raises ``Fault`` where the contract is not kept.
"""

import random  # noqa: TID251  # to see that plug-ins leave its generator alone
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.contract import AbstractPlugin
from bench.stages.streams import seed_default


class Fault(Exception):
    """A plug-in breaks its contract; says what it does, and how to mend it."""

    def __init__(self, found: str, mend: str) -> None:
        """Keep both parts; the message joins them."""
        super().__init__(f"{found}.\n{mend}")
        self.found, self.mend = found, mend


class NotInstalled(Exception):
    """What a check needs is not on this machine."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A plug-in with the parameters that it is checked with."""

    kind: str
    name: str
    plugin: AbstractPlugin

    @property
    def title(self) -> str:
        """Its name, as in ``bench check``."""
        return f"{self.kind}/{self.name}"


Check = Callable[[Subject], None]


def require(condition: object, found: str, mend: str) -> None:
    """Raise ``Fault`` unless a condition holds."""
    if not condition:
        raise Fault(found, mend)


def close(a: Tensor, b: Tensor, slack: float) -> bool:
    """Say whether two tensors are equal up to ``slack``, relative and absolute."""
    return torch.allclose(a, b, rtol=slack, atol=slack)


def perform(check: Check, subject: Subject) -> None:
    """Run a check as the engine runs a plug-in, and see that the plug-in kept no state.

    Raises:
        Fault: the plug-in breaks its contract.
        NotInstalled: the check needs what is not on this machine.
    """
    before = _state(subject.plugin)
    with _put_back():
        check(subject)
    changed = sorted(
        name for name, value in _state(subject.plugin).items() if value != before.get(name)
    )
    require(
        not changed,
        f"it keeps state: {', '.join(changed)} changed while it was used",
        "A plug-in is a value. Carry tensors in what state() and loss() return, or in the"
        " parameters that adapt() yields; compute the rest again.",
    )


def _state(plugin: AbstractPlugin) -> dict[str, str]:
    """Show what could change: the instance's attributes, and containers of its class."""
    containers = {
        name: value
        for name, value in vars(type(plugin)).items()
        if isinstance(value, list | dict | set | bytearray) and not name.startswith("__")
    }
    return {name: repr(value) for name, value in {**containers, **vars(plugin)}.items()}


@contextmanager
def _put_back() -> Iterator[None]:
    """Run deterministic algorithms, and leave every global generator and setting as it was."""
    python, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002  # as it is
    torch_state, dtype = torch.get_rng_state(), torch.get_default_dtype()
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(deterministic)
        torch.set_default_dtype(dtype)
        torch.set_rng_state(torch_state)
        np.random.set_state(numbers)  # noqa: NPY002  # as it was
        random.setstate(python)


def require_repeats(action: Callable[[], Sequence[Tensor]], what: str) -> list[Tensor]:
    """Require the same bits twice, whatever numpy's and Python's generators hold; return them.

    ``action`` makes its own generator; torch's default one is seeded before it, as by the engine.
    """
    action()  # libraries that are imported late may draw while they are imported
    results = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002, TID251  # what a plug-in must not depend on
        before = _global_draws()
        seed_default("conformance", what)
        results.append(list(action()))
        require(
            before == _global_draws(),
            f"{what} draws from, or seeds, numpy's or Python's global generator",
            "Draw from the generator that is handed over, rng, and from nothing else.",
        )
    first, second = results
    require(
        len(first) == len(second) and all(map(torch.equal, first, second)),
        f"{what} differs between two runs from one seed",
        "Draw from the generator that is handed over, rng, and from nothing else: no"
        " numpy.random, no random, no generator or clock of your own.",
    )
    return first


def _global_draws() -> tuple[object, ...]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002  # to see that it does not move
    return random.getstate(), kind, np.asarray(keys).tobytes(), *rest


class Unchanged:
    """Remembers tensors, to tell whether something wrote into them."""

    def __init__(self, **tensors: Tensor) -> None:
        """Take copies."""
        self._pairs = {name: (value, value.detach().clone()) for name, value in tensors.items()}

    def require(self, who: str) -> None:
        """Require every tensor to be what it was."""
        changed = [name for name, (now, then) in self._pairs.items() if not torch.equal(now, then)]
        require(
            not changed,
            f"{who} writes into what it was given: {', '.join(changed)}",
            "Make new tensors: no in-place operation (add_, x[...] = ..., out=) on an argument.",
        )
