"""The loop under every training: what a step returns beside its loss comes into the curve."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.cell import Event, Progress, StageSpec
from bench.contract import Tensors
from bench.meta.protonet import Protonet
from bench.mirror import content as mirrored
from bench.mirror import stage_child
from bench.stages.place import Diverged, Place
from bench.stages.training import Training, train, trained
from bench.store import Store

TOTAL = 400  # two steps a point of the curve
SPEC = StageSpec(kind="metatrain", inputs={"budget": {"steps": TOTAL, "examples": 0}, "needs": {}})


class Stop(BaseException):
    """What interrupts a training in these tests."""


def step(
    number: int, params: Tensors, carried: Tensors
) -> tuple[Tensor, Tensors, Tensors, Tensors]:
    """Return a loss of 2 n, no gradient, and the values n and n squared."""
    one = torch.tensor(float(number), dtype=torch.float64)
    gradient = {name: torch.zeros_like(value) for name, value in params.items()}
    return 2 * one, gradient, carried, {"single": one, "squared": one**2}


def run(store: Store, *, stop_at: int = 0) -> tuple[Training, list[Progress]]:
    """Train on ``step``; ``stop_at`` interrupts at that step."""
    events: list[Event] = []

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, Progress) and event.step == stop_at:
            raise Stop

    place = Place(store=store, device=torch.device("cpu"), emit=emit, checkpoint_seconds=0)
    with store.writing(SPEC.key):
        done = train(SPEC, place, Protonet(), {"encoder.weight": torch.ones(2)}, {}, step)
    return done, [event for event in events if isinstance(event, Progress)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    made = Store(tmp_path)
    made.prepare()
    return made


def test_values_are_averaged_between_the_points_of_the_curve(store: Store) -> None:
    """Each point holds the means of the values over its steps, beside that of the loss."""
    done, events = run(store)
    firsts = torch.arange(0, TOTAL, 2)
    assert done.curve["steps"] == (firsts + 2).tolist()
    assert done.curve["loss"] == (2 * firsts + 1).tolist()
    assert done.curve["single"] == (firsts + 0.5).tolist()
    assert done.curve["squared"] == ((firsts**2 + (firsts + 1) ** 2) / 2).tolist()
    assert events[0].values == {"loss": 1.0, "single": 0.5, "squared": 0.5}


def test_values_resume_with_the_curve(store: Store, tmp_path: Path) -> None:
    """Interrupted and resumed, the curve is the whole one."""
    other = Store(tmp_path / "other")
    other.prepare()
    with pytest.raises(Stop):
        run(store, stop_at=100)
    assert run(store)[0].curve == run(other)[0].curve


def test_values_come_into_the_mirror(store: Store) -> None:
    """The mirror holds each of them as a curve under its name."""
    done, _ = run(store)
    place = Place(store=store, device=torch.device("cpu"), emit=lambda event: None)
    result = trained(SPEC, place, done, {}, 2)
    manifest = {"kind": SPEC.kind, "key": SPEC.key, "provenance": {}}
    manifest |= {"metrics": result.metrics, "curve": result.curve, "cost": result.cost}
    with store.writing(SPEC.key):
        store.commit(SPEC, manifest, result.files)
    found = mirrored(store, stage_child(SPEC))
    assert found is not None
    assert found.points["metatrain/squared", 2] == 0.5
    assert found.points["metatrain/loss", 2] == 1.0


def test_a_value_that_is_not_finite_ends_a_training(store: Store) -> None:
    """No curve holds what JSON cannot."""
    place = Place(store=store, device=torch.device("cpu"), emit=lambda event: None)

    def broken(
        number: int, params: Tensors, carried: Tensors
    ) -> tuple[Tensor, Tensors, Tensors, Tensors]:
        loss, gradient, carried, _ = step(number, params, carried)
        return loss, gradient, carried, {"single": loss / 0}

    with pytest.raises(Diverged):
        train(SPEC, place, Protonet(), {"encoder.weight": torch.ones(2)}, {}, broken)
