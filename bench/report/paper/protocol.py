"""The protocol in sentences for a paper: data, episodes, networks, whose statistics, budgets."""

import re
from collections.abc import Sequence

from bench.cell import ROLES
from bench.report import words
from bench.report.headline import headline_of
from bench.report.paper import continual
from bench.report.results import CellResult, Results
from bench.report.streams import episodes_of
from bench.report.views import control_text, speed_text

FEW = 3  # values that a sentence can hold
PHASES = {
    "pretrain": "pre-training",
    "embedding": "the embedding of clusters",
    "metatrain": "meta-training",
}
STATISTICS = {
    "running": "the running statistics of training",
    "support": "the statistics of the support set",
    "transductive": "the statistics of the batch, of queries too (transductive)",
    "group": "groups of channels, example by example",
}


def protocol(results: Results) -> str:
    """Say on what, with what and for how long variants were trained and tested."""
    settings = results.plan.settings
    seeds = sorted({one.cell.seed for one in results.cells})
    of = headline_of(results.plan)
    kind = "tasks" if settings.get("held_out") else episodes_of(results.plan)
    return (
        f"{_incomplete(results)}{_data(results)} Each variant was trained with {len(seeds)} "
        f"seed{'s' * (len(seeds) != 1)} ({words.ranges(seeds)}) and tested on "
        f"{settings['episodes']} {kind} ({_ways(results)}; {of.queries(settings['queries'])}; "
        f"{continual.steps(results) or _steps(results)}) drawn from the test "
        f"{of.groups} of {words.listing(_tested(results))}; {_same(results, kind)}"
        f"{_networks(results)}{_norms(results)}{_budgets(results)}"
        f"{speed_text.method(results.plan)}{control_text.method(results.plan)}"
        f"{continual.method(results)}"
    )


def _same(results: Results, kind: str) -> str:
    """Say whether all rows of a setting met the same episodes, by the digests of their banks."""
    banks: dict[tuple[str, int, int, str], set[str]] = {}
    for one in results.groups:
        own = banks.setdefault((one.data, one.ways, one.shots, one.held_out), set())
        own.update(one.banks)
    if any(len(own) > 1 for own in banks.values()):
        return (
            f"not every variant and seed met the same {kind}: no two that met others are compared."
        )
    return f"every variant and seed meets the same {kind}."


def _incomplete(results: Results) -> str:
    left = len(results.unfinished())
    if not left:
        return ""
    planned = len(results.every_cell)
    return f"Results are incomplete: {planned - left} of {planned} planned runs are done. "


def _data(results: Results) -> str:
    """Name each set by its digest; training, validation and test classes by number if planned."""
    counts, of = results.plan.settings.get("classes", {}), headline_of(results.plan)
    said = []
    for name, digest in results.plan.settings["data"].items():
        own = counts.get(name, {})
        numbers = [f"{own[split]} {split}" for split in ("train", "val", "test") if split in own]
        split = f"{words.listing(numbers)} {of.groups}, " if numbers else ""
        said.append(f"{name} ({split}sha256 {str(digest)[:12]})")
    each = f"Each {of.group} is of the training, the validation or the test split."
    return f"Data: {words.listing(said)}. {each}{_roles(results)}"


def _tested(results: Results) -> list[str]:
    """Name each set that rows were tested on once."""
    roles = results.plan.settings.get("roles", {})
    if not roles:
        return list(results.plan.settings["data"])
    data = dict.fromkeys(one.cell.data for one in results.cells)
    return list(dict.fromkeys(roles.get(one, {}).get("test", one) for one in data))


def _roles(results: Results) -> str:
    """Say on which splits of which sets rows were trained and tested, where sets are several."""
    said = [
        f" Under {words.escape(data)}, pre-training saw the training split of {of['pretrain']}, "
        f"meta-training that of {of['train']}, and weights were chosen on the validation split "
        f"of the set they were trained on; the test split is that of {of['test']}."
        for data, of in results.plan.settings.get("roles", {}).items()
    ]
    return "".join(said)


def _ways(results: Results) -> str:
    settings = {(one.cell.ways, one.cell.shots): None for one in results.cells}
    of = headline_of(results.plan)
    return words.listing([of.sizes(ways, shots) for ways, shots in settings])


def _networks(results: Results) -> str:
    """Name the encoders, and how many parameters the tested models have."""
    numbers: dict[str, set[int]] = {}
    for one in _outcomes(results):
        own = numbers.setdefault(one.cell.encoder, set())
        own.add(int(one.manifest["cost"]["parameters"]))
    said = [f"{name} ({_range(sorted(own))} parameters)" for name, own in sorted(numbers.items())]
    return f" Tested networks, heads included: {words.listing(said)}." if said else ""


def _norms(results: Results) -> str:
    """Say whose statistics normalise features at test, by variant where that differs."""
    names: dict[str, dict[str, None]] = {}
    for one in results.cells:
        names.setdefault(one.cell.norm, {})[words.escape(one.cell.variant)] = None
    most = max(names, key=lambda norm: len(names[norm]))
    said = [
        f"{STATISTICS[norm]} for {words.listing(list(own))}"
        for norm, own in names.items()
        if norm != most
    ]
    said.append(STATISTICS[most] + (" for all others" if said else ""))
    if not headline_of(results.plan).classes:
        return (
            f" Features are normalised, by layers of an encoder that do so, by {'; '.join(said)}."
        )
    return f" At test features are normalised by {'; '.join(said)}."


def _budgets(results: Results) -> str:
    """Name the budgets of each phase of training, where they are few, and how they are scaled."""
    found: dict[str, dict[str, None]] = {}
    for one in results.cells:
        for role in ROLES:
            budget = one.cell.params.get(f"{role}.budget")
            if budget:
                found.setdefault(role, {})[_separated(str(budget))] = None
    said = [
        f"{PHASES.get(role, role)} "
        f"{' or '.join(own) if len(own) <= FEW else f'{len(own)} different ones'}"
        for role, own in found.items()
    ]
    scale = float(results.plan.settings.get("budget_scale", 1.0))
    scaled = f", all scaled by {scale:g}" if scale != 1 else ""
    return f" Training budgets of the suite: {words.listing(said)}{scaled}." if said else ""


def _separated(text: str) -> str:
    """Return a text with commas in its long numbers."""
    return re.sub(r"\d{5,}", lambda found: f"{int(found[0]):,}", text)


def _outcomes(results: Results) -> list[CellResult]:
    return [one for one in results.cells if one.status == "done"]


def _range(numbers: Sequence[int]) -> str:
    low, high = f"{numbers[0]:,}", f"{numbers[-1]:,}"
    return low if low == high else f"{low} to {high}"


def _steps(results: Results) -> str:
    """Say how many steps of adaptation the variants take before their accuracy counts."""
    taken: dict[int, list[str]] = {}
    for group in results.groups:
        last = max((one.steps[-1] for one in group.done), default=0)
        if last and group.variant not in taken.setdefault(last, []):
            taken[last].append(group.variant)
    parts = [
        f"{number} step{'s' * (number != 1)} of adaptation for "
        f"{words.listing([words.escape(name) for name in names])}"
        for number, names in sorted(taken.items())
    ]
    return "; ".join(parts) or "no variant adapts by steps"
