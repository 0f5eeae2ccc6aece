"""The weights that a pretext learns of its members: weight over training examples, a panel a row.

Shapes: S seeds, X points of a curve.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.cell import Json
from bench.report import words
from bench.report.figures.style import (
    COLOURS,
    DASHES,
    QUIET,
    Look,
    Picture,
    columns_of,
    handle,
    legend_below,
    legend_height,
    panels,
    picture,
    styled,
    wrapped,
)
from bench.report.results import Results

Manifest = Mapping[str, Json]
WEIGHT = "weight/"  # what a curve's name begins with, before the member's


def weights_figure(results: Results) -> Picture | None:
    """Draw the learned weights of every row that has some; None where none has."""
    found = _panels(results)
    if not found:
        return None
    alt = "Learned weights of pretexts: mean over seeds; band: lowest to highest; dotted: uniform"
    if any(None in manifests for manifests in found.values()):
        alt += "; where a seed is not finished, a thin line for each that is"
    with styled():
        return picture("weights", alt, _draw(found))


def _panels(results: Results) -> dict[str, list[Manifest | None]]:
    """Return panel title -> manifests, one a seed; rows that share a training share a panel.

    None stands for a seed that is not finished.
    """
    several = len({one.cell.data for one in results.cells}) > 1
    found: dict[str, dict[str, Manifest | None]] = {}
    for one in results.cells:
        for role in ("pretrain", "embedding"):
            key = one.cell.stages.get(role)
            if key and (key not in results.manifests or _weights(results.manifests[key])):
                title = one.cell.variant + (f" ({one.cell.data})" if several else "")
                title += ", embedding" if role == "embedding" else ""
                found.setdefault(title, {})[key] = results.manifests.get(key)
    owners: dict[tuple[str, ...], list[str]] = {}
    for title, manifests in found.items():
        if not any(manifests.values()):
            continue
        owners.setdefault(tuple(manifests), []).append(title)
    return {
        "; ".join(titles): [results.manifests.get(key) for key in keys]
        for keys, titles in owners.items()
    }


def _weights(manifest: Manifest | None) -> list[str]:
    """Return the members whose weights a curve holds, where it has more than a point."""
    if manifest is None or len(manifest["curve"]["steps"]) < 2:
        return []
    return [name.removeprefix(WEIGHT) for name in manifest["curve"] if name.startswith(WEIGHT)]


def _draw(found: Mapping[str, Sequence[Manifest | None]]) -> Figure:
    shown = {title: _members(manifests) for title, manifests in found.items()}
    members = list(dict.fromkeys(name for named in shown.values() for name in named))
    looks = {name: _look(number) for number, name in enumerate(members)}
    axes = panels(len(found), 2.3, extra=legend_height(members))
    for axis, (title, manifests) in zip(axes, found.items(), strict=True):
        named = shown[title]
        for name in named:
            _curve(axis, manifests, name, looks[name])
        axis.axhline(1 / len(named), color=QUIET, linestyle=":", linewidth=1, zorder=1)
        axis.set(title=wrapped(title))
        axis.set_xlim(left=0)
        axis.set_ylim(bottom=0)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: words.count(value)))
    columns = columns_of(len(axes))
    for axis in axes[-columns:]:
        axis.set_xlabel("training examples")
    for axis in axes[::columns]:
        axis.set_ylabel("weight")
    figure = axes[0].figure
    assert isinstance(figure, Figure)
    legend_below(figure, [handle(looks[name]) for name in members], members)
    return figure


def _look(number: int) -> Look:
    turn, place = divmod(number, len(COLOURS))
    colour = COLOURS[place]
    return Look(colour=colour, marker="", dashes=DASHES[turn % len(DASHES)], fill=colour)


def _members(manifests: Sequence[Manifest | None]) -> list[str]:
    """Return the members whose weights a row learned: the same for each of its seeds."""
    return _weights(next(one for one in manifests if one))


def _curve(axis: Axes, seeds: Sequence[Manifest | None], member: str, look: Look) -> None:
    """Draw the mean and the range over seeds, whose steps are the same; else a thin line a seed."""
    manifests = [one for one in seeds if one]
    weight_SX = np.array([one["curve"][WEIGHT + member] for one in manifests], float)
    steps = np.array(manifests[0]["curve"]["steps"], float)
    examples = steps * (manifests[0]["cost"]["examples"] / steps[-1])
    if len(manifests) < len(seeds):
        axis.plot(examples, weight_SX.T, color=look.colour, linestyle=look.dashes, linewidth=0.8)
        return
    low, high = weight_SX.min(0), weight_SX.max(0)
    axis.fill_between(examples, low, high, color=look.colour, alpha=0.15, linewidth=0)
    axis.plot(examples, weight_SX.mean(0), color=look.colour, linestyle=look.dashes, linewidth=1.4)
