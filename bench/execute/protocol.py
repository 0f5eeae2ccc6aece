"""What runs stages: anything with slots that takes specs and gives events back."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from bench.cell import Event, StageSpec


class AbstractExecutor(ABC):
    """Runs stages somewhere. Every submitted stage ends in one Finished or one Failed."""

    slots: int  # how many stages run at once

    @abstractmethod
    def submit(self, spec: StageSpec) -> None:
        """Begin a stage whose needs lie in the store; there must be a free slot."""

    @abstractmethod
    def events(self, timeout: float) -> Sequence[Event]:
        """Return what has happened since the last call, waiting ``timeout`` seconds at most."""

    @abstractmethod
    def close(self) -> None:
        """End every stage that still runs; what is whole in the store stays."""
