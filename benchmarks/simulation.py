"""How often each procedure is wrong where the truth is known: suites drawn from normal effects.

    python benchmarks/simulation.py [--suites 10000] [--seeds 3 5 10] [--workers 2] [--json FILE]

Every suite has 600 test episodes. In points, effects of seeds have a standard deviation of 0.8
for each method by itself, of episodes 8 for all methods alike, and what is left 5; where methods
differ persistently on an episode, whatever the seed, that adds 6. What is counted are the answers
of ``bench.statistics`` itself. A chunk's draws follow from its coordinates, so that the table is
the same whatever the number of workers. ``tests/test_simulation.py`` holds it to its claims.
"""

import argparse
import json
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import sqrt
from pathlib import Path

import numpy as np
from scipy import special
from threadpoolctl import threadpool_limits

from bench.seeds import derive
from bench.statistics.across import critical_difference, mean_difference
from bench.statistics.contrast import departure, interaction, main_effect
from bench.statistics.interval import Interval, crossed_interval, one_model_interval
from bench.statistics.verdict import holm, verdict

# M methods, S seeds, E episodes; G pretexts and H metas of a grid; B data sets.
EPISODES = 600
SEED_SD, EPISODE_SD, RESIDUAL_SD, PERSISTENT_SD = 0.008, 0.08, 0.05, 0.06
ENCODER_SD, CELL_SD = 0.008, 0.004  # of an encoder, shared by metas, and of a cell's own training
BLOCK_SD = 0.02  # of a method on a data set, beside how hard that is
MARGIN, EFFECT, LEVEL = 0.01, 0.02, 0.05
CHUNK = 250  # suites that one task draws
Answers = dict[str, bool]  # of one suite: procedure -> whether it found something
Setting = Callable[[np.random.Generator, int], Answers]


def methods(
    rng: np.random.Generator,
    number: int,
    seeds: int,
    *,
    persistent: float = 0.0,
    seed_sd: float = SEED_SD,
    episodes: int = EPISODES,
) -> np.ndarray:
    """Draw accuracies [M, S, E] of methods that are equally good, on shared episodes."""
    a_MSE = RESIDUAL_SD * rng.standard_normal((number, seeds, episodes))
    a_MSE += seed_sd * rng.standard_normal((number, seeds, 1))
    a_MSE += EPISODE_SD * rng.standard_normal(episodes)
    if persistent:
        a_MSE += persistent * rng.standard_normal((number, 1, episodes))
    return a_MSE + 0.5


def found(interval: Interval) -> bool:
    """Whether an interval excludes 0."""
    return not interval.low <= 0 <= interval.high


def differs(d_S: np.ndarray) -> bool:
    """Whether a paired t over seeds calls the mean different from 0."""
    p = mean_difference(d_S).p
    return p is not None and p < LEVEL


def bootstrap(rng: np.random.Generator, d_S: np.ndarray) -> bool:
    """Whether a percentile bootstrap over seeds excludes 0."""
    mean_R = d_S[rng.integers(len(d_S), size=(1000, len(d_S)))].mean(1)
    low, high = np.percentile(mean_R, [2.5, 97.5])
    return not low <= 0 <= high


def z_test(a_E: np.ndarray, b_E: np.ndarray) -> bool:
    """Whether two single models differ, each with the standard error of its own episodes."""
    one, other = one_model_interval(a_E), one_model_interval(b_E)
    return abs(one.mean - other.mean) > 1.959964 * sqrt(one.se**2 + other.se**2)


def pooled_blocks(y_GHS: np.ndarray) -> float:
    """Return the p of the first factor in an analysis of variance with seeds as blocks.

    Its error pools all interactions with seeds: wrong where cells share an encoder.
    """
    G, H, S = y_GHS.shape
    grand, cell_GH, seed_S = y_GHS.mean(), y_GHS.mean(2), y_GHS.mean((0, 1))
    rest = ((y_GHS - cell_GH[:, :, None] - seed_S + grand) ** 2).sum() / ((G * H - 1) * (S - 1))
    level = H * S * ((y_GHS.mean((1, 2)) - grand) ** 2).sum() / (G - 1)
    return float(special.fdtrc(G - 1, (G * H - 1) * (S - 1), level / rest))


def false_verdicts(intervals: Sequence[Interval], p: Sequence[float]) -> bool:
    """Whether any of a family of null differences is called better or worse."""
    called = [verdict(one, q, MARGIN) for one, q in zip(intervals, p, strict=True)]
    return "better" in called or "worse" in called


def family(intervals: Sequence[Interval], name: str) -> Answers:
    """Judge differences from one baseline with Holm's p-values, and with their own."""
    p = [one.p if one.p is not None else 1.0 for one in intervals]
    return {
        f"{name}: verdicts of {len(p)}, Holm": false_verdicts(intervals, holm(p)),
        f"{name}: verdicts of {len(p)}, without Holm": false_verdicts(intervals, p),
    }


def equivalences(d_SE: np.ndarray, name: str) -> Answers:
    """Ask whether a true difference of the margin, and of twice it, is called equivalent."""
    return {
        f"{name}: equivalent at {times} x margin": _judged(d_SE + times * MARGIN) == "equivalent"
        for times in (1, 2)
    }


def _judged(d_SE: np.ndarray) -> str:
    difference = crossed_interval(d_SE)
    return verdict(difference, difference.p, MARGIN)


def plain(rng: np.random.Generator, seeds: int, *, variants: int = 16) -> Answers:
    """Compare variants with a baseline, none of them better; then with a true difference."""
    a_MSE = methods(rng, variants + 1, seeds)
    intervals = [crossed_interval(a_SE - a_MSE[0]) for a_SE in a_MSE[1:]]
    d_SE = a_MSE[1] - a_MSE[0]
    answers = {
        "one seed, z-test on own episodes": z_test(a_MSE[0, 0], methods(rng, 1, 1)[0, 0]),
        "one seed, paired episodes": found(one_model_interval(d_SE[0])),
        "seeds x episodes pooled": found(one_model_interval(d_SE.ravel())),
        "bootstrap over seeds": bootstrap(rng, d_SE.mean(1)),
        "paired t over seeds": differs(d_SE.mean(1)),
        "crossed interval": found(intervals[0]),
        "power: paired t": differs(d_SE.mean(1) + EFFECT),
        "power: crossed interval": found(crossed_interval(d_SE + EFFECT)),
    }
    for size in (8, 16)[: 1 + (variants >= 16)]:
        answers |= family(intervals[:size], "plain")
    return answers | equivalences(d_SE, "plain")


def persistent(rng: np.random.Generator, seeds: int) -> Answers:
    """Compare 8 variants with a baseline, each with episodes of its own strength."""
    a_MSE = methods(rng, 9, seeds, persistent=PERSISTENT_SD)
    intervals = [crossed_interval(a_SE - a_MSE[0]) for a_SE in a_MSE[1:]]
    d_SE = a_MSE[1] - a_MSE[0]
    return {
        "persistent: crossed interval": found(intervals[0]),
        "persistent: paired t over seeds": differs(d_SE.mean(1)),
        "persistent: power: crossed interval": found(crossed_interval(d_SE + EFFECT)),
        **family(intervals, "persistent"),
        **equivalences(d_SE, "persistent"),
    }


def steady(rng: np.random.Generator, seeds: int) -> Answers:
    """Compare two methods that seeds hardly move, so that many are called equivalent."""
    a_MSE = methods(rng, 2, seeds, seed_sd=SEED_SD / 4)
    return equivalences(a_MSE[1] - a_MSE[0], "steady")


def coarse(rng: np.random.Generator, seeds: int) -> Answers:
    """Compare two methods on 4 episodes of 15 answers, where seeds agree by coincidence."""
    a_MSE = methods(rng, 2, seeds, episodes=4)
    judged = [
        _judged(_answered(a_MSE[1] + times * MARGIN) - _answered(a_MSE[0])) for times in (0, 1, 2)
    ]
    return {
        "coarse: better or worse": judged[0] in {"better", "worse"},
        "coarse: equivalent at 1 x margin": judged[1] == "equivalent",
        "coarse: equivalent at 2 x margin": judged[2] == "equivalent",
    }


def _answered(a_SE: np.ndarray) -> np.ndarray:
    return np.asarray((a_SE * 15).round() / 15)


def shared(rng: np.random.Generator, seeds: int, *, own: float = 0.0) -> Answers:
    """Judge a grid of 3 pretexts and 4 metas without effects; metas share a pretext's encoder."""
    a_GHSE = methods(rng, 12, seeds, seed_sd=CELL_SD, persistent=own).reshape(3, 4, seeds, -1)
    a_GHSE += ENCODER_SD * rng.standard_normal((3, 1, seeds, 1))
    name = "shared, persistent" if own else "shared"
    return {
        f"{name}: pretext, contrast": found(crossed_interval(main_effect(a_GHSE, 1, 0))),
        f"{name}: meta, contrast": found(crossed_interval(main_effect(a_GHSE, 1, 0, factor=1))),
        f"{name}: interaction, contrast": found(
            crossed_interval(interaction(a_GHSE, (1, 0), (1, 0)))
        ),
        f"{name}: departure of a cell": found(crossed_interval(departure(a_GHSE)[0, 0])),
        f"{name}: pretext, pooled residual": pooled_blocks(a_GHSE.mean(3)) < LEVEL,
    }


def data_sets(rng: np.random.Generator, seeds: int) -> Answers:
    """Compare 3 methods on 7 and on 10 data sets, each better on some and worse on others."""
    a_MB = 0.1 * rng.standard_normal(10) + BLOCK_SD * rng.standard_normal((3, 10))
    a_MB += SEED_SD / sqrt(seeds) * rng.standard_normal((3, 10))
    answers: Answers = {}
    for blocks in (7, 10):
        diagram = critical_difference(a_MB[:, :blocks])
        assert diagram is not None
        answers |= {
            f"mean over {blocks} data sets": differs((a_MB[1] - a_MB[0])[:blocks]),
            f"Wilcoxon-Holm over {blocks} data sets": min(diagram.p_holm.values()) < LEVEL,
        }
    return answers


def looking(rng: np.random.Generator, most: int) -> Answers:
    """Add seeds from the third on until a null comparison is settled, up to ``most``."""
    a_MSE = methods(rng, 2, most)
    d_SE, settled = a_MSE[1] - a_MSE[0], "undecided"
    by_p = any(differs(d_SE[:seeds].mean(1)) for seeds in range(3, most + 1))
    for seeds in range(3, most + 1):
        settled = _judged(d_SE[:seeds]) if settled == "undecided" else settled
    return {
        "added until p < .05": by_p,
        "added until a verdict": settled in {"better", "worse"},
    }


SETTINGS: Mapping[str, Setting] = {
    "plain": plain,
    "persistent": persistent,
    "steady": steady,
    "coarse": coarse,
    "shared": shared,
    "shared, persistent": partial(shared, own=PERSISTENT_SD),
    "data sets": data_sets,
    "looking": looking,
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """A chunk of one column: its coordinates are the seed of its draws."""

    setting: str
    seeds: int
    chunk: int
    suites: int


def count(task: Task) -> tuple[Task, Counter[str]]:
    """Count the suites of a chunk in which each procedure finds something."""
    rng = np.random.default_rng(derive("simulation", task.setting, task.seeds, task.chunk))
    counts: Counter[str] = Counter()
    with threadpool_limits(1):
        for _ in range(task.suites):
            answers = SETTINGS[task.setting](rng, task.seeds)
            counts.update({name: int(answer) for name, answer in answers.items()})
    return task, counts


def tasks(settings: Iterable[str], columns: Iterable[int], suites: int) -> list[Task]:
    """Cut columns into chunks, of which the last of each may be smaller."""
    return [
        Task(setting=setting, seeds=seeds, chunk=first, suites=min(CHUNK, suites - first))
        for setting in settings
        for seeds in columns
        for first in range(0, suites, CHUNK)
    ]


Rates = dict[str, dict[int, float]]  # procedure -> column (seeds) -> share of suites


def rates(counted: Iterable[tuple[Task, Mapping[str, int]]], suites: int) -> Rates:
    """Join what the chunks counted."""
    joined: dict[str, Counter[int]] = {}
    for task, counts in counted:
        for name, number in counts.items():
            joined.setdefault(name, Counter())[task.seeds] += number
    return {
        name: {seeds: number / suites for seeds, number in row.items()}
        for name, row in joined.items()
    }


OTHER_WAYS = (  # no verdict is made so: they are here to show why
    *("one seed", "seeds x", "bootstrap", "paired t over", "added until"),
    *("without Holm", "pooled residual"),
)


JUDGED = "False positives of what verdicts and effects are judged by (nominal .05)"
OTHERS = "False positives of other ways"
POWER = "Power at a true difference of 2 points"


def part(name: str) -> str:
    """Say which table a procedure's row stands in."""
    if "power" in name:
        return POWER
    return OTHERS if any(way in name for way in OTHER_WAYS) else JUDGED


def table(found: Rates, columns: Sequence[int], head: str) -> str:
    """Write rates as a table in markdown, a row a procedure."""
    lines = [
        f"| procedure | {' | '.join(f'{head}{column}' for column in columns)} |",
        f"|---|{'---|' * len(columns)}",
    ]
    for name, row in found.items():
        cells = [f"{row[c]:.3f}".removeprefix("0") if c in row else "—" for c in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--suites", type=int, default=10_000, help="drawn for each column")
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 3, 5, 10], help="columns")
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--json", type=Path, help="where to write the rates, too")
    asked = parser.parse_args()
    columns, most = asked.seeds, (10, 20)
    settings = [name for name in SETTINGS if name != "looking"]
    todo = tasks(settings, columns, asked.suites) + tasks(["looking"], most, asked.suites)
    todo.sort(key=lambda task: -task.seeds)  # the long ones first, so that all end together
    with multiprocessing.get_context("spawn").Pool(asked.workers) as pool:
        counted = list(pool.imap_unordered(count, todo))
    order = list(SETTINGS)
    counted.sort(key=lambda one: (order.index(one[0].setting), one[0].seeds, one[0].chunk))
    found = rates((one for one in counted if one[0].setting != "looking"), asked.suites)
    looked = rates((one for one in counted if one[0].setting == "looking"), asked.suites)
    for title in (JUDGED, OTHERS, POWER):
        rows = {name: row for name, row in found.items() if part(name) == title}
        print(f"{title}:\n\n{table(rows, columns, 'S=')}\n")
    print(f"Seeds added after looking:\n\n{table(looked, most, 'at most ')}\n")
    error = sqrt(LEVEL * (1 - LEVEL) / asked.suites)
    print(f"{asked.suites:,} suites a column; Monte-Carlo standard error at .05: {error:.4f}")
    if asked.json:
        asked.json.write_text(json.dumps({**found, **looked}, indent=1) + "\n")


if __name__ == "__main__":
    main()
