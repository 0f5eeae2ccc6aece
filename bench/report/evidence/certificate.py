"""What a report says of the cells that were computed again from nothing.

``results/certificates/<plan's name>.json`` is written by ``bench verify SUITE --cells N``.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from bench.cell import Json
from bench.plan import Plan
from bench.report import words
from bench.store import Store

SAME = ("hardware", "device", "torch", "python", "numpy", "sklearn", "bench")
"""Of the provenance of a stage: where these are equal, its bits should be."""


def path_of(plan: Plan, store: Store) -> Path:
    """Return where a plan's certificate lies."""
    return store.root.parent / "certificates" / f"{plan.name}.json"


def of_store(plan: Plan, store: Store, sums: Mapping[str, str]) -> Json:
    """Return a plan's certificate; ``stale`` alone, with its date, where it is of other results.

    None where there is none. ``sums``: a stage's key to the sha256 of its SHA256SUMS.
    """
    path = path_of(plan, store)
    if not path.is_file():
        return None
    try:
        found: dict[str, Json] = json.loads(path.read_bytes())
        certified = {one["key"]: one["sums"] for one in found["stages"]}
        cells = {one["key"] for one in found["cells"]}
        date = str(found["date"])
    except (ValueError, KeyError, TypeError):
        return {"stale": "of an unknown day"}
    tested = {cell.stages["evaluate"] for cell in plan.cells}
    current = certified.items() <= sums.items() and cells <= tested & certified.keys()
    return found if current and certified else {"stale": f"of {date}"}


def lines(certificate: Json, plan: Plan) -> list[str]:
    """Say in lines which cells were computed again, where, and whether they are equal."""
    command = f"`bench verify {plan.settings.get('file') or 'SUITE'} --cells 3`"
    if certificate is None:
        return [f"No cell of this suite was recomputed: {command}"]
    if "stale" in certificate:
        return [f"A certificate {certificate['stale']} is left out: of other results. {command}"]
    return [_verdict(certificate), *_differences(certificate), _chosen(certificate)]


def banners(certificate: Json) -> list[str]:
    """Warn where stages came out otherwise, though hardware and versions are the same."""
    stages = (certificate or {}).get("stages", [])
    other = [one for one in stages if not one["equal"] and not _elsewhere(one)]
    if not other:
        return []
    return [
        f"Not reproduced: {len(other)} of {len(stages)} stages that were computed again are not "
        "equal, on the same kind of hardware and the same versions (see Certificate)."
    ]


def _verdict(certificate: Json) -> str:
    cells = certificate["cells"]
    were = "was" if len(cells) == 1 else "were"
    equal = "are equal bit for bit" if certificate["equal"] else "are **not equal bit for bit**"
    here = certificate["here"]
    return (
        f"{len(cells)} of {certificate['cells_planned']} cells {were} recomputed from nothing on "
        f"{certificate['date']} and {equal}: {len(certificate['stages'])} stages, "
        f"{words.duration(certificate['seconds'])} of computing, on {described(here)}"
    )


def _differences(certificate: Json) -> list[str]:
    """One line a stage that is not equal, and whether it was computed elsewhere before."""
    return [
        f"{one['kind']} `{one['key'][:12]}`: {words.escape(', '.join(one['differs']))}; "
        f"{because(one)}{apart(one)}"
        for one in certificate["stages"]
        if not one["equal"]
    ]


def _chosen(certificate: Json) -> str:
    names = [words.escape(one["id"]) for one in certificate["cells"]]
    return f"chosen by the hash of the plan and of the cells' keys: {'; '.join(names)}"


def because(stage: Json) -> str:
    """Say whether a stage was computed elsewhere or by other versions before."""
    other = _elsewhere(stage)
    if not stage["here"]:
        return "it could not be computed again"
    return f"other hardware or versions ({'; '.join(other)})" if other else "on the same machine"


def apart(stage: Json) -> str:
    """Say by how much accuracies of single episodes differ; nothing where they do not."""
    far = stage.get("largest_difference")
    return f"; accuracies differ by {far:g} at most" if far else ""


def _elsewhere(stage: Json) -> list[str]:
    """Say what of the provenance differs between the two computations of a stage."""
    there, here = stage["there"], stage["here"]
    return [
        f"{name} {there.get(name)} there, {here.get(name)} here"
        for name in SAME
        if there.get(name) != here.get(name)
    ]


def described(provenance: Mapping[str, Json]) -> str:
    """Name hardware and versions: ``AMD EPYC (cpu), torch 2.15.0, Python 3.11.7, bench 0.1.0``."""
    if not provenance:
        return "nothing"
    return (
        f"{provenance.get('hardware')} ({provenance.get('device')}), torch "
        f"{provenance.get('torch')}, Python {provenance.get('python')}, bench "
        f"{provenance.get('bench')}"
    )
