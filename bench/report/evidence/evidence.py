"""What a report is made from: gathered from the store, kept whole beside the report.

``evidence.json.gz`` holds plan, manifests, failures and sums of the stages; ``episodes.parquet``
the accuracies of every test episode. A report is a function of these two alone.
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TypeVar

from bench import published
from bench.cell import Json, digest
from bench.errors import UserError
from bench.plan import Plan
from bench.provenance import version_of
from bench.report.evidence import certificate, looks
from bench.report.evidence.episodes import (
    EPISODES,
    Episodes,
    Unreadable,
    pack_episodes,
    read_episodes,
    said,
    unpack_episodes,
)
from bench.store import SUMS, Damaged, Store

T = TypeVar("T")
REVISION = 10  # raised when a report of the same results reads differently
EVIDENCE = "evidence.json.gz"
FILES = (EVIDENCE, EPISODES)
PLANNED = ("kind", "key", "inputs")  # of a manifest: the plan has them
WRITERS = ("meta-ssl-bench", "numpy", "pandas", "pyarrow", "matplotlib", "seaborn", "pillow")
EXTRAS: Mapping[str, Callable[[Plan, Store, Mapping[str, str]], Json]] = {
    "certificate": certificate.of_store,
    "looks": looks.of_store,
}
"""What else a report shows, by name: from plan, store and sums; None where there is nothing."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that a report says is a function of this.

    By stage key: ``sums``, the sha256 of a finished stage's SHA256SUMS; ``failures``, why it
    failed, oldest first; ``manifests`` without what the plan has; ``damaged``, why it cannot be
    read; ``episodes``. ``numbers``: the sha256 of the published ones.
    """

    plan: Plan
    sums: Mapping[str, str]
    failures: Mapping[str, tuple[str, ...]]
    suite_changed: bool
    extras: Mapping[str, Json]
    numbers: str
    manifests: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    damaged: Mapping[str, str] = field(default_factory=dict)
    episodes: Mapping[str, Episodes] = field(default_factory=dict)
    written_by: Mapping[str, str] = field(default_factory=dict)  # package -> version; sources

    @cached_property
    def content_hash(self) -> str:
        """Hash of what decides all the rest: plan, finished stages, failures, revision, extras."""
        stages = [
            [key, self.sums.get(key), list(self.failures.get(key, ()))] for key in self.plan.stages
        ]
        decided = [self.plan.to_json(), stages, self.suite_changed, dict(self.extras)]
        return digest([REVISION, self.numbers, *decided])

    @property
    def notes(self) -> tuple[str, ...]:
        """One line for each damaged stage."""
        return tuple(
            f"{self.plan.stages[key].kind} {key[:12]} is damaged and counts as missing: {why}"
            for key, why in self.damaged.items()
        )

    def manifest(self, key: str) -> dict[str, Json]:
        """Return a finished stage's manifest, whole."""
        spec = self.plan.stages[key]
        return {"kind": spec.kind, "key": key, "inputs": spec.inputs, **self.manifests[key]}


def outline(plan: Plan, store: Store) -> Evidence:
    """Read what the content hash is made of: no manifest, no episodes."""
    sums = {
        key: found
        for key, spec in plan.stages.items()
        if (found := sums_of(store, spec.kind, key)) is not None
    }
    failures = {
        key: tuple(str(one["reason"]) for one in store.failures(key)) for key in plan.stages
    }
    extras = {name: read(plan, store, sums) for name, read in EXTRAS.items()}
    return Evidence(
        plan=plan,
        sums=sums,
        failures={key: reasons for key, reasons in failures.items() if reasons},
        suite_changed=suite_changed(plan.settings),
        extras={name: one for name, one in extras.items() if one is not None},
        numbers=published_sum(),
        written_by={package: version_of(package) for package in WRITERS} | {"sources": sources()},
    )


def gather(plan: Plan, store: Store) -> Evidence:
    """Read every manifest and every episode of a plan once; a damaged stage is noted."""
    known = outline(plan, store)
    manifests: dict[str, Mapping[str, Json]] = {}
    episodes: dict[str, Episodes] = {}
    damaged: dict[str, str] = {}
    for key in known.sums:
        kind = plan.stages[key].kind
        try:
            manifest = store.manifest(kind, key)
            manifests[key] = {name: v for name, v in manifest.items() if name not in PLANNED}
            if kind == "evaluate":
                episodes[key] = read_episodes(store.read(kind, key, EPISODES))
        except Damaged as damage:
            damaged[key] = str(damage)
    return replace(known, manifests=manifests, episodes=episodes, damaged=damaged)


def sums_of(store: Store, kind: str, key: str) -> str | None:
    """Return the sha256 of a stage's SHA256SUMS, which covers its files; None without one."""
    path = store.folder(kind, key) / SUMS
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def published_sum() -> str:
    """Return the sha256 of the published numbers that are shipped."""
    return hashlib.sha256(published.FILE.read_bytes()).hexdigest()


@cache
def sources() -> str:
    """Return the sha256 of the code that makes a report, which may change within a version."""
    total, package = hashlib.sha256(), Path(__file__).parents[2]
    for folder in ("report", "statistics"):
        for path in sorted((package / folder).rglob("*")):
            if path.suffix in (".py", ".jinja"):
                total.update(f"{path.relative_to(package).as_posix()}\n".encode())
                total.update(path.read_bytes())
    return total.hexdigest()


def suite_changed(settings: Mapping[str, Json]) -> bool:
    """Whether the suite's file is there and no longer holds what was planned."""
    file = Path(settings.get("file") or "")
    if not file.is_file():
        return False
    planned: str = settings["source_sha256"]
    return hashlib.sha256(file.read_bytes()).hexdigest() != planned


def pack(evidence: Evidence) -> dict[str, bytes]:
    """Return the two files; equal evidence gives equal bytes."""
    stages = {
        name: dict(getattr(evidence, name)) for name in ("sums", "failures", "manifests", "damaged")
    }
    value = {
        "revision": REVISION,
        "numbers": evidence.numbers,
        "plan": evidence.plan.to_json(),
        "suite_changed": evidence.suite_changed,
        "extras": dict(evidence.extras),
        "written_by": dict(evidence.written_by),
        **stages,
    }
    text = json.dumps(value, separators=(",", ":"))  # in order: a table may follow the plan's
    return {
        EVIDENCE: gzip.compress(text.encode(), mtime=0),
        EPISODES: pack_episodes(evidence.episodes),
    }


def unpack(folder: Path) -> Evidence:
    """Read the evidence that lies beside a report.

    Raises:
        UserError: the report has none, or one of another version.
        Unreadable: a file of it is not what was written.
    """
    value = _read_value(folder)
    if value["revision"] != REVISION or value["numbers"] != published_sum():
        raise UserError(
            str(folder),
            "this report was written by another version of bench, or beside other published "
            f"numbers (bench {value['written_by'].get('meta-ssl-bench')})",
            "Use that version, or write it again with `bench report SUITE`.",
        )
    try:
        plan = Plan.from_json(value["plan"])
        return Evidence(
            plan=plan,
            sums=value["sums"],
            failures={key: tuple(reasons) for key, reasons in value["failures"].items()},
            suite_changed=value["suite_changed"],
            extras=value["extras"],
            numbers=value["numbers"],
            manifests=_in_order(plan, value["manifests"]),
            damaged=_in_order(plan, value["damaged"]),
            episodes=unpack_episodes(folder),
            written_by=value["written_by"],
        )
    except (ValueError, KeyError, TypeError, AttributeError, UserError) as error:
        raise Unreadable(f"{EVIDENCE} holds no evidence ({said(error)})") from error


def _read_value(folder: Path) -> Json:
    if not all((folder / name).is_file() for name in FILES):
        raise UserError(
            str(folder),
            f"this report has no evidence beside it ({' and '.join(FILES)})",
            "An earlier version wrote it: write it again with `bench report SUITE`.",
        )
    try:
        value = json.loads(gzip.decompress((folder / EVIDENCE).read_bytes()))
        if not isinstance(value["written_by"], dict) or not {"revision", "numbers"} <= value.keys():
            raise ValueError("it lacks its version")
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"{EVIDENCE} cannot be read ({said(error)})") from error
    return value


def _in_order(plan: Plan, by_key: Mapping[str, T]) -> dict[str, T]:
    """Return a mapping in the plan's order of stages, as ``gather`` makes it."""
    if by_key.keys() - plan.stages.keys():
        raise ValueError("a stage that the plan lacks")
    return {key: by_key[key] for key in plan.stages if key in by_key}
