"""Which weights of a training are kept: measures of its snapshots on the validation split.

``pretext_val`` is the training's own loss; ``label_val`` the accuracy on episodes of true classes,
an oracle; ``pseudo_val`` that on episodes whose classes are k-means clusters of the features that
the training began with. Where no label is to be read, examples are in the order of their content:
sorted by class, as they lie on disk, their positions would tell.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.catalogue import rebuild
from bench.cell import Json, StageSpec
from bench.contract import AbstractMeta, Tensors
from bench.dataset import Part
from bench.seeds import derive
from bench.stages.auxiliary import without
from bench.stages.checkpoint import chosen, prefixed
from bench.stages.engine import EMBED_AT_ONCE
from bench.stages.evaluate import Examiner, bank_of
from bench.stages.model import Model
from bench.stages.place import Diverged, Place
from bench.stages.source import grouped, modality_of, read_part

Measure = Callable[[Tensors, Tensors], float]  # of params and carried
Loss = Callable[[int, Tensors, Tensors], Tensor]  # (draw, params, carried): of the training itself


@dataclass(kw_only=True)
class Snapshots:
    """Snapshots of a training at some of its steps, and the best one so far."""

    steps: frozenset[int]
    measure: Measure
    better: Literal["higher", "lower"]
    curve: dict[str, list[float | None]] = field(
        default_factory=lambda: {"steps": [], "selection": []}
    )
    step: int = 0  # of the best one; 0: there is none yet
    params: dict[str, Tensor] = field(default_factory=dict)
    carried: dict[str, Tensor] = field(default_factory=dict)

    def take(self, step: int, params: Tensors, carried: Tensors) -> float | None:
        """Measure a snapshot, and keep it unless an earlier one is better.

        One whose measure is not finite is never kept: None.
        """
        own = {name: value.detach() for name, value in params.items()}
        value = _finite(self.measure, own, carried)
        if value is not None and self._leads(value):
            self.step = step
            self.params = {name: value.clone() for name, value in own.items()}
            self.carried = {name: value.clone() for name, value in carried.items()}
        self.curve["steps"].append(step)
        self.curve["selection"].append(value)
        return value

    def _leads(self, value: float) -> bool:
        seen = [one for one in self.curve["selection"] if one is not None]
        if self.better == "lower":
            return all(value <= one for one in seen)
        return all(value >= one for one in seen)

    def tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint keeps of the best one."""
        return prefixed(self.params, "best/params/") | prefixed(self.carried, "best/carried/")

    def note(self) -> dict[str, Json]:
        """Return what a checkpoint notes beside the tensors."""
        return {"step": self.step, "curve": self.curve}

    def resume(self, tensors: Tensors, note: Mapping[str, Json], like: Tensors) -> None:
        """Take over what a checkpoint kept, in the memory format of ``like``."""
        self.step, self.curve = note["step"], note["curve"]
        for name, value in chosen(tensors, "best/params/").items():
            self.params[name] = torch.empty_like(like[name], requires_grad=False).copy_(value)
        device = next(iter(like.values())).device
        self.carried = {n: v.to(device) for n, v in chosen(tensors, "best/carried/").items()}


def _finite(measure: Measure, params: Tensors, carried: Tensors) -> float | None:
    try:
        value = measure(params, carried)
    except Diverged:
        return None
    return value if np.isfinite(value) else None


def snapshots(
    spec: StageSpec,
    place: Place,
    model: Model,
    loss_on: Callable[[Part], Loss],
    buffers_of: Callable[[Tensors], Tensors],
) -> Snapshots | None:
    """Return the snapshots that a spec's rule asks for; None where the last weights are kept.

    ``model`` is what the training begins with; ``loss_on`` makes its own loss on other examples,
    whose draws are the same for every snapshot; ``buffers_of`` finds the buffers in what the
    training carries.
    """
    rule = spec.inputs.get("selection", "last")
    if rule == "last":
        return None
    total, count = spec.inputs["budget"]["steps"], rule["params"]["snapshots"]
    return Snapshots(
        steps=frozenset(-(-total * number // count) for number in range(1, count + 1)),
        measure=_measure(spec, place, model, loss_on, buffers_of),
        better="lower" if rule["name"] == "pretext_val" else "higher",
    )


def _measure(
    spec: StageSpec,
    place: Place,
    model: Model,
    loss_on: Callable[[Part], Loss],
    buffers_of: Callable[[Tensors], Tensors],
) -> Measure:
    inputs, rule = spec.inputs, spec.inputs["selection"]
    data = inputs["data"] | {"split": "val"}
    part = read_part(data)
    if rule["name"] == "pretext_val":
        return _mean_loss(loss_on(by_content(part)), rule["params"]["batches"])
    exam = StageSpec(
        kind="evaluate", inputs=rule["params"] | {"data": data, "seed": inputs["seed"]}
    )
    if rule["name"] == "pseudo_val":
        part = clusters(exam, by_content(part), model, place)
    return _accuracy(exam, place, model, part, buffers_of)


def _mean_loss(loss: Loss, draws: int) -> Measure:
    def measure(params: Tensors, carried: Tensors) -> float:
        drawn = [loss(number, params, carried).detach() for number in range(draws)]
        return float(torch.stack(drawn).mean())

    return measure


def _accuracy(
    exam: StageSpec,
    place: Place,
    model: Model,
    part: Part,
    buffers_of: Callable[[Tensors], Tensors],
) -> Measure:
    meta, bank = rebuild("meta", exam.inputs["meta"]), bank_of(exam, part)
    total, queries = exam.inputs["episodes"], exam.inputs["ways"] * exam.inputs["queries"]
    assert isinstance(meta, AbstractMeta)

    def measure(params: Tensors, carried: Tensors) -> float:
        own = replace(model, params=without(params), buffers=dict(buffers_of(carried)))
        with torch.no_grad():
            examiner = Examiner(exam, place, meta, own, part, bank)
            size = examiner.at_once
            found = [examiner.answer(e, min(e + size, total)) for e in range(0, total, size)]
        right = np.rint(np.concatenate(found)[:, -1] * queries).sum()  # whole: equal ones are ties
        return float(right / (queries * total))

    return measure


def by_content(part: Part) -> Part:
    """Return the examples of a split in the order of their bytes' hashes, as one class."""
    hashes = [hashlib.sha256(example.tobytes()).digest() for example in part.examples]
    order = sorted(range(len(hashes)), key=hashes.__getitem__)
    return grouped(part, [order])


def clusters(exam: StageSpec, part: Part, model: Model, place: Place) -> Part:
    """Return examples in pseudo-classes: k-means clusters of a model's features, on the sphere.

    Those too small for an exam's episodes are left out.

    Raises:
        ValueError: fewer are left than an episode has ways.
    """
    from sklearn.cluster import KMeans

    asked, data = exam.inputs, exam.inputs["data"]
    count = len(part.examples) // asked["cluster_size"]
    seed = derive("clusters", data["digest"], asked["seed"]) % 2**32  # scikit-learn takes 32 bits
    means = KMeans(n_clusters=count, n_init=1, max_iter=100, random_state=seed)
    found = means.fit_predict(_features(part, model, place))
    needed = asked["shots"] + asked["queries"]
    members = [np.flatnonzero(found == number).tolist() for number in range(count)]
    usable = [one for one in members if len(one) >= needed]
    if len(usable) < asked["ways"]:
        raise ValueError(
            f"only {len(usable)} of {count} clusters of the validation split hold {needed}"
            f" examples, and an episode has {asked['ways']} ways"
        )
    return grouped(part, usable)


def _features(part: Part, model: Model, place: Place) -> np.ndarray:
    """Return the features of all examples [N, D], each of length one.

    Norm layers use the batches' own statistics: a fresh encoder has no others.
    """
    found = []
    for examples in np.array_split(part.examples, -(-len(part.examples) // EMBED_AT_ONCE)):
        x = modality_of(part.form).inputs(torch.from_numpy(examples).to(place.device))
        with torch.no_grad():
            z = model.network.encode(model.params, model.buffers, x, "batch")
        found.append(F.normalize(z.double(), dim=1).cpu())
    return torch.cat(found).numpy()
