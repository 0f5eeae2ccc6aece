"""Time and memory of a large report: 1,000 cells x 600 episodes, on one core, without torch.

    python benchmarks/large_report.py

A real plan is made of a suite of 25 rows, 2 numbers of shots and 20 seeds; its store is filled with
invented outcomes, audits that pass included. Then ``bench report`` writes the report in a process
of its own, where torch cannot be imported, and ``bench verify`` recomputes it in another. Writing
it is to take under 20 s and 1 GB.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.cell import Json, StageSpec
from bench.provenance import versions
from bench.stages.evaluate import EPISODES, episodes_file

UNSTEPPED = ("none", "protonet")
SUITE = """
name: large
data: glyphs
encoder: {{name: conv4, width: 32}}
ways: 5
tasks: labels
grid:
  pretext: [none, rotation, simclr, byol, barlow]
  meta: [none, protonet, {{name: maml, order: 1}}, reptile, anil]
  shots: [1, 5]
  seeds: {seeds}
baseline: {{train: {{pretext: none, meta: protonet}}, none: random_init}}
budget: {{pretrain_examples: 40_000, metatrain_examples: 20_000}}
evaluate: {{episodes: {episodes}, queries: 15, test_steps: 5}}
"""
AUDITS: dict[str, dict[str, Json]] = {
    "data": {
        "classes": [],
        "exact": {"pairs": {}, "within": {}},
        "perceptual": {"skipped": "invented"},
        "groups": [],
    },
    "row": {
        "transduction": {"permuted": 0.0, "removed": 0.0, "altered": 0.0, "dependent": False},
        "naming": {"accuracy": 0.2, "low": 0.19, "high": 0.21, "chance": 0.2, "passed": True},
    },
}
CODE = """
import sys
sys.modules["torch"] = None
from bench.cli import main
sys.exit(main({arguments!r}))
"""


def main() -> None:
    """Make the store, write the report, verify it, and print what each took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="of 50 cells each")
    parser.add_argument("--episodes", type=int, default=600)
    parser.add_argument("--keep", type=Path, help="work in this folder, and leave it there")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        suite = folder / "large.yaml"
        suite.write_text(SUITE.format(seeds=asked.seeds, episodes=asked.episodes))
        options = ["--results", str(folder / "results"), "--reports", str(folder / "reports")]
        if not (folder / "results").is_dir():
            invent(suite, folder / "results")
        written = timed(["report", str(suite), *options])
        verified = timed(["verify", str(folder / "reports" / "large"), *options[:2]])
        size = sum(file.stat().st_size for file in (folder / "reports" / "large").iterdir())
    cells = 50 * asked.seeds
    print(f"{cells} cells x {asked.episodes} episodes, one core, torch blocked:")
    print(f"report: {written['seconds']:.1f} s, {written['mebibytes']:.0f} MiB at most")
    print(f"verify: {verified['seconds']:.1f} s, {verified['mebibytes']:.0f} MiB at most")
    print(f"the report's folder: {size / 2**20:.1f} MiB")


def timed(arguments: list[str]) -> dict[str, float]:
    """Run one command on one core in a fresh process; return its seconds and peak memory."""
    started = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-c", CODE.format(arguments=arguments)],
        preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
    )
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"bench {' '.join(arguments)} failed")
    return {"seconds": time.perf_counter() - started, "mebibytes": usage.ru_maxrss / 1024}


def invent(suite: Path, results: Path) -> None:
    """Fill a store with outcomes of every stage of the suite's plan; nothing is trained."""
    from bench import pipeline

    os.fsync = lambda fd: None  # thousands of folders that nobody will miss
    results.mkdir()
    options = pipeline.Options(results=results)
    plan = pipeline.plan(suite, options)
    options.store.prepare()
    for spec in plan.stages.values():
        manifest, files = invented(spec)
        with options.store.writing(spec.key):
            options.store.commit(spec, manifest, files)


def invented(spec: StageSpec) -> tuple[dict[str, Json], dict[str, bytes]]:
    """Return a manifest and files of a stage, drawn by a generator that its key seeds."""
    rng = np.random.default_rng(int(spec.key[:12], 16))
    manifest: dict[str, Json] = {
        "kind": spec.kind,
        "key": spec.key,
        "inputs": dict(spec.inputs),
        "metrics": {"loss": 0.5},
        "curve": {"steps": list(range(0, 101, 2)), "loss": rng.uniform(0.3, 1, 51).tolist()},
        "cost": {
            "seconds": float(rng.uniform(5, 50)),
            "examples": 40_000,
            "peak_memory_bytes": int(rng.uniform(2e8, 6e8)),
            "parameters": 28_000,
        },
        "provenance": {**versions(), "hardware": "x", "device": "cpu", "started": "2026-01-01"},
    }
    if spec.kind == "audit":
        return manifest | AUDITS[spec.inputs["subject"]], {}
    if spec.kind != "evaluate":
        return manifest, {}
    steps = spec.inputs["readouts"] if spec.inputs["meta"]["name"] not in UNSTEPPED else [0]
    chance_E = rng.uniform(0.4, 0.9, int(spec.inputs["episodes"]))
    accuracy_ER = np.repeat(rng.binomial(75, chance_E)[:, None] / 75, len(steps), axis=1)
    manifest["metrics"] = {"accuracy": float(np.mean(accuracy_ER[:, -1]))}
    manifest["curve"] = {"steps": steps, "accuracy": accuracy_ER.mean(0).tolist()}
    return manifest | {"bank": "b" * 64}, {EPISODES: episodes_file(steps, accuracy=accuracy_ER)}


if __name__ == "__main__":
    main()
