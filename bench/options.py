"""What the command line says beside the suite: where things lie, and by what a suite is run."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from bench.catalogue import build
from bench.dataset import Dataset, Facts, facts, find_root, open_dataset
from bench.errors import UserError
from bench.resolution import FactsOf
from bench.run import Listener
from bench.store import Store

if TYPE_CHECKING:
    from bench.contract import AbstractData
    from bench.execute.local import Local


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says beside the suite; a notebook may leave all of it out."""

    results: Path = Path("results")
    reports: Path = Path("reports")
    data: Path | None = None
    budget_scale: float | None = None
    seeds: str | None = None
    episodes: int | None = None
    only: str | None = None
    workers: str = "auto"
    device: str = "auto"
    retry: bool = False
    time_limit: float | None = None

    @property
    def store(self) -> Store:
        """The store under the results folder."""
        return Store(self.results)

    def facts_of(self) -> FactsOf:
        """Return what opens a data set and tells the plan of it, each set once."""
        root = find_root(self.data)

        @cache
        def facts_of(name: str, source: "AbstractData") -> Facts:
            dataset = open_dataset(source, name, root)
            _refuse_other_type(name, source.modality, dataset)
            return facts(dataset)

        return facts_of

    def executor(self) -> "Local":
        """Return what stages run on.

        Raises:
            UserError: no such device, or no such number of workers or seconds.
        """
        from bench.execute.local import Local, check_time_limit, parse_workers
        from bench.stages.place import pick_device

        workers, device = parse_workers(self.workers), pick_device(self.device)
        check_time_limit(self.time_limit)
        return Local(
            results=self.results.resolve(),
            device=device,
            workers=workers,
            time_limit=self.time_limit,
        )

    def listeners(self) -> list[Listener]:
        """Return what is told how a run goes: the mirror in MLflow, and the display."""
        from bench import progress, record

        return [record.Recorder(self.store, self.results), progress.Display()]


def _refuse_other_type(name: str, modality: str, dataset: Dataset) -> None:
    """Refuse examples of another type than those of their modality."""
    from bench.contract import AbstractModality

    kind = build("modality", modality, {}, f"data {name}")
    assert isinstance(kind, AbstractModality)
    if dataset.examples.dtype != kind.stored:
        found = f"its examples are {dataset.examples.dtype}"
        raise UserError(f"data {name}", found, f"{modality} data is stored as {kind.stored}.")
