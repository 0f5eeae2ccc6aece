"""A planner that uses a model of a world: the cross-entropy method, anew before every step.

Rubinstein and Kroese (2004), doi:10.1007/978-1-4757-4321-0, as model-predictive control in the
manner of PETS (Chua et al. 2018, arXiv:1805.12114): plans are drawn from a normal distribution,
the model imagines what each leads to, and the best of them, the elites, say where the next are
drawn. The first action of the last mean is executed, and the rest of it, moved up by one step, is
where the next search begins.

Shapes: E worlds, P plans of each, H steps of a plan, T real steps, S numbers of a state, A of an
action.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from bench.worlds import AbstractWorld, Parameters

Model = Callable[[Tensor, Tensor], Tensor]
"""From states [E, P, S] and executed actions [E, P, A] to the states [E, P, S] that follow."""


@dataclass(frozen=True, kw_only=True)
class Planner:
    """How far, how widely and how often is searched, and for how many real steps."""

    horizon: int  # steps of a plan
    population: int  # plans
    elites: int  # of them, at most all
    iterations: int  # of drawing and choosing, before each real step
    real_steps: int


@dataclass(frozen=True, kw_only=True)
class Runs:
    """What happened in E worlds: a run that is over has zeros from then on."""

    states: np.ndarray  # [E, T + 1, S], as gymnasium gives them
    actions: np.ndarray  # [E, T, A], as executed
    rewards: np.ndarray  # [E, T]

    @property
    def returns(self) -> np.ndarray:
        """The sum of each run's rewards [E]."""
        found: np.ndarray = self.rewards.sum(1)
        return found


def planned_runs(
    model: Model,
    world: AbstractWorld,
    parameters: Sequence[Parameters],
    planner: Planner,
    *,
    resets: Sequence[int],
    rngs: Sequence[Generator],
) -> Runs:
    """Run the worlds of these parameters, with a plan of the model's before each step.

    ``resets`` seed where each world starts, ``rngs`` draw its plans: what a world draws does not
    depend on the others. Tensors are of torch's default type, on the generators' device.
    """
    mean = torch.zeros(len(rngs), planner.horizon, world.actions, device=rngs[0].device)

    def act(states: np.ndarray) -> Tensor:
        nonlocal mean
        start = torch.from_numpy(states).to(mean)
        with torch.no_grad():
            mean = searched(model, world, start, mean, planner, rngs)
        first = mean[:, 0]
        mean = torch.cat([mean[:, 1:], torch.zeros_like(mean[:, :1])], 1)
        return first

    return _run(world, parameters, planner.real_steps, resets, act)


def random_runs(
    world: AbstractWorld,
    parameters: Sequence[Parameters],
    real_steps: int,
    *,
    resets: Sequence[int],
    rngs: Sequence[Generator],
) -> Runs:
    """Run the worlds of these parameters with actions drawn uniformly within their bounds."""
    low, high = world.bounds

    def act(states: np.ndarray) -> Tensor:
        return low + (high - low) * torch.stack(
            [torch.rand(world.actions, generator=rng, device=rng.device) for rng in rngs]
        )

    return _run(world, parameters, real_steps, resets, act)


def searched(
    model: Model,
    world: AbstractWorld,
    start_ES: Tensor,
    mean_EHA: Tensor,
    planner: Planner,
    rngs: Sequence[Generator],
) -> Tensor:
    """Return the mean [E, H, A] of the plans that are left, after a search from ``mean_EHA``."""
    low, high = world.bounds
    size = (planner.population, *mean_EHA.shape[1:])
    spread_EHA = torch.full_like(mean_EHA, (high - low) / 2)
    for _ in range(planner.iterations):
        noise = [torch.randn(size, generator=rng, device=rng.device) for rng in rngs]
        drawn = mean_EHA[:, None] + spread_EHA[:, None] * torch.stack(noise)
        plans_EPHA = drawn.clamp(low, high)
        scores_EP = imagined(model, world, start_ES, plans_EPHA)
        mean_EHA, spread_EHA = improved(plans_EPHA, scores_EP, planner.elites)
    return mean_EHA


def imagined(model: Model, world: AbstractWorld, start_ES: Tensor, plans_EPHA: Tensor) -> Tensor:
    """Return the sum of rewards [E, P] that the model imagines; a run that is over adds none.

    A run that leaves the numbers there are is over where a world says so, as one that falls, and
    else counts as worse than any other.
    """
    state = start_ES[:, None].expand(-1, plans_EPHA.shape[1], -1)
    total, alive = torch.zeros_like(plans_EPHA[:, :, 0, 0]), ~world.over(state)
    for action in world.executed(plans_EPHA).unbind(2):
        following = model(state, action)
        total = total + torch.where(alive, world.reward(state, action, following), 0.0)
        state, alive = following, alive & ~world.over(following)
    worst = torch.finfo(total.dtype).min
    return total.nan_to_num(nan=worst, neginf=worst)


def improved(plans_EPHA: Tensor, scores_EP: Tensor, elites: int) -> tuple[Tensor, Tensor]:
    """Return mean and deviation (both [E, H, A]) of the plans with the highest scores."""
    best = scores_EP.topk(elites, 1).indices[:, :, None, None]
    chosen = plans_EPHA.take_along_dim(best, 1)
    return chosen.mean(1), chosen.std(1, correction=0)


def _run(
    world: AbstractWorld,
    parameters: Sequence[Parameters],
    real_steps: int,
    resets: Sequence[int],
    act: Callable[[np.ndarray], Tensor],
) -> Runs:
    """Step all worlds together, each until it is over; ``act`` is asked for all of them."""
    worlds = [world.make(one) for one in parameters]
    first = [env.reset(seed=seed)[0] for env, seed in zip(worlds, resets, strict=True)]
    states_ES, alive = np.stack(first), np.ones(len(worlds), bool)
    states, actions, rewards = [states_ES], [], []
    for _ in range(real_steps):
        executed = world.executed(act(states_ES)).cpu().numpy() * alive[:, None]
        states_ES, rewards_E = np.zeros_like(states_ES), np.zeros(len(worlds))
        for one in np.flatnonzero(alive):
            state, reward, over = world.step(worlds[one], tuple(executed[one].tolist()))
            states_ES[one], rewards_E[one], alive[one] = state, reward, not over
        states.append(states_ES)
        actions.append(executed)
        rewards.append(rewards_E)
    return Runs(
        states=np.stack(states, 1), actions=np.stack(actions, 1), rewards=np.stack(rewards, 1)
    )
