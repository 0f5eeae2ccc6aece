"""What a mirror is to hold of a plan, read from the store: one child a trained stage and a cell.

A bare metric is a final number (``accuracy``); a curve has a prefix: ``pretrain/loss`` over
training steps, ``adaptation/accuracy`` over steps at test time. Knows no MLflow.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench.cell import ROLES, TRAINED, Cell, Json, StageSpec, digest, kind_of
from bench.plan import Plan
from bench.store import Store

FORM = 1  # raised when a child is to hold something else: every one is then written anew
TEXT = 5000  # characters; MLflow takes 6000 of a param, 8000 of a tag
Points = dict[tuple[str, int], float]  # (metric, step) -> value
Texts = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Child:
    """A trained stage or a cell, and its stages (role to key), of which the last is its own."""

    name: str
    tags: Texts
    params: Texts
    stages: Mapping[str, str]

    @property
    def identity(self) -> str:
        """What its run is found by: the key, and for a cell its name."""
        return identity(self.tags)

    @property
    def own(self) -> tuple[str, str]:
        """Kind and key of the stage whose end is the child's end."""
        role, key = list(self.stages.items())[-1]
        return kind_of(role), key


@dataclass(frozen=True, kw_only=True)
class Content:
    """What the store holds for a child."""

    status: Literal["FINISHED", "FAILED"]
    points: Points = field(default_factory=dict)
    tags: Texts = field(default_factory=dict)
    seconds: float = 0.0
    file: Path | None = None
    traceback: str = ""

    def continues(self, live: Points) -> bool:
        """Whether what was logged live is a part of this; a failure leaves no other curve."""
        return self.status == "FAILED" or live.items() <= self.points.items()


def identity(tags: Texts) -> str:
    """Return what a run with these tags is found by."""
    return f"{tags['key']} {tags.get('cell', '')}".strip()


def describe(spec: StageSpec) -> str:
    """Name a stage for people: ``pretrain simclr seed 0``, ``evaluate protonet 5-way 1-shot``."""
    inputs = spec.inputs
    words: list[str] = [spec.kind]
    if inputs.get("subject") == "data":
        words.append(inputs["data"]["name"])
    prefixes = {"tasks": "on ", "auxiliary": "beside ", "member": "on new "}
    for role in ("init", "pretext", "meta", "tasks", "auxiliary", "member"):
        plugin = inputs.get(role)
        if plugin is not None and plugin["name"] != "none":
            words.append(f"{prefixes.get(role, '')}{plugin['name']}")
    if "clusters" in inputs:
        words.append(f"k={inputs['clusters']['k']}")
    if inputs.get("ways") is not None and inputs.get("shots") is not None:
        words.append(f"{inputs['ways']}-way {inputs['shots']}-shot")
    return " ".join([*words, *([f"seed {inputs['seed']}"] if "seed" in inputs else [])])


def children(plan: Plan) -> Iterator[Child]:
    """Every trained stage, then every cell."""
    yield from (stage_child(spec) for spec in plan.stages.values() if spec.kind in TRAINED)
    yield from (cell_child(cell) for cell in plan.cells)


def stage_child(spec: StageSpec) -> Child:
    """Describe a trained stage; a plug-in's parameters are named ``pretext.temperature``."""
    params: dict[str, Json] = {}
    for role, value in spec.inputs.items():
        if isinstance(value, Mapping) and "name" in value:
            params[role] = value["name"]
            params |= {f"{role}.{name}": one for name, one in value.get("params", {}).items()}
        else:
            params[role] = value
    return Child(
        name=describe(spec),
        tags={"kind": "stage", "stage": spec.kind, "key": spec.key},
        params=_texts(params),
        stages={spec.kind: spec.key},
    )


def cell_child(cell: Cell) -> Child:
    """Describe a cell: its coordinates, and every resolved parameter."""
    fields = cell.described
    stages, params = fields.pop("stages"), fields.pop("params")
    del fields["id"]
    return Child(
        name=cell.id,
        tags={"kind": "cell", "cell": cell.id, "key": stages["evaluate"]},
        params=_texts(params | fields),
        stages={role: stages[role] for role in (*ROLES, "evaluate") if role in stages},
    )


def content_digest(store: Store, child: Child) -> str:
    """Hash what the store holds for a child; empty while it has neither finished nor failed."""
    marks = {role: _mark(store, kind_of(role), key) for role, key in child.stages.items()}
    failed = any(mark.startswith("failed") for mark in marks.values())
    if not failed and not list(marks.values())[-1]:
        return ""
    return digest([FORM, child.name, dict(child.tags), dict(child.params), marks])


def content(store: Store, child: Child) -> Content | None:
    """Read what the store holds for a child; raises Damaged."""
    if store.has(*child.own):
        return _finished(store, child)
    for role, key in child.stages.items():
        failures = [] if store.has(kind_of(role), key) else store.failures(key)
        if failures:
            return Content(
                status="FAILED",
                tags=_texts({"reason": f"{role}: {failures[-1]['reason']}"}),
                traceback=failures[-1].get("traceback", ""),
            )
    return None


def _finished(store: Store, child: Child) -> Content:
    """Collect the curves of every stage, and the final numbers of the child's own."""
    done = {role: key for role, key in child.stages.items() if store.has(kind_of(role), key)}
    manifests = {role: store.manifest(kind_of(role), key) for role, key in done.items()}
    own = list(manifests.values())[-1]
    points: Points = {}
    for role, manifest in manifests.items():
        points |= _curves(role, manifest["curve"])
        points |= _curves(role, manifest.get("snapshots", {}))
    cost = {f"cost/{name}": value for name, value in own["cost"].items()}
    finals = own["metrics"] | cost
    tags = {f"provenance.{name}": value for name, value in own["provenance"].items()}
    return Content(
        status="FINISHED",
        points=points | {(name, 0): float(v) for name, v in finals.items() if v is not None},
        tags=_texts(tags | ({"bank": own["bank"]} if "bank" in own else {})),
        seconds=own["cost"]["seconds"],
        file=_episodes(store, *child.own),
    )


def _episodes(store: Store, kind: str, key: str) -> Path | None:
    """Return the per-episode file of an evaluation, once its sum is checked."""
    if kind != "evaluate":
        return None
    store.read(kind, key, "episodes.parquet")
    return store.folder(kind, key) / "episodes.parquet"


def _curves(role: str, curve: Mapping[str, Json]) -> Points:
    prefix = "adaptation" if role == "evaluate" else role
    return {
        (f"{prefix}/{name}", step): float(value)
        for name, values in curve.items()
        if name != "steps"
        for step, value in zip(curve["steps"], values, strict=True)
        if value is not None
    }


def _mark(store: Store, kind: str, key: str) -> str:
    """Say what the store holds of a stage: another text whenever that changes."""
    if store.has(kind, key):
        return f"done {(store.folder(kind, key) / 'SHA256SUMS').read_text()}"
    failures = store.failures(key)
    return f"failed {len(failures)} {failures[-1]['reason']}" if failures else ""


def _texts(values: Mapping[str, Json]) -> dict[str, str]:
    """Write values as text, and cut what MLflow would refuse for its length."""
    return {
        name: (value if isinstance(value, str) else json.dumps(value))[:TEXT]
        for name, value in values.items()
    }
