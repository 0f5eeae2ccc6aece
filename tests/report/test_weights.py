"""The figure of learned weights: a panel a row, a line a member, whatever else a curve holds."""

import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from bench.cell import Json
from bench.report.figures.weights import _panels, _weights, weights_figure
from bench.report.results import Results, read_results

Make = Callable[..., Any]


def results_with(synthetic: Make, members: Mapping[str, float]) -> Results:
    """Return synthetic results whose simclr rows have learned weights that end at these."""
    results = read_results(*synthetic().build())
    manifests: dict[str, Mapping[str, Json]] = dict(results.manifests)
    for key, manifest in manifests.items():
        if manifest["kind"] == "pretrain":
            curve = manifest["curve"]
            ends = {
                f"weight/{name}": np.linspace(1 / len(members), end, len(curve["steps"])).tolist()
                for name, end in members.items()
            }
            manifests[key] = {**manifest, "curve": {**curve, **ends}}
    return replace(results, manifests=manifests)


def test_a_row_without_learned_weights_has_no_panel(synthetic: Make) -> None:
    """Where nothing has weights there is no figure."""
    assert weights_figure(read_results(*synthetic().build())) is None


def test_rows_that_share_a_training_share_its_panel(synthetic: Make) -> None:
    """A panel holds one manifest a seed, also where shots and rows share them, and its members."""
    found = _panels(results_with(synthetic, {"rotation": 0.1, "simclr": 0.9}))
    assert {title: len(manifests) for title, manifests in found.items()} == {
        "simclr + maml; simclr + none": 3
    }
    assert _weights(next(iter(found.values()))[0]) == ["rotation", "simclr"]


def test_an_embedding_has_a_panel_of_its_own(synthetic: Make) -> None:
    """What learns the weights of an embedding is shown apart from what its row starts from."""
    results = results_with(synthetic, {"rotation": 0.1, "simclr": 0.9})
    pretrain = {
        one.cell.seed: one.cell.stages["pretrain"]
        for one in results.cells
        if "pretrain" in one.cell.stages
    }
    cells = [
        replace(one, cell=replace(one.cell, stages={**both, "embedding": pretrain[one.cell.seed]}))
        if one.cell.variant == "none + protonet"
        else one
        for one in results.cells
        for both in [one.cell.stages]
    ]
    found = _panels(replace(results, cells=tuple(cells)))
    assert {title: len(manifests) for title, manifests in found.items()} == {
        "none + protonet, embedding; simclr + maml; simclr + none": 3
    }


def test_the_figure_draws_every_member(synthetic: Make) -> None:
    """Each member has its colour, at GitHub's width, and words stand in for the picture."""
    picture = weights_figure(results_with(synthetic, {"rotation": 0.1, "simclr": 0.9}))
    assert picture is not None
    assert (picture.name, picture.alt.split(":")[0]) == (
        "weights",
        "Learned weights of pretexts",
    )
    pixels = np.array(Image.open(io.BytesIO(picture.png)).convert("RGB")).astype(int)
    assert pixels.shape[1] == 1760
    for colour in ((0, 0x72, 0xB2), (0xD5, 0x5E, 0)):
        assert (abs(pixels - colour).max(2) < 8).sum() > 500
