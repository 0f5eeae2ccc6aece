"""Test on the shared bank: adapt to each episode's support, predict its queries."""

from collections.abc import Callable, Iterator, Sequence
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from bench.catalogue import rebuild
from bench.cell import Progress, StageSpec, Started
from bench.contract import AbstractLearner, AbstractMeta, AbstractMetaTrained, Task, Tensors
from bench.dataset import Part
from bench.episodes import Bank, draw_bank
from bench.stages.checkpoint import read_checkpoint, write_checkpoint
from bench.stages.cluster import pseudo_classes
from bench.stages.engine import (
    TASKS_AT_ONCE,
    FeatureLearner,
    Learner,
    channels_last,
    counted,
    in_parts,
)
from bench.stages.examination import REPORTS
from bench.stages.model import Model, assemble
from bench.stages.place import Clock, Diverged, Place, Result, made_by, peak_memory
from bench.stages.source import modality_of, read_part
from bench.stages.streams import seed_default

EPISODES = "episodes.parquet"


def evaluate(spec: StageSpec, place: Place) -> Result:
    """Run one ``evaluate`` stage: accuracy of every episode after each read-out of steps."""
    inputs = spec.inputs
    meta = rebuild("meta", inputs["meta"])
    assert isinstance(meta, AbstractMeta)
    part = read_part(inputs["data"])
    if "cluster" in inputs["needs"]:
        part = pseudo_classes(part, spec, place.store)
    bank = bank_of(spec, part)
    model = tested_model(spec, place, meta, part)
    examiner = Examiner(spec, place, meta, model, part, bank)
    accuracy_ER, seconds = _examine(spec, place, examiner)
    steps = inputs["readouts"][: accuracy_ER.shape[1]]
    return Result(
        metrics={"accuracy": float(accuracy_ER[:, -1].mean())},
        curve={"steps": steps, "accuracy": accuracy_ER.mean(0).tolist()},
        cost={
            "seconds": seconds,
            "examples": examiner.passed,
            "peak_memory_bytes": peak_memory(place.device),
            "parameters": model.num_parameters,
        },
        files={EPISODES: episodes_file(steps, accuracy=accuracy_ER)},
        facts={"bank": bank.digest},
    )


def tested_model(spec: StageSpec, place: Place, meta: AbstractMeta, part: Part) -> Model:
    """Return the encoder of a row with its method's head, as they were trained."""
    inputs = spec.inputs
    trained = meta if isinstance(meta, AbstractMetaTrained) else None
    return assemble(
        inputs,
        place,
        part.form,
        lambda width: trained.head(width, inputs["ways"]) if trained else nn.Identity(),
        inputs["meta"]["name"],
        trained.learned if trained else None,
        channels_last=channels_last(place.device, second_order=False),
    )


def bank_of(spec: StageSpec, part: Part) -> Bank:
    """Draw the episodes that a spec asks for, from this split."""
    return draw_bank(
        part.counts,
        data_digest=spec.inputs["data"]["digest"],
        split=spec.inputs["data"]["split"],
        ways=spec.inputs["ways"],
        shots=spec.inputs["shots"],
        queries=spec.inputs["queries"],
        episodes=spec.inputs["episodes"],
    )


class Examiner:
    """Answers the episodes of a bank; E episodes, R read-outs, K shots, N ways, Q queries."""

    def __init__(
        self,
        spec: StageSpec,
        place: Place,
        meta: AbstractMeta,
        model: Model,
        part: Part,
        bank: Bank,
    ) -> None:
        """Put the split on the device; where the encoder stands still, embed it once."""
        self._spec, self._meta, self._model = spec, meta, model
        self._counted = 0
        norm = spec.inputs["norm"]
        frozen = meta.frozen_encoder and norm in ("running", "group")
        self.at_once = TASKS_AT_ONCE[place.device.type] if meta.vectorises and not frozen else 1
        self._learner = Learner(
            model.network,
            model.buffers,
            norm,
            training=False,
            vectorised=self.at_once > 1,
        )
        self._on_task: AbstractLearner = (
            FeatureLearner(model.network, model.buffers) if frozen else self._learner
        )
        self._modality, self._form = modality_of(part.form), part.form
        x = torch.from_numpy(np.array(part.examples)).to(place.device)
        self._x = self._embed_all(x) if frozen else x
        self._frozen = frozen
        self._support_EKN = torch.from_numpy(bank.support_ENK).transpose(1, 2).to(place.device)
        self._query_EQN = torch.from_numpy(bank.query_ENQ).transpose(1, 2).to(place.device)
        label_N = torch.arange(self._query_EQN.shape[2], device=place.device)
        self._support_y = label_N.repeat(self._support_EKN.shape[1])
        self._query_y = label_N.repeat(self._query_EQN.shape[1])

    @property
    def passed(self) -> int:
        """Examples passed forward so far; a frozen encoder's are all passed at the beginning."""
        return self._learner.passed if self._frozen else self._counted

    def resume(self, passed: int) -> None:
        """Count on from the examples that were passed before an interruption."""
        self._counted = passed

    def answer(self, first: int, last: int) -> np.ndarray:
        """Return the accuracies [episodes, R] of episodes ``first`` to ``last`` (excluded)."""
        seed_default("evaluate", self._spec.inputs["seed"], first)
        tasks = [self.task(episode) for episode in range(first, last)]
        (scores_ERQN,) = self.over(self._scores, tasks)
        if not scores_ERQN.isfinite().all():
            raise Diverged(f"a prediction of test episodes {first} to {last - 1} is not finite")
        right = scores_ERQN.argmax(3) == torch.stack([task.query_y for task in tasks])[:, None]
        return right.double().mean(2).cpu().numpy()

    def over(
        self, function: Callable[[Task], tuple[Tensor, ...]], tasks: Sequence[Task]
    ) -> tuple[Tensor, ...]:
        """Apply a function of one task to several, by vmap where the device asks for it."""
        vectorised = self.at_once > 1
        results, passed = counted(self._learner, function, tasks, vectorised=vectorised)
        self._counted += passed
        return results

    def adapted(self, task: Task) -> Iterator[Tensors]:
        """Yield what the support of a task has made of the parameters, at each read-out."""
        trajectory = self._meta.adapt(
            self._on_task, self._model.params, task.support_x, task.support_y
        )
        return at_steps(trajectory, self._spec.inputs["readouts"])

    def scores(self, params: Tensors, task: Task) -> Tensor:
        """Return the scores [queries, N] of a task under adapted parameters."""
        return self._meta.predict(self._on_task, params, task)

    def _scores(self, task: Task) -> tuple[Tensor]:
        """Return the scores [R, queries, N] of one task after each read-out of steps."""
        return (torch.stack([self.scores(params, task) for params in self.adapted(task)]),)

    def task(self, episode: int) -> Task:
        """Return an episode of the bank; of a frozen encoder, the features in place of examples."""
        support_KN, query_QN = self._support_EKN[episode], self._query_EQN[episode]
        return Task(
            support_x=self._examples(support_KN.flatten()),
            support_y=self._support_y,
            query_x=self._examples(query_QN.flatten()),
            query_y=self._query_y,
            ways=support_KN.shape[1],
        )

    def altered(self, x: Tensor) -> Tensor:
        """Return others in the place of examples, or of features, where a task has these."""
        return 1 - x if self._frozen else self._modality.altered(x, self._form)

    def _examples(self, index: Tensor) -> Tensor:
        return self._x[index] if self._frozen else self._modality.inputs(self._x[index])

    def _embed_all(self, x: Tensor) -> Tensor:
        """Embed the whole split once: under running statistics an example stands alone."""
        embed, params = self._learner.embed, self._model.params
        return in_parts(lambda one: embed(params, self._modality.inputs(one)), x)


def at_steps(trajectory: Iterator[Tensors], readouts: list[int]) -> Iterator[Tensors]:
    """Yield what a trajectory holds at the steps ``readouts``, as far as it goes."""
    wanted = set(readouts)
    for step, params in enumerate(trajectory):
        if step in wanted:
            yield params
        if step >= readouts[-1]:
            return


def _examine(spec: StageSpec, place: Place, examiner: Examiner) -> tuple[np.ndarray, float]:
    """Go through the bank, from the checkpoint where there is one; return accuracies, seconds."""
    total = spec.inputs["episodes"]
    path = place.store.partial(spec.key) / "checkpoint.safetensors"
    made = made_by(place.device)
    found = read_checkpoint(path, made)
    done = [found[0]["accuracy"].numpy()] if found else []
    count, before = (len(done[0]), found[1]["seconds"]) if found else (0, 0.0)
    examiner.resume(found[1]["passed"] if found else 0)
    place.emit(Started(key=spec.key, step=count, total=total))
    clock, written, told = Clock(before), before, count
    with torch.no_grad():
        while count < total:
            done.append(examiner.answer(count, min(count + examiner.at_once, total)))
            count += len(done[-1])
            if count - told >= total / REPORTS or count == total:
                told = count
                mean = float(np.concatenate(done)[:, -1].mean())
                values = {"accuracy": mean}
                place.emit(Progress(key=spec.key, step=count, total=total, values=values))
            if clock.seconds() - written > place.checkpoint_seconds:
                written = clock.seconds()
                tensors = {"accuracy": torch.from_numpy(np.concatenate(done))}
                note = {"made": made, "seconds": written, "passed": examiner.passed}
                write_checkpoint(path, tensors, note)
    return np.concatenate(done), clock.seconds()


def episodes_file(steps: list[int], **measured_ER: np.ndarray) -> bytes:
    """Return episode, step and what was measured as the bytes of a parquet file, without pandas."""
    episodes, readouts = next(iter(measured_ER.values())).shape
    columns = {
        "episode": np.repeat(np.arange(episodes), readouts),
        "step": np.tile(np.array(steps), episodes),
        **{name: values.ravel() for name, values in measured_ER.items()},
    }
    arrays = [
        pa.Array.from_buffers(pa.from_numpy_dtype(c.dtype), len(c), [None, pa.py_buffer(c)])
        for c in columns.values()
    ]
    sink = BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, names=list(columns)), sink)
    return sink.getvalue()
