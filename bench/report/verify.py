"""Checks a report: its files against their sums, its numbers against its evidence, that by store.

Nothing here trusts what was written: every file is made again from the evidence and compared.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.cell import Json, StageSpec
from bench.errors import UserError
from bench.provenance import version_of
from bench.report.difference import TOLERANCE, compare
from bench.report.evidence.episodes import EPISODES, Episodes, Unreadable, read_episodes, said
from bench.report.evidence.evidence import FILES, PLANNED, Evidence, sources, sums_of, unpack
from bench.report.examined import check_exams, check_record
from bench.report.headline import headline_of
from bench.report.write import INDEX, contents
from bench.store import SUMS, Damaged, Store, read_sums

DRAWN = (".png", ".svg")
DRAWN_BY = ("matplotlib", "seaborn", "pillow")
# What evidence that somebody has edited may raise, where it is no longer consistent.
EDITED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, UserError)
MOST = 20  # differences that are shown


@dataclass(kw_only=True)
class Verification:
    """What was checked, in lines, and every difference that was found."""

    lines: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    @property
    def text(self) -> str:
        """Lines for a person, the verdict last."""
        shown = [f"  {one}" for one in self.differences[:MOST]]
        left = len(self.differences) - len(shown)
        shown += [f"  and {left} more"] if left else []
        count = len(self.differences)
        verdict = "everything agrees" if not count else f"differences: {count}"
        return "\n".join([*self.lines, verdict, *shown])


def verify(folder: Path, store: Store) -> Verification:
    """Check a report, and its evidence against the store as far as that holds its stages.

    Raises:
        UserError: there is no report, or one without evidence, or of another version.
    """
    if not (folder / INDEX).is_file():
        works = "Name a suite's folder under reports, or a suite's .yaml to recompute cells."
        raise UserError(str(folder), f"no report: it holds no {INDEX}", works)
    found = Verification()
    if not (folder / SUMS).is_file() and not all((folder / name).is_file() for name in FILES):
        unpack(folder)  # an earlier version's: it says so
    intact = _check_sums(folder, found)
    if not intact.issuperset(FILES):
        found.lines.append("not recomputed: the evidence is not what was written")
        return found
    try:
        evidence = unpack(folder)
    except Unreadable as error:
        found.differences.append(str(error))
        return found
    try:
        _check_evidence(evidence, found)
        made = contents(evidence)
    except EDITED as error:
        why = f"{type(error).__name__}: {said(error)}"
        found.differences.append(f"no report can be made from the evidence ({why})")
    else:
        _check_texts(folder, made, intact, found)
        _check_figures(folder, made, evidence, found)
        _check_names(folder, made, found)
        _check_store(evidence, store, found)
    return found


def _check_sums(folder: Path, found: Verification) -> set[str]:
    """Compare every file with its sum; return the names of those that agree."""
    try:
        sums = read_sums(folder)
    except (OSError, ValueError) as error:
        found.differences.append(f"{SUMS}: cannot be read ({error})")
        return set()
    there = {path.name for path in folder.glob("[!.]*")} - {SUMS}
    lacking = sorted((sums.keys() | set(FILES)) - there)  # evidence: also where no sum names it
    found.differences += [f"{name}: missing" for name in lacking]
    found.differences += [f"{name}: not of this report" for name in sorted(there - sums.keys())]
    intact = {name for name in there & sums.keys() if _sum(folder / name) == sums[name]}
    changed = sorted((there & sums.keys()) - intact)
    found.differences += [f"{name}: does not match its sum" for name in changed]
    found.lines.append(f"{folder}: {len(intact)} of {len(sums)} files match {SUMS}")
    return intact


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _check_evidence(evidence: Evidence, found: Verification) -> None:
    """Check that keys are hashes of their inputs, and stored means those of the episodes."""
    for key, spec in evidence.plan.stages.items():
        if spec.key != key:
            found.differences.append(f"{_name(spec, key)}: its key is not the hash of its inputs")
    values, of = 0, headline_of(evidence.plan)
    for key in (one.stages["evaluate"] for one in evidence.plan.cells):
        if key in evidence.manifests and key not in evidence.damaged:
            measured, spec = evidence.episodes[key], evidence.plan.stages[key]
            values += measured.accuracy_TE.size
            found.differences += _means(evidence.manifests[key], measured, _name(spec, key))
    found.differences += check_record(evidence.plan)
    if evidence.written_by.get("sources") != sources():
        found.lines.append(
            f"written by other code than this (bench {evidence.written_by.get('meta-ssl-bench')}): "
            "a difference may be due to that; `bench report SUITE` writes the report again"
        )
    found.lines.append(
        f"evidence: {len(evidence.manifests)} of {len(evidence.plan.stages)} stages, "
        f"{values:,} {of.values} of single {of.episodes}"
    )


def _means(manifest: Mapping[str, Json], measured: Episodes, name: str) -> Iterator[str]:
    """Compare each mean that a manifest states with the mean over the episodes."""
    for measure, values_TE in measured.measured_TE.items():
        if measure in manifest["metrics"]:
            stated, mean = float(manifest["metrics"][measure]), float(values_TE[-1].mean())
            if not abs(stated - mean) <= TOLERANCE * abs(mean) + 1e-12:
                yield f"{name}: {measure} stated {stated}, of the episodes {mean}"


def _check_texts(
    folder: Path, made: Mapping[str, bytes], intact: set[str], found: Verification
) -> None:
    """Compare every table and text with the one that the evidence gives.

    Where the sum says that a file was changed, what differs within the tolerance is named too.
    """
    close: list[str] = []
    numbers = count = 0
    for name, content in made.items():
        if name.endswith(DRAWN) or not (folder / name).is_file():
            continue
        compared = compare(name, (folder / name).read_bytes(), content)
        found.differences += compared.differences
        if name not in intact and not compared.differences:
            found.differences += compared.close
        else:
            close += compared.close
        count, numbers = count + 1, numbers + compared.numbers
    least = (
        f"{len(close)} differ below {TOLERANCE:g} of their value, the first in " if close else ""
    )
    last = f" ({least}{close[0]})" if close else ""
    found.lines.append(f"recomputed: {count} texts and tables, {numbers:,} numbers{last}")


def _check_figures(
    folder: Path, made: Mapping[str, bytes], evidence: Evidence, found: Verification
) -> None:
    """Compare figures bit for bit, where this is what drew them."""
    names = [name for name in made if name.endswith(DRAWN) and (folder / name).is_file()]
    other = [
        f"{package} {evidence.written_by.get(package)}, here {version_of(package)}"
        for package in DRAWN_BY
        if evidence.written_by.get(package) != version_of(package)
    ]
    if other:
        found.lines.append(f"figures not redrawn: drawn by {'; '.join(other)}")
        return
    different = [name for name in names if (folder / name).read_bytes() != made[name]]
    found.differences += [f"{name}: not the figure that the evidence gives" for name in different]
    found.lines.append(f"redrawn: {len(names)} figures")


def _check_names(folder: Path, made: Mapping[str, bytes], found: Verification) -> None:
    """Name what SHA256SUMS vouches for and the evidence does not give, and the reverse."""
    named = read_sums(folder).keys() - set(FILES)
    surplus, lacking = sorted(named - made.keys()), sorted(made.keys() - named)
    found.differences += [f"{name}: the evidence gives no such file" for name in surplus]
    found.differences += [f"{name}: not in {SUMS}" for name in lacking]


def _check_store(evidence: Evidence, store: Store, found: Verification) -> None:
    """Compare the evidence with the stages that this results folder holds."""
    stages = evidence.plan.stages
    held = [key for key in evidence.sums if store.has(stages[key].kind, key)]
    for key in held:
        found.differences += _stage(evidence, store, stages[key], key)
    if held:
        found.lines.append(f"{store.root.parent}: {len(held)} stages checked, file by file")
    if lacking := len(evidence.sums) - len(held):
        found.lines.append(
            f"not in this results folder ({store.root.parent}): {lacking} of {len(evidence.sums)} "
            "stages; the evidence itself was not checked against them"
        )
    examined = check_exams(evidence.plan, store)
    found.lines += examined.lines
    found.differences += examined.differences
    newer = [key for key in stages if key not in evidence.sums and store.has(stages[key].kind, key)]
    if newer:
        found.lines.append(f"finished since: {len(newer)} stages; `bench report` would show them")


def _stage(evidence: Evidence, store: Store, spec: StageSpec, key: str) -> Sequence[str]:
    """Compare one stage's evidence with the store's folder."""
    name = _name(spec, key)
    try:
        store.check(spec.kind, key)
        manifest = store.manifest(spec.kind, key)
        content = store.read(spec.kind, key, EPISODES) if spec.kind == "evaluate" else b""
    except Damaged as damage:
        return [f"{name}: damaged: {damage}"]
    different = [] if sums_of(store, spec.kind, key) == evidence.sums[key] else [SUMS]
    own = {field: value for field, value in manifest.items() if field not in PLANNED}
    known = {"inputs": dict(spec.inputs), **evidence.manifests.get(key, {})}
    if _text({"inputs": manifest.get("inputs"), **own}) != _text(known):
        different.append("manifest.json")
    if content and not _equal(read_episodes(content), evidence.episodes.get(key)):
        different.append(EPISODES)
    return [f"{name}: the store's {one} is not that of the evidence" for one in different]


def _text(value: Json) -> str:
    return json.dumps(value, sort_keys=True)  # in which NaN equals NaN


def _equal(one: Episodes, other: Episodes | None) -> bool:
    return (
        other is not None
        and one.steps == other.steps
        and one.measured_TE.keys() == other.measured_TE.keys()
        and all(
            np.array_equal(values_TE, other.measured_TE[name], equal_nan=True)
            for name, values_TE in one.measured_TE.items()
        )
    )


def _name(spec: StageSpec, key: str) -> str:
    return f"{spec.kind} {key[:12]}"
