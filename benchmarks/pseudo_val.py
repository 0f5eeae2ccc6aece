"""Which score without labels agrees with the one by labels: rates of SimCLR on glyphs, ranked.

    python benchmarks/pseudo_val.py --results /tmp/pseudo_val

Tunes SimCLR's rate on a grid, by ``pseudo_val``; then every trial's encoder is scored on the
validation split by the true classes, and by several kinds of pseudo-classes. Printed: the rank
correlation of each with the score by true classes, and that score of the trial it would choose.

Shapes: N images of the validation split, D features.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from sklearn.cluster import KMeans
from torch import Tensor, nn

from bench import pipeline
from bench.augment.affine import Affine
from bench.cell import Json
from bench.episodes import draw_bank
from bench.form import Form
from bench.options import Options
from bench.stages.model import assemble
from bench.stages.place import Place
from bench.stages.source import read_part
from bench.store import Store

SUITE = """
name: pseudo_val_{images}
data: glyphs
encoder: {{name: conv4, width: 32}}
pretext: {{name: simclr, batch_size: 64, temperature: 0.1}}
shots: [1, 5]
seeds: 1
budget: {{pretrain_examples: {images}}}
evaluate: {{episodes: 100, queries: 15}}
tune: {{sampler: grid, points: 7, trials: 8, space: {{pretext/simclr: {{rate: {rates}}}}}}}
"""
RATES = "{low: 0.0001, high: 0.03, log: true}"
WAYS, QUERIES, SHOTS, EPISODES = 5, 15, (1, 5), 200
CLUSTER_SIZE = 60  # images, about
VIEWS = 4  # of each image, to tell images apart by


def main() -> None:
    """Tune at each budget, and print how the scores agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--images", type=int, nargs="+", default=[40_000, 120_000])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for images in asked.examples:
        suite = asked.results / f"pseudo_val_{images}.yaml"
        suite.parent.mkdir(parents=True, exist_ok=True)
        suite.write_text(SUITE.format(examples=images, rates=RATES))
        done = pipeline.tune(suite, Options(results=asked.results))
        evaluations = [
            done.plan.stages[cell.stages["evaluate"]].inputs
            for cell in done.plan.cells
            if cell.shots == SHOTS[0]
        ]
        rates = [trial["params"]["pretext.rate"] for trial in done.record["rows"][0]["trials"]]
        scores = scores_of(evaluations, Store(asked.results))
        print(f"\n{images} images; rates {', '.join(f'{rate:.2g}' for rate in rates)}")
        true = scores["true classes"]
        for name, found in scores.items():
            rank = spearmanr(true, found).statistic
            chosen = true[int(np.argmax(found))]
            values = " ".join(f"{value:.3f}" for value in found)
            print(f"{name:<34} rank {rank:+.2f}  would choose {chosen:.3f}  ({values})")


def scores_of(evaluations: list[Json], store: Store) -> dict[str, np.ndarray]:
    """Return each kind of score of every trial; the first is the default."""
    place = Place(
        store=store, device=torch.device("cpu"), emit=lambda event: None, checkpoint_seconds=1e9
    )
    part = read_part(evaluations[0]["data"])
    x = torch.from_numpy(np.array(part.examples)).float() / 255
    needs = [{"pretrain": one["needs"]["pretrain"]} for one in evaluations]
    features = [embed(evaluations[0], one, x, place) for one in needs]
    untrained = clusters(embed(evaluations[0], {}, x, place))
    rng = torch.Generator().manual_seed(0)
    views = [Affine()(x, rng) for _ in range(VIEWS)]
    apart = [
        told_apart(z, [embed(evaluations[0], one, view, place) for view in views])
        for one, z in zip(needs, features, strict=True)
    ]
    found = {
        "true classes": [accuracy(z, part.counts, np.arange(len(x))) for z in features],
        "clusters of an untrained encoder": [accuracy(z, *untrained) for z in features],
        "clusters of the default's encoder": [
            accuracy(z, *clusters(features[0])) for z in features
        ],
        "clusters of its own encoder": [accuracy(z, *clusters(z)) for z in features],
        "views of images, 5-way": apart,
    }
    return {name: np.array(values) for name, values in found.items()}


def embed(inputs: Json, needs: Json, x: Tensor, place: Place) -> Tensor:
    """Return features [N, D] of a trial's encoder, or of an untrained one."""
    form = Form(shape=tuple(x.shape[1:]), modality="image")
    model = assemble(
        {**inputs, "needs": needs},
        place,
        form,
        lambda width: nn.Identity(),
        "pseudo_val",
        channels_last=False,
    )
    with torch.no_grad():
        parts = [
            model.network.encode(model.params, model.buffers, part, "stored")
            for part in torch.split(x, 512)
        ]
    return torch.cat(parts)


def clusters(z_ND: Tensor) -> tuple[list[int], np.ndarray]:
    """Return the sizes of clusters that fill an episode, and their images one after another."""
    points = F.normalize(z_ND.double(), dim=1).numpy()
    means = KMeans(len(points) // CLUSTER_SIZE, n_init=10, random_state=0).fit_predict(points)
    members = [np.flatnonzero(means == number) for number in range(means.max() + 1)]
    large = [one for one in members if len(one) >= max(SHOTS) + QUERIES]
    return [len(one) for one in large], np.concatenate(large)


def accuracy(z_ND: Tensor, counts: list[int] | tuple[int, ...], order: np.ndarray) -> float:
    """Return the mean accuracy of prototypes over episodes of these classes, of all shots."""
    found = []
    for shots in SHOTS:
        bank = draw_bank(
            counts,
            data_digest="pseudo_val",
            split="val",
            ways=WAYS,
            shots=shots,
            queries=QUERIES,
            episodes=EPISODES,
        )
        z = z_ND[order]
        means = z[torch.from_numpy(bank.support_ENK)].mean(2)
        queries = z[torch.from_numpy(bank.query_ENQ)]
        nearest = torch.cdist(queries.flatten(1, 2), means).argmin(2)
        right = nearest.reshape(queries.shape[:3]) == torch.arange(WAYS)[None, :, None]
        found.append(right.double().mean().item())
    return float(np.mean(found))


def told_apart(z_ND: Tensor, views: list[Tensor]) -> float:
    """Return how often a view of one of some images is nearest to that image."""
    rng, right = np.random.default_rng(0), []
    for _ in range(EPISODES):
        index = rng.choice(len(z_ND), WAYS, replace=False)
        for view in views:
            nearest = torch.cdist(view[index], z_ND[index]).argmin(1)
            right.append((nearest == torch.arange(WAYS)).double().mean().item())
    return float(np.mean(right))


if __name__ == "__main__":
    main()
