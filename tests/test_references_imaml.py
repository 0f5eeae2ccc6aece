"""Implicit gradients against closed forms."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.contract import Task, Tensors
from bench.meta.imaml import Imaml, conjugate_gradients
from bench.stages.engine import Learner
from bench.stages.network import Network


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """Compute in float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Quadratic(Learner):
    """Scores that hold the parameters and the matrix of a task's loss."""

    def embed(self, params: Tensors, x_BCHW: Tensor) -> Tensor:
        """Return the matrix."""
        return x_BCHW

    def embed_both(
        self, params: Tensors, support_x: Tensor, query_x: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return both matrices."""
        return support_x, query_x

    def head(self, params: Tensors, z_BD: Tensor) -> Tensor:
        """Put the parameters on top of the matrix."""
        return torch.cat([params["head.theta"].unsqueeze(0), z_BD])


def quadratic(scores: Tensor, target: Tensor) -> Tensor:
    """Return half the squared distance to a target, in the metric of the matrix."""
    away, matrix = scores[0] - target, scores[1:]
    return 0.5 * away @ matrix @ away


@pytest.mark.parametrize("vectorised", [False, True])
def test_imaml_on_a_quadratic_has_its_closed_form(
    vectorised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The solution is (A + cI)^-1 (A s + c theta), the direction (I + A / c)^-1 B (phi - q)."""
    monkeypatch.setattr("bench.schemes.loss_of", quadratic)
    random, size, weight = np.random.default_rng(0), 5, 0.7
    a, b = (m @ m.T / size for m in random.normal(size=(2, size, size)))
    theta, s, q = random.normal(size=(3, size))
    phi = np.linalg.solve(a + weight * np.eye(size), a @ s + weight * theta)
    expected = np.linalg.solve(np.eye(size) + a / weight, b @ (phi - q))

    built = Network(nn.Flatten(), nn.Identity(), channels_last=False, grouped=False)
    learner = Quadratic(built, {}, "support", training=True, vectorised=vectorised)
    given = [torch.from_numpy(value) for value in (a, s, b, q)]
    one = Task(support_x=given[0], support_y=given[1], query_x=given[2], query_y=given[3], ways=1)
    imaml = Imaml(regularisation=weight, steps=400, inner_rate=0.2, solver_steps=size)
    loss, actual = imaml.meta_gradient(learner, {"head.theta": torch.from_numpy(theta)}, one)
    np.testing.assert_allclose(actual["head.theta"].detach(), expected, rtol=1e-8)
    np.testing.assert_allclose(loss.detach(), 0.5 * (phi - q) @ b @ (phi - q), rtol=1e-8)


def test_conjugate_gradients_solve_and_then_stand_still() -> None:
    """They solve in as many steps as there are dimensions, and more steps change nothing."""
    random = np.random.default_rng(1)
    matrix = random.normal(size=(6, 6))
    matrix = matrix @ matrix.T + np.eye(6)
    right = random.normal(size=6)

    def product(v: Tensors) -> Tensors:
        image = torch.from_numpy(matrix) @ torch.cat([v["a"].flatten(), v["b"]])
        return {"a": image[:4].view(2, 2), "b": image[4:]}

    parts = {"a": torch.from_numpy(right[:4]).view(2, 2), "b": torch.from_numpy(right[4:])}
    for steps in (6, 30):
        found = conjugate_gradients(product, parts, steps)
        flat = np.concatenate([found["a"].numpy().ravel(), found["b"].numpy()])
        np.testing.assert_allclose(flat, np.linalg.solve(matrix, right), rtol=1e-9)


def test_conjugate_gradients_of_nothing_are_nothing() -> None:
    """A zero right side, and one that the first step solves, lead to no division by zero."""
    nothing = conjugate_gradients(lambda v: v, {"a": torch.zeros(3)}, 5)
    assert torch.equal(nothing["a"], torch.zeros(3))
    solved = conjugate_gradients(lambda v: {"a": 2 * v["a"]}, {"a": torch.tensor([2.0, 4.0])}, 5)
    assert torch.equal(solved["a"], torch.tensor([1.0, 2.0]))
