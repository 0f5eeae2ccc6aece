"""Partition the training split into clusters of an embedding: what stands in for classes.

Hsu, Levine and Finn (2019), CACTUs, arXiv:1810.02334, section 3: the first partition is of the
features as they are, each further one of features whose axes are scaled by draws from U(0, 1).
Labels are looked at for logging alone, once the clusters are found.

Shapes: N examples in the order of an unlabelled source, D features, P partitions.
"""

import warnings

import numpy as np
import torch
from safetensors.torch import load
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from bench.cell import Json, Progress, StageSpec, Started
from bench.dataset import Part
from bench.seeds import derive
from bench.stages.checkpoint import pack
from bench.stages.engine import EMBED_AT_ONCE, channels_last
from bench.stages.model import Model, assemble
from bench.stages.place import Clock, Diverged, Place, Result, peak_memory
from bench.stages.source import (
    Members,
    Source,
    grouped,
    members_of,
    read_part,
    unlabelled_order,
)
from bench.stages.streams import generator
from bench.store import Store

CLUSTERS = "clusters.safetensors"  # the cluster of each example, in each partition
STARTS_OF_ONE, STARTS_OF_MANY = 10, 1  # of k-means; cactus-maml, task_generator.py
ITERATIONS = 3000  # at most; ibid.


def cluster(spec: StageSpec, place: Place) -> Result:
    """Run one ``cluster`` stage: the cluster of each example [P, N], and how pure clusters are."""
    inputs, settings = spec.inputs, spec.inputs["clusters"]
    part = read_part(inputs["data"])
    total = settings["partitions"]
    place.emit(Started(key=spec.key, step=0, total=total))
    clock = Clock()
    model = assemble(
        inputs,
        place,
        part.form,
        lambda width: nn.Identity(),
        "cluster",
        channels_last=channels_last(place.device, second_order=False),
    )
    features_ND = _features(model, Source(part, None, place.device, labels=False))
    true_N = part.labels[unlabelled_order(len(part.labels)).numpy()]
    found, curve = [], _Curve()
    for number in range(total):
        found.append(_partition(features_ND, spec, number))
        values = curve.add(found[-1], true_N)
        place.emit(Progress(key=spec.key, step=number + 1, total=total, values=values))
    return Result(
        metrics={"purity": float(np.mean(curve.purity)), "nmi": float(np.mean(curve.nmi))},
        curve={"steps": list(range(1, total + 1)), "purity": curve.purity, "nmi": curve.nmi},
        cost={
            "seconds": clock.seconds(),
            "examples": len(features_ND),
            "peak_memory_bytes": peak_memory(place.device),
            "parameters": model.num_parameters,
        },
        files={CLUSTERS: pack({"clusters": torch.from_numpy(np.stack(found))})},
        facts={"sizes": [_sizes(one, settings["k"]) for one in found]},
    )


class _Curve:
    """Over the partitions: how well clusters agree with the true classes."""

    def __init__(self) -> None:
        self.purity: list[float] = []
        self.nmi: list[float] = []

    def add(self, cluster_N: np.ndarray, true_N: np.ndarray) -> dict[str, float]:
        from sklearn.metrics import normalized_mutual_info_score

        self.purity.append(purity(cluster_N, true_N))
        self.nmi.append(float(normalized_mutual_info_score(true_N, cluster_N)))
        return {"purity": self.purity[-1], "nmi": self.nmi[-1]}


def _features(model: Model, source: Source) -> np.ndarray:
    """Embed every example under running statistics, as ``evaluate`` does by default."""
    found = []
    everyone = torch.arange(source.num_examples, device=source.device)
    for index in torch.split(everyone, EMBED_AT_ONCE):
        with torch.no_grad():
            x = source.examples(index)
            z = model.network.encode(model.params, model.buffers, x, "stored")
        found.append(z.cpu())
    features_ND = torch.cat(found).numpy()
    if not np.isfinite(features_ND).all():
        raise Diverged("a feature of the embedding")
    return features_ND


def _partition(features_ND: np.ndarray, spec: StageSpec, number: int) -> np.ndarray:
    """Return the cluster of each example [N] in one partition."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    settings = spec.inputs["clusters"]
    coordinates = (spec.inputs["data"]["digest"], spec.inputs["seed"])
    if number > 0:
        rng = generator(torch.device("cpu"), "cluster scales", *coordinates, number)
        scale_D = torch.rand(features_ND.shape[1], generator=rng, dtype=torch.float64).numpy()
        features_ND = (features_ND * scale_D).astype(features_ND.dtype)
    means = KMeans(
        n_clusters=settings["k"],
        n_init=STARTS_OF_ONE if settings["partitions"] == 1 else STARTS_OF_MANY,
        max_iter=ITERATIONS,
        random_state=derive("cluster", *coordinates, number) % 2**32,  # it takes 32 bits
    )
    # One thread: several add up in any order. Fewer distinct points than clusters: sizes tell.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        assigned: np.ndarray = means.fit_predict(features_ND).astype(np.int32)
    return assigned


def purity(cluster_N: np.ndarray, true_N: np.ndarray) -> float:
    """Return the share of examples that are of their cluster's most frequent class."""
    table = np.zeros((cluster_N.max() + 1, true_N.max() + 1), np.int64)
    np.add.at(table, (cluster_N, true_N), 1)
    return float(table.max(1).sum() / len(true_N))


def _sizes(cluster_N: np.ndarray, k: int) -> dict[str, Json]:
    counts = np.bincount(cluster_N, minlength=k)
    spread = {"smallest": counts.min(), "median": np.median(counts), "largest": counts.max()}
    return {name: int(value) for name, value in spread.items()}


def read_clusters(store: Store, key: str) -> Tensor:
    """Return the clusters [P, N] that a finished stage found; raises Damaged."""
    return load(store.read("cluster", key, CLUSTERS))["clusters"].long()


def pseudo_classes(part: Part, spec: StageSpec, store: Store) -> Part:
    """Return a split with clusters in the place of its classes: those that fill an episode.

    Raises:
        ValueError: fewer clusters are large enough than an episode has ways.
    """
    asked, key = spec.inputs, spec.inputs["needs"]["cluster"]
    found_PN = read_clusters(store, key)
    least, k = asked["shots"] + asked["queries"], int(found_PN.max()) + 1
    ((members, counts),) = large_enough(found_PN, k, least, asked["ways"])
    order_N = unlabelled_order(found_PN.shape[1])
    own = zip(members, counts.tolist(), strict=True)
    return grouped(part, [order_N[one[:count]].tolist() for one, count in own])


def large_enough(clusters_PN: Tensor, k: int, least: int, ways: int) -> list[Members]:
    """Return for each partition the members of its clusters of ``least`` examples or more.

    Raises:
        ValueError: in a partition are fewer of them than a task has ways.
    """
    found = [members_of(cluster_N, least) for cluster_N in clusters_PN]
    for number, (_, counts) in enumerate(found):
        if len(counts) < ways:
            raise ValueError(
                f"only {len(counts)} of {k} clusters of partition {number} hold {least} examples"
                f" (shots and queries of a class), and a task has {ways} ways"
            )
    return found
