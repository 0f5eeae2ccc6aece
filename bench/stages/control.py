"""Adapt a model of the dynamics to an unseen environment, to predict there and to plan with it.

Every start is treated alike: encoder and linear head take steps of plain gradient descent on the
mean squared error of a few transitions (the support), under one rate, and other transitions of the
environment (the queries) are predicted on the way. A head that was trained with the encoder, by
``next_state`` or over tasks, is taken over; else a fresh one is drawn from the seed. The rate is
chosen for each start, from one grid, on validation environments: it is the one of least error, as
the mean over environments and read-outs after the first step.

With the model before the first step and after the last, a planner then drives the true environment
from one and the same reset, by the same draws (see ``bench.planner``); so does the random policy.
What each environment starts from, and what the planner draws there, names neither row nor seed.

Shapes: E environments, R read-outs, M measures, S states and A actions (D = S + A numbers of a
row), Q queries, W = 2 E models to plan with, P plans.
"""

from collections.abc import Callable, Mapping, Sequence
from math import inf

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import vmap

from bench.cell import Json, StageSpec
from bench.contract import Task, Tensors
from bench.dataset import Part
from bench.episodes import Bank, draw_environments
from bench.planner import Planner, planned_runs, random_runs
from bench.seeds import derive
from bench.stages.engine import Learner, channels_last
from bench.stages.evaluate import EPISODES, episodes_file
from bench.stages.examination import Choice, Tell, choose, examine
from bench.stages.few_steps import Pupil
from bench.stages.model import Model, assemble
from bench.stages.place import Diverged, Place, Result, peak_memory
from bench.stages.source import modality_of, read_part
from bench.stages.streams import generator, seed_default
from bench.transitions import regression
from bench.worlds import WORLDS, parsed

MEASURES = ("explained", "error", "return", "random_return")
AT_ONCE = 20  # environments of one planning: its steps are bound by calls, not by numbers


def control(spec: StageSpec, place: Place) -> Result:
    """Run one ``evaluate`` stage on unseen environments: prediction at each read-out, and returns.

    ``explained`` is 1 - squared error / squared deviation of the queries' changes from their mean;
    ``error`` the mean squared error in scaled units; ``return`` and ``random_return`` sums of
    rewards of the planner and of the random policy, at the first and the last read-out.
    """
    inputs = spec.inputs
    driver = Driver(spec, place, read_part(inputs["data"]))
    found = examine(
        spec,
        place,
        driver,
        before=len(inputs["rates"]) * inputs.get("rate_tasks", 0),
        choice=lambda tell: choose_rate(spec, place, driver, tell),
        answer=driver.answer,
        values=lambda done_ERM: dict(zip(MEASURES, _means(done_ERM)[-1], strict=True)),
    )
    means_RM, steps = _means(found.answers), inputs["readouts"]
    measured = {name: found.answers[:, :, m] for m, name in enumerate(MEASURES)}
    curve = {name: [_finite(row[m]) for row in means_RM] for m, name in enumerate(MEASURES)}
    return Result(
        metrics=dict(zip(MEASURES, means_RM[-1], strict=True)),
        curve={"steps": steps, **curve},
        cost={
            "seconds": found.seconds,
            "examples": driver.passed,
            "peak_memory_bytes": peak_memory(place.device),
            "parameters": driver.model.num_parameters,
        },
        files={EPISODES: episodes_file(steps, **measured)},
        facts={
            "bank": driver.bank.digest,
            "rate": found.chosen.rate,
            "rate_losses": found.chosen.described,
        },
    )


def dynamics(inputs: Mapping[str, Json], place: Place, part: Part) -> Model:
    """Return encoder and linear head as they were trained; a head that was not is drawn."""
    return assemble(
        inputs,
        place,
        part.form,
        lambda width: nn.Linear(width, part.form.shape[-1]),
        "control",
        channels_last=channels_last(place.device, second_order=False),
    )


def environments(
    inputs: Mapping[str, Json], place: Place, data: Mapping[str, Json], count: int
) -> tuple[Bank, Part, Callable[[int], Task]]:
    """Return the bank of a split, the split, and what makes environment e of the bank a task."""
    part = read_part(data)
    bank = draw_environments(
        part.counts,
        data_digest=data["digest"],
        split=data["split"],
        shots=inputs["shots"],
        queries=inputs["queries"],
        episodes=count,
    )

    def shown(positions_1X: np.ndarray) -> Tensor:
        x = torch.from_numpy(part.examples[positions_1X.ravel()])
        return modality_of(part.form).inputs(x).to(place.device)

    def task_of(episode: int) -> Task:
        return regression(shown(bank.support_ENK[episode]), shown(bank.query_ENQ[episode]))

    return bank, part, task_of


def choose_rate(spec: StageSpec, place: Place, driver: "Driver", tell: Tell) -> Choice:
    """Choose the rate of least mean error on validation environments, if there are two.

    Raises:
        Diverged: no rate of the grid has a finite error.
    """
    inputs = spec.inputs
    if len(inputs["rates"]) == 1:
        return Choice(rate=float(inputs["rates"][0]), found={})
    _, _, task_of = environments(inputs, place, inputs["rate_data"], inputs["rate_tasks"])
    tasks = [task_of(number) for number in range(inputs["rate_tasks"])]

    def error(rate: float) -> float:
        _, error_ER, _ = driver.predicted(tasks, rate, 0)
        return float(error_ER[:, 1:].mean()) if np.isfinite(error_ER).all() else inf

    failing = "an error on validation environments"
    return choose(inputs, error, tell, name="error", highest=False, failing=failing)


class Driver:
    """A start that adapts to the environments of the bank, predicts there and drives there."""

    at_once = AT_ONCE

    def __init__(self, spec: StageSpec, place: Place, part: Part) -> None:
        """Take the start, and what it is tested on."""
        inputs = spec.inputs
        self._spec, self._place = spec, place
        self.model = dynamics(inputs, place, part)
        self._pupil = Pupil(spec, place, self.model)
        # Another one for what a planner imagines: that is no cost of learning.
        self._learner = Learner(
            self.model.network, self.model.buffers, inputs["norm"], training=False
        )
        self.world, self._planner = WORLDS[inputs["family"]], Planner(**inputs["planner"])
        data, episodes = inputs["data"], inputs["episodes"]
        self.bank, self._part, self._task_of = environments(inputs, place, data, episodes)

    @property
    def passed(self) -> int:
        """Examples passed forward so far, in learning and in predicting."""
        return self._pupil.passed

    @passed.setter
    def passed(self, passed: int) -> None:
        self._pupil.passed = passed

    def answer(self, first: int, last: int, rate: float) -> np.ndarray:
        """Return the measures [E, R, M] of episodes ``first`` to ``last`` (excluded).

        Raises:
            Diverged: a prediction is not finite.
        """
        tasks = [self._task_of(episode) for episode in range(first, last)]
        explained_ER, error_ER, ends = self.predicted(tasks, rate, first)
        if not (np.isfinite(explained_ER).all() and np.isfinite(error_ER).all()):
            raise Diverged(f"a prediction in an environment from {first}, under rate {rate:g}")
        driven_E2, random_E = self._returns(ends, range(first, last))
        answers_ERM = np.full((*explained_ER.shape, len(MEASURES)), np.nan)
        answers_ERM[:, :, 0], answers_ERM[:, :, 1] = explained_ER, error_ER
        answers_ERM[:, [0, -1], 2] = driven_E2
        answers_ERM[:, [0, -1], 3] = random_E[:, None]
        return answers_ERM

    def predicted(
        self, tasks: Sequence[Task], rate: float, number: int
    ) -> tuple[np.ndarray, np.ndarray, Tensors]:
        """Return how much is explained, and the error, [E, R]; they may not be finite.

        And the parameters before the first step and after the last, each [E, 2, ...]. ``number``
        is the place of the first task, from which torch's default generator is seeded.
        """
        seed_default("control", self._spec.inputs["seed"], number)
        size, found = self._pupil.at_once, []
        for first in range(0, len(tasks), size):
            chunk = tasks[first : first + size]
            found.append(self._pupil.over(lambda task: self._learned(task, rate), chunk))
        predicted_ERQD, *ends = (torch.cat(parts) for parts in zip(*found, strict=True))
        changes_EQD = torch.stack([task.query_y for task in tasks])
        measured = measures(predicted_ERQD, changes_EQD, self.world.states)
        return *measured, dict(zip(self.model.params, ends, strict=True))

    def _learned(self, task: Task, rate: float) -> tuple[Tensor, ...]:
        """Return predictions [R, Q, D] after each read-out, and parameters [2, ...] at the ends."""
        way = list(self._pupil.adapted(task, rate))
        predicted_RQD = torch.stack([self._pupil.scores(params, task) for params in way])
        ends = (torch.stack([way[0][name], way[-1][name]]) for name in self.model.params)
        return predicted_RQD, *ends

    def _returns(self, ends: Tensors, episodes: range) -> tuple[np.ndarray, np.ndarray]:
        """Return the sums of rewards with the models at the ends [E, 2], and at random [E]."""
        data = self._spec.inputs["data"]["digest"]
        first_E = self.bank.query_ENQ[:, 0, 0]  # a transition of each environment
        names = [self._part.classes[self._part.labels[first_E[e]]] for e in episodes]
        worlds, resets = [parsed(one) for one in names], [_reset(data, one) for one in names]
        at = [(data, one) for one in names]
        rngs = [generator(self._place.device, "planner", *one) for one in at for _ in range(2)]
        driven = planned_runs(
            self._imagining({name: value.flatten(0, 1) for name, value in ends.items()}),
            self.world,
            [one for one in worlds for _ in range(2)],
            self._planner,
            resets=[one for one in resets for _ in range(2)],
            rngs=rngs,
        )
        random = random_runs(
            self.world,
            worlds,
            self._planner.real_steps,
            resets=resets,
            # On the CPU: what rows are held against is then the same on every machine.
            rngs=[generator(torch.device("cpu"), "random policy", *one) for one in at],
        )
        return driven.returns.reshape(-1, 2), random.returns

    def _imagining(self, params: Tensors) -> Callable[[Tensor, Tensor], Tensor]:
        """Return W models as one function: the states that follow states under actions."""

        def changes(own: Tensors, x_P2D: Tensor) -> Tensor:
            return self._learner.head(own, self._learner.embed(own, x_P2D))

        def following(state_WPS: Tensor, action_WPA: Tensor) -> Tensor:
            asked_WP2D = self.world.asked(state_WPS, action_WPA)
            return self.world.moved(state_WPS, vmap(changes)(dict(params), asked_WP2D))

        return following


def measures(
    predicted_ERQD: Tensor, changes_EQD: Tensor, states: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return how much is explained, and the mean squared error, [E, R], of the states' changes."""
    true_E1QS = changes_EQD[:, None, :, :states].double()
    wrong_ER = (predicted_ERQD[..., :states].double() - true_E1QS).square().mean((2, 3))
    apart_E1 = (true_E1QS - true_E1QS.mean(2, keepdim=True)).square().mean((2, 3))
    return (1 - wrong_ER / apart_E1).cpu().numpy(), wrong_ER.cpu().numpy()


def _reset(data: str, name: str) -> int:
    """Return the seed of the state that an environment starts from, for every row and seed."""
    return derive("reset", data, name)


def _means(answers_ERM: np.ndarray) -> list[list[float]]:
    """Return the mean over environments; NaN where nothing is measured."""
    found: list[list[float]] = answers_ERM.mean(0).tolist()
    return found


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
