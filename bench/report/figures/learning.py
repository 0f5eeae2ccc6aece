"""The learning curves: loss over training examples, one panel a kind of stage and method."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.cell import ROLES, Cell, Json, kind_of
from bench.report import words
from bench.report.figures.style import (
    CONTROL,
    SOLID,
    Look,
    Picture,
    columns_of,
    handle,
    legend_below,
    legend_height,
    looks,
    panels,
    picture,
    styled,
    wrapped,
)
from bench.report.headline import headline_of
from bench.report.results import Results

Manifest = Mapping[str, Json]
SHARED = Look(colour=CONTROL, marker="", dashes=SOLID, fill=CONTROL)
TITLE_CHARS = 38  # of a third of the width
SHARED_LABEL = "shared by several variants"


def learning_figure(results: Results) -> Picture | None:
    """Draw every trained stage; losses of different methods differ in scale, so do the panels."""
    found = _panels(results)
    if not found:
        return None
    new = any(one.cell.held_out for one in results.cells)
    over = "seeds and what was held out" if new else "seeds"
    alt = f"Learning curves: mean loss over {over}; band: lowest to highest"
    if any(None in seeds for panel in found.values() for seeds in panel.values()):
        alt += "; where some are not finished, a thin line for each that is"
    with styled():
        return picture("learning", alt, _draw(found, looks(results)))


def _panels(results: Results) -> dict[str, dict[str, list[Manifest | None]]]:
    """Return panel title -> variant (or SHARED_LABEL) -> manifests, one a seed.

    None stands for a seed that is not finished.
    """
    owners: dict[str, list[str]] = {}
    titles: dict[str, str] = {}
    several = len({one.cell.data for one in results.cells}) > 1
    matched, of = _matched(results), headline_of(results.plan)
    for one in results.cells:
        for role in ROLES:
            kind, key = kind_of(role), one.cell.stages.get(role)
            if key is not None and _has_curve(results.manifests.get(key)):
                method = one.cell.meta if kind == "metatrain" else _objective(one.cell, role)
                apart = [one.cell.data] if several else []
                if kind == "metatrain" and one.cell.variant in matched:
                    apart.append(of.tasks(one.cell.shots))
                titles[key] = f"{kind}: {method}" + (f" ({', '.join(apart)})" if apart else "")
                owners.setdefault(key, []).append(one.cell.variant)
    found: dict[str, dict[str, list[Manifest | None]]] = {}
    for key, variants in sorted(owners.items(), key=lambda item: _place(titles[item[0]])):
        owner = variants[0] if len(set(variants)) == 1 else SHARED_LABEL
        panel = found.setdefault(titles[key], {})
        panel.setdefault(owner, []).append(results.manifests.get(key))
    begun = {
        title: {o: seeds for o, seeds in panel.items() if any(seeds)}
        for title, panel in found.items()
    }
    return {title: panel for title, panel in begun.items() if panel}


def _objective(cell: Cell, role: str) -> str:
    if role == "embedding":
        return str(cell.params["tasks.pretext"]["name"])
    return cell.init if cell.pretext == "none" else cell.pretext


def _matched(results: Results) -> set[str]:
    """Return the variants that are trained anew for each number of test shots."""
    keys: dict[tuple[str, str, str, int], set[str | None]] = {}
    for one in results.cells:
        place = (one.cell.variant, one.cell.data, one.cell.held_out, one.cell.seed)
        keys.setdefault(place, set()).add(one.cell.stages.get("metatrain"))
    return {variant for (variant, *_), trainings in keys.items() if len(trainings) > 1}


def _place(title: str) -> tuple[bool, str]:
    return not title.startswith("pretrain"), title


def _has_curve(manifest: Manifest | None) -> bool:
    """Whether a stage has a curve to draw; of one that is not finished it is supposed."""
    if manifest is None:
        return True
    return "loss" in manifest["curve"] and len(manifest["curve"]["steps"]) > 1


def _draw(
    found: Mapping[str, Mapping[str, Sequence[Manifest | None]]], look: Mapping[str, Look]
) -> Figure:
    names = list(dict.fromkeys(owner for panel in found.values() for owner in panel))
    labels = [name for name in look if name in names] + [n for n in names if n == SHARED_LABEL]
    axes = panels(len(found), 2.3, extra=legend_height(labels))
    for axis, (title, panel) in zip(axes, found.items(), strict=True):
        for owner, manifests in panel.items():
            _curve(axis, manifests, look.get(owner, SHARED))
        axis.set(title=wrapped(title, TITLE_CHARS))
        axis.set_xlim(left=0)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: words.count(value)))
    figure = axes[0].figure
    assert isinstance(figure, Figure)
    columns = columns_of(len(axes))
    for axis in axes[-columns:]:
        axis.set_xlabel("training examples")
    for axis in axes[::columns]:
        axis.set_ylabel("loss")
    legend_below(figure, [handle(look.get(label, SHARED)) for label in labels], labels)
    return figure


def _curve(axis: Axes, manifests: Sequence[Manifest | None], look: Look) -> None:
    """Mean and range over seeds where all are there and steps agree; else one thin line a seed."""
    curves = [_examples_and_loss(manifest) for manifest in manifests if manifest]
    agree = all(np.array_equal(x, curves[0][0]) for x, _ in curves)
    if len(curves) < len(manifests) or not agree:
        for x, loss in curves:
            axis.plot(x, loss, color=look.colour, linestyle=look.dashes, linewidth=0.8)
        return
    loss_SX = np.stack([loss for _, loss in curves])
    x = curves[0][0]
    axis.fill_between(x, loss_SX.min(0), loss_SX.max(0), color=look.colour, alpha=0.15, linewidth=0)
    axis.plot(
        x,
        loss_SX.mean(0),
        color=look.colour,
        linestyle=look.dashes,
        linewidth=1.4,
        marker=look.marker,
        markerfacecolor=look.fill,
        markersize=5,
        markevery=[-1],
    )


def _examples_and_loss(manifest: Manifest) -> tuple[np.ndarray, np.ndarray]:
    steps = np.array(manifest["curve"]["steps"], float)
    examples = steps * (manifest["cost"]["examples"] / max(steps[-1], 1.0))
    return examples, np.array(manifest["curve"]["loss"], float)
