"""What the audit's stages measured, as findings: of each data set, and of each row."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from bench.audits import Audit
from bench.cell import Json
from bench.report import words
from bench.report.audit.finding import Finding, Outcome, place_of, titled
from bench.report.headline import Headline, headline_of
from bench.report.marks import is_transductive
from bench.report.results import Group, Results

Manifest = Mapping[str, Json]
ROLES = ("pretrain", "pretrain val", "train", "val", "test")  # the splits audited, in this order


def of_stages(results: Results) -> Iterator[Finding]:
    """Yield the findings of every audit that a plan holds, of data sets first."""
    for audit in results.plan.audits:
        manifest = results.manifests.get(audit.key)
        if manifest is None:
            yield _not_done(audit, results)
        elif audit.subject == "data":
            yield from _of_data(audit, manifest, results)
        else:
            yield from _of_row(audit, manifest, results)


def undone(results: Results) -> list[str]:
    """Return why each audit has no result, that has none."""
    return [
        _reason(one.key, results) for one in results.plan.audits if one.key not in results.manifests
    ]


def _reason(key: str, results: Results) -> str:
    reason = results.failures.get(key)
    return "it has not run" if reason is None else f"it failed: {reason}"


def _not_done(audit: Audit, results: Results) -> Finding:
    of_data = audit.subject == "data"
    check = "examples and classes of two splits" if of_data else "transduction, naming"
    found = _reason(audit.key, results)
    return Finding(check=check, subject=audit.title, found=found, outcome="not done")


def _of_data(audit: Audit, manifest: Manifest, results: Results) -> Iterator[Finding]:
    """Report on classes, examples, look-alikes and groups that stand in two splits."""
    trained = tuple(
        place_of(one)
        for one in results.groups
        if one.data == audit.data and (len(one.first.stages) > 1 or one.first.init == "checkpoint")
    )
    of = headline_of(results.plan)
    for overlap in manifest["classes"]:
        (one, other), (split, second) = overlap["classes"], overlap["splits"]
        yield Finding(
            check=f"{of.group} overlap",
            subject=audit.data,
            found=f"{split} {one} and {second} {other} share {_percent(overlap['share'])} of the "
            "examples of one of them",
            outcome="failed",
            value=overlap["share"],
            rows=trained,
        )
    if not manifest["classes"]:
        yield Finding(
            check=f"{of.group} overlap",
            subject=audit.data,
            found=f"no {of.group} stands in two splits",
            outcome="passed",
        )
    yield _exact(audit, manifest["exact"], trained)
    yield _within(audit, manifest["exact"]["within"], of)
    yield _look_alikes(audit, manifest["perceptual"])
    for group in manifest["groups"]:
        classes = group["classes"]
        counts = [f"{split} ({classes[split]} classes)" for split in ROLES if split in classes]
        yield Finding(
            check="groups in two splits",
            subject=audit.data,
            found=f"classes of {group['group']} are in {words.listing(counts)}",
            outcome="advice",
        )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _counted(counts: Mapping[str, int]) -> str:
    """Say ``2 examples of test in train, 1 of val in train``."""
    said = []
    for pair, count in counts.items():
        first, second = pair.split("-")
        said += [f"{count} of {second} in {first}"] if count else []
    return ", ".join(said)


def _exact(
    audit: Audit, exact: Manifest, trained: tuple[tuple[str, str, int, str], ...]
) -> Finding:
    pairs = exact["pairs"]
    unknown = {pair: one["unknown"] for pair, one in pairs.items()}
    known = {pair: one["known"] for pair, one in pairs.items()}
    listed = f"known to be in two splits: {_counted(known)}" if any(known.values()) else ""
    if any(unknown.values()):
        found = f"the same examples in two splits: {_counted(unknown)}"
        found += f" (besides those {listed})" if listed else ""
    else:
        found = f"examples {listed}; no other" if listed else "no example stands in two splits"
    return Finding(
        check="example overlap",
        subject=audit.data,
        found=found,
        outcome="failed" if any(unknown.values()) else "passed",
        value=sum(unknown.values()),
        rows=trained,
    )


def _within(audit: Audit, within: Mapping[str, int], of: Headline) -> Finding:
    """Examples under two classes of one split leak nothing; one of each pair is mislabelled."""
    counts = ", ".join(f"{count} in {split}" for split, count in within.items() if count)
    return Finding(
        check=f"examples in two {of.groups} of a split",
        subject=audit.data,
        found=counts or "none",
        outcome="advice" if counts else "passed",
        value=sum(within.values()),
    )


def _look_alikes(audit: Audit, perceptual: Manifest) -> Finding:
    check, subject = "look-alikes in two splits", audit.data
    if "skipped" in perceptual:
        reason = perceptual["skipped"]
        return Finding(check=check, subject=subject, found=reason, outcome="not done")
    counts = perceptual["counts"]
    total = sum(counts.values())
    found = f"of one hash: {_counted(counts)}; look at the pictures" if total else "none"
    outcome: Outcome = "advice" if total else "passed"
    return Finding(check=check, subject=subject, found=found, outcome=outcome, value=total)


def _of_row(audit: Audit, manifest: Manifest, results: Results) -> Iterator[Finding]:
    group = next(
        one
        for one in (*results.groups, *results.defaults.values())
        if place_of(one) == (audit.variant, audit.data, audit.ways, audit.held_out)
    )
    rows = tuple(
        place_of(one)  # whatever was held out
        for one in results.groups
        if (one.variant, one.data, one.ways) == (audit.variant, audit.data, audit.ways)
    )
    claimed = is_transductive(group, results.plan)
    yield replace(_transduction(group, manifest["transduction"], claimed), rows=rows)
    if "naming" in manifest:  # numbers are called by no name
        yield replace(_naming(group, manifest["naming"]), rows=rows)


def _skipped(check: str, group: Group, reason: str) -> Finding:
    return Finding(check=check, subject=titled(group), found=reason, outcome="not done")


def _transduction(group: Group, measured: Manifest, claimed: bool) -> Finding:
    """Hold what a prediction depends on against what its method and norm claim."""
    check = "transduction"
    if "skipped" in measured:
        return _skipped(check, group, measured["skipped"])
    largest = max(measured[name] for name in ("permuted", "removed", "altered"))
    found = {
        (False, False): "a prediction does not depend on the other queries, as claimed",
        (True, True): "a prediction depends on the other queries, as claimed",
        (
            True,
            False,
        ): f"a prediction depends on the other queries (by {largest:.2g} of its scores' "
        "spread), which its method and norm do not claim",
        (False, True): "claims more than measured: no prediction was seen to depend on the others",
    }[measured["dependent"], claimed]
    outcomes: dict[tuple[bool, bool], Outcome] = {(True, False): "failed", (False, True): "advice"}
    return Finding(
        check=check,
        subject=titled(group),
        found=found,
        outcome=outcomes.get((measured["dependent"], claimed), "passed"),
        value=largest,
    )


def _naming(group: Group, measured: Manifest) -> Finding:
    """With classes called by each other's names in turn, accuracy is 1 / N: nothing else tells."""
    check = "naming"
    if "skipped" in measured:
        return _skipped(check, group, measured["skipped"])
    accuracy, low, high, chance = (
        100 * min(max(measured[name], 0.0), 1.0)  # an interval may reach beyond what can be
        for name in ("accuracy", "low", "high", "chance")
    )
    if measured["passed"]:
        found = f"shuffled support labels score {chance:.3g} %, as chance does"
    else:
        found = f"shuffled support labels score {accuracy:.1f} [{low:.1f}, {high:.1f}] %, not the "
        found += (
            f"{chance:.3g} % of chance: predictions know classes otherwise than by their support"
        )
    return Finding(
        check=check,
        subject=titled(group),
        found=found,
        outcome="passed" if measured["passed"] else "failed",
        value=measured["accuracy"],
    )
