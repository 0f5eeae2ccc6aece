"""What ``bench plan`` prints: cells, stages and what sharing saves, cost, and power."""

from collections import Counter
from collections.abc import Mapping, Sequence

from bench.cell import TRAINED, Json, StageKind, StageSpec, kind_of
from bench.plan import Plan
from bench.report import words
from bench.report.comparison import blocks
from bench.report.results import Results, read_results
from bench.report.tables import detectable
from bench.store import Damaged, Store

KINDS: tuple[StageKind, ...] = (*TRAINED, "evaluate", "audit")
PLUGINS = ("data", "encoder", "pretext", "meta", "tasks", "member", "strategy")
# Conv4-64 on one core at 32x32x3: 75 examples forward and backward took 0.094 s; a test episode of
# 425 to 625 passes (ten steps, five read-outs) 0.20 to 0.41 s. One of the ten starts of k-means, of
# 20,560 examples in 500 clusters: 1 to 2 s.
SECONDS_PER_EXAMPLE = {
    "pretrain": 1.3e-3,
    "cluster": 1e-3,
    "metatrain": 1.3e-3,
    "evaluate": 6e-4,
    "audit": 6e-4,
}
OF_NUMBERS = {"pretrain": 1e-5, "metatrain": 5e-5, "evaluate": 7e-7, "audit": 1e-6}
"""The same of a small network of numbers; a test there counts what a planner imagines."""
ANSWERS = 5  # passes of a row's audit, in float64, for each of an evaluation of as many episodes
WHOLE_SET = 10_000  # the audit of 60,000 examples costs as much as this many passes: 4 s


def plan_text(plan: Plan, store: Store) -> str:
    """Describe a plan and what of it is stored, as plain lines that nothing wraps."""
    results = read_results(plan, store)
    parts = [
        _head(plan, store),
        _variants(results),
        _new_tasks(plan),
        _stages(plan, store),
        _listed("dropped", [f"{one.variant}: {one.reason}" for one in plan.dropped]),
        _listed("warnings", list(plan.warnings) + list(results.notes)),
        _cost(plan, store),
        _power(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def plain(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align columns with spaces; the last is not padded."""
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _head(plan: Plan, store: Store) -> str:
    finished = sum(store.has(spec.kind, key) for key, spec in plan.stages.items())
    variants = len({cell.variant for cell in plan.cells if not cell.default_of})
    return (
        f"{plan.name}: {len(plan.cells)} cells of {variants} variants; "
        f"{len(plan.stages)} stages, {finished} finished"
    )


def _variants(results: Results) -> str:
    rows: dict[tuple[str, ...], tuple[set[int], set[int]]] = {}
    for group in results.groups:
        cell = group.first
        key = (cell.variant, cell.labels, cell.norm, cell.data, str(cell.ways))
        shots, seeds = rows.setdefault(key, (set(), set()))
        shots.add(group.shots)
        seeds |= group.seeds()
    header = ["variant", "labels", "norm", "data", "ways", "shots", "seeds"]
    return plain(
        header,
        [
            [*key, ", ".join(map(str, sorted(shots))), words.ranges(sorted(seeds))]
            for key, (shots, seeds) in rows.items()
        ],
    )


def _new_tasks(plan: Plan) -> str:
    """Say which tasks are met as new, and what training went without; empty where none are."""
    held = plan.settings.get("held_out", [])
    cells = Counter(cell.held_out for cell in plan.cells)
    rows = [[one["tested"], " + ".join(one["members"]), str(cells[one["title"]])] for one in held]
    return plain(["new task", "kept out of training", "cells"], rows) if held else ""


def _stages(plan: Plan, store: Store) -> str:
    """Per kind: stages, what they would be without sharing, what that saves, what is cached."""
    rows = []
    for kind in KINDS:
        keys = [key for key, spec in plan.stages.items() if spec.kind == kind]
        uses = sum(kind_of(role) == kind for cell in plan.cells for role in cell.stages)
        uses += len(plan.audits) if kind == "audit" else 0
        cached = sum(store.has(kind, key) for key in keys)
        if keys:
            rows.append([kind, *map(str, (len(keys), uses, uses - len(keys), cached))])
    return plain(["stage", "distinct", "without sharing", "saved", "cached"], rows)


def _listed(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"{title}:", *(f"  {line}" for line in lines)]) if lines else ""


def _cost(plan: Plan, store: Store) -> str:
    """Estimate the seconds of what is not cached: from like stages, else from constants."""
    left = [spec for key, spec in plan.stages.items() if not store.has(spec.kind, key)]
    if not left:
        return "cost: nothing is left to run"
    frozen = still(plan)
    rates = _rates(store, frozen)
    seconds = {kind: 0.0 for kind in KINDS}
    numbers = plan.settings.get("protocol") == "control"
    constants = OF_NUMBERS if numbers else SECONDS_PER_EXAMPLE
    measured = 0
    for spec in left:
        rate = rates.get(_likeness(spec.kind, spec.inputs))
        measured += rate is not None
        seconds[spec.kind] += examples(spec.kind, spec.inputs, frozen) * (
            constants[spec.kind] if rate is None else rate
        )
    parts = ", ".join(f"{kind} {words.duration(s)}" for kind, s in seconds.items() if s)
    return (
        f"cost: about {words.duration(sum(seconds.values()))} on one worker ({parts}); rough: from "
        f"like stages in the store for {measured} of {len(left)}, else from constants for "
        f"{'a small network' if numbers else 'Conv4-64'} on one CPU core"
    )


def trials_text(
    rows: Sequence[tuple[str, int, Mapping[str, StageSpec]]], plan: Plan, store: Store
) -> str:
    """Estimate the cost of a tuning: of each row its trials, and the stages of the first."""
    frozen = still(plan)
    rates = _rates(store, frozen)
    lines, total = [], 0.0
    for label, trials, stages in rows:
        seconds = 0.0
        for spec in stages.values():
            rate = rates.get(_likeness(spec.kind, spec.inputs), SECONDS_PER_EXAMPLE[spec.kind])
            seconds += examples(spec.kind, spec.inputs, frozen) * rate
        total += trials * seconds
        lines.append(
            [label, str(trials), words.duration(seconds), words.duration(trials * seconds)]
        )
    table = plain(["tuned row", "trials", "each about", "together"], lines)
    said = f"tuning: at most about {words.duration(total)} on one worker, less where trials are"
    return (
        f"{table}\n\n{said} pruned, share stages, or are in the store; as rough as the cost above\n"
    )


def _rates(store: Store, frozen: frozenset[str]) -> dict[tuple[str, ...], float]:
    """Seconds an example of each likeness in the store; the latest stage counts."""
    rates: dict[tuple[str, ...], tuple[str, float]] = {}
    for kind in KINDS:
        for key in store.keys(kind):
            manifest = stored(store, kind, key)
            if manifest is not None:
                inputs, cost = manifest["inputs"], manifest["cost"]
                seconds = cost["seconds"] / examples(kind, inputs, frozen)
                found = (manifest["provenance"]["started"], seconds)
                likeness = _likeness(kind, inputs)
                rates[likeness] = max(rates.get(likeness, ("", 0.0)), found)
    return {likeness: rate for likeness, (_, rate) in rates.items()}


def stored(store: Store, kind: str, key: str) -> Mapping[str, Json] | None:
    """Read a stage's manifest; None where it is damaged, since it will be computed again."""
    try:
        return store.manifest(kind, key)
    except Damaged:
        return None


def _likeness(kind: str, inputs: Mapping[str, Json]) -> tuple[str, ...]:
    return (
        kind,
        str(inputs.get("subject")),
        *(str((inputs.get(axis) or {}).get("name", "")) for axis in PLUGINS),
    )


def still(plan: Plan) -> frozenset[str]:
    """Return the meta-algorithms and strategies of a plan that take no steps at test."""
    claims = {name.partition("/")[2]: card["claims"] for name, card in plan.cards.items()}
    found = {n for n, one in claims.items() if one.get("frozen_encoder") or not one.get("rated", 1)}
    return frozenset(found)


def examples(kind: str, inputs: Mapping[str, Json], frozen: frozenset[str]) -> int:
    """Return the examples that pass the encoder in a stage: its budget, or its episodes'."""
    if kind == "audit":
        row = inputs["subject"] == "row"
        asked = {**inputs, "planner": None}  # it predicts, and drives nowhere
        return ANSWERS * examples("evaluate", asked, frozen) if row else WHOLE_SET
    if kind != "evaluate":
        return int(inputs["budget"]["examples"])
    if inputs.get("protocol") == "continual":
        return _streams(inputs, frozen)
    if inputs.get("planner"):
        return _imagined(inputs["episodes"], inputs["planner"])
    if inputs.get("protocol"):
        return _few_steps(inputs)
    steps = 0 if inputs["meta"]["name"] in frozen else inputs["readouts"][-1]
    readouts = len(inputs["readouts"]) if steps else 1
    support = inputs["shots"] * max(steps, 1)
    return int(inputs["episodes"] * inputs["ways"] * (support + inputs["queries"] * readouts))


def _imagined(episodes: int, planner: Mapping[str, int]) -> int:
    """Return the steps that a planner imagines with two models of each environment."""
    plans = planner["iterations"] * planner["population"] * planner["horizon"]
    return 2 * episodes * planner["real_steps"] * plans


def _streams(inputs: Mapping[str, Json], frozen: frozenset[str]) -> int:
    """Return the examples of streams: each group is learned, then all before are answered.

    What is kept or gone through again is not counted: the plan does not know a strategy's ways.
    """
    still_stands = inputs["strategy"]["name"] in frozen
    groups, tried = inputs["groups"], 0 if still_stands else len(inputs["rates"])
    support = groups * inputs["shots"] * (1 if still_stands else inputs["steps"])
    asked = inputs["queries"] * (groups if still_stands else groups * (groups + 1) // 2)
    streams = inputs["episodes"] + tried * inputs.get("rate_tasks", 0)
    return int(streams * inputs["ways"] * (support + asked))


def _few_steps(inputs: Mapping[str, Json]) -> int:
    """Return the examples of the tasks that the rate is chosen on, and of those that are tested."""
    readouts = inputs["readouts"]
    support = inputs["shots"] * readouts[-1]
    read = (inputs["shots"] + inputs["queries"]) * len(readouts)  # normalised with the support
    tasks = len(inputs["rates"]) * inputs.get("rate_tasks", 0) + inputs["episodes"]
    return int(tasks * inputs["ways"] * (support + read))


def _power(results: Results) -> str:
    seeds = len({one.cell.seed for one in results.cells})
    found, source = detectable(blocks(results), seeds)
    if found is None:
        return "one seed detects no difference between methods: at least two are needed"
    return (
        f"with {seeds} seeds a true difference of {100 * found:.1f} points from a baseline is "
        f"detected with power .8 at .05 ({source})"
    )


def tuning_text(record: Mapping[str, Json]) -> str:
    """Say what a tuning has found, a line for each row."""
    rows = [_tuned(row) for row in record["rows"]]
    header = [
        "variant",
        "data",
        "ways",
        "scored by",
        "trials",
        "failed",
        "default",
        "best",
        "found",
    ]
    text = plain(header, rows) if rows else "nothing to tune: no row declares a space"
    return text + "".join(
        f"\nnot tuned: {one['variant']}, {one['why']}" for one in record["untuned"]
    )


def _tuned(row: Mapping[str, Json]) -> list[str]:
    """Return a row of a tuning in words: scores in %, and the parameters that changed."""
    default, failed = row["trials"][0], sum(one["state"] == "failed" for one in row["trials"])
    scored = [str(row[key]) for key in ("variant", "data", "ways", "score")]
    counts = [str(len(row["trials"])), str(failed), _score(default)]
    if row["winner"] is None:
        return [*scored, *counts, "-", "no trial finished"]
    best = row["trials"][row["winner"]]
    found = [
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in best["params"].items()
    ]
    return [*scored, *counts, _score(best), ", ".join(found) if row["winner"] else "the default"]


def _score(trial: Mapping[str, Json]) -> str:
    return "-" if trial["score"] is None else f"{100 * trial['score']:.1f}"
