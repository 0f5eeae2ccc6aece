"""The sentences that a paper needs: protocol, what a seed changes, intervals, compute, versions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from textwrap import fill

from bench.cell import TRAINED, Json
from bench.report import words
from bench.report.answer import one_seed
from bench.report.comparison import Block
from bench.report.headline import headline_of
from bench.report.marks import TUNED_ON
from bench.report.paper import compute
from bench.report.paper.protocol import protocol
from bench.report.results import Results
from bench.report.streams import episodes_of, is_stream
from bench.report.trials import trials_of
from bench.report.views import tuning_words

WIDTH = 100  # columns of the plain text
VERSIONS = {"bench": "meta-ssl-bench", "python": "Python", "torch": "PyTorch", "numpy": "NumPy"}


@dataclass(frozen=True, kw_only=True)
class Paragraph:
    """One subject's sentences, as markdown."""

    title: str
    markdown: str


def method(results: Results, blocks: Sequence[Block]) -> tuple[Paragraph, ...]:
    """Say how the numbers of a report came about, in the past tense of a paper."""
    said = {
        "Protocol": protocol(results),
        "What a seed changes": _seeds(results),
        "Intervals and verdicts": _intervals(results, blocks),
        **_tuning(results),
        "Compute": _compute(results),
        "Hardware and versions": _versions(results),
    }
    return tuple(Paragraph(title=title, markdown=text) for title, text in said.items())


def plain_text(paragraphs: Sequence[Paragraph]) -> str:
    """Return the same as a text file: a title, its sentences, an empty line."""
    parts = [
        f"{one.title}\n\n"
        + fill(words.plain(one.markdown), WIDTH, break_long_words=False, break_on_hyphens=False)
        for one in paragraphs
    ]
    return "\n\n".join(parts) + "\n"


def _seeds(results: Results) -> str:
    cells, cards = [one.cell for one in results.cells], results.plan.cards
    of = headline_of(results.plan)
    views = {name for name in cards if name.startswith("augment/")} - {"augment/none"}
    parts = {
        "initial weights": True,
        "the order of training examples": _has(results, "pretrain"),
        "the sampling of training tasks": _has(results, "metatrain"),
        "the clustering": _has(results, "cluster"),
        "augmentation": bool(views),
        "the pretexts' own draws": any(name.startswith("pretext/") for name in cards),
    }
    changed = words.listing([part for part, varies in parts.items() if varies])
    shared = any(
        number > 1 and results.plan.stages[key].kind == "pretrain"
        for key, number in _variants_of(results).items()
    )
    return (
        f"A seed changes all that is random in training ({changed}); it changes neither the split "
        f"of the {of.groups} nor the test {episodes_of(results.plan)}."
        + (" Variants that start from the same pre-training share it, seed by seed." * shared)
        + (_FILE * any(cell.init == "checkpoint" for cell in cells))
    )


_FILE = " Rows that start from a file of weights start from the same one with every seed."


def _has(results: Results, *kinds: str) -> bool:
    return any(spec.kind in kinds for spec in results.plan.stages.values())


def _variants_of(results: Results) -> dict[str, int]:
    """Return how many variants build on each stage."""
    names: dict[str, set[str]] = {}
    for one in results.cells:
        for key in one.cell.stages.values():
            names.setdefault(key, set()).add(one.cell.variant)
    return {key: len(variants) for key, variants in names.items()}


_SCOPE = " Inference is to new seeds and new episodes of these test classes, not to new classes."
_WORLDS = " Inference is to new seeds and new environments drawn from the same ranges."


def _intervals(results: Results, blocks: Sequence[Block]) -> str:
    settings = results.plan.settings
    of = headline_of(results.plan)
    scope = "" if settings.get("held_out") else _SCOPE if of.classes else _WORLDS
    sizes = "data set, ways and shots" if of.classes else "data set and number of transitions"
    measured = "" if of.classes else f" of {of.noun}"
    one = (
        f"With one seed intervals are over {of.episodes} of one model. " if one_seed(blocks) else ""
    )
    return (
        f"Intervals are 95 % over both seeds and {of.episodes}: SE^2 = max(V_s + V_e - "
        "V_r, V_s) of the two-way layout, t with S - 1 degrees of freedom. Differences are paired "
        f"by seed and {of.episode} and get the same interval. {one}p-values are Holm-adjusted "
        f"within all comparisons with one reference for a {sizes}; all pairs of one class "
        "of labels, and each kind of effect of pretext and meta-learning, are families of their "
        "own. A difference is "
        f"equivalent if its interval lies within +- {words.within(settings['margin'])}{measured}, "
        "better or "
        "worse if the interval excludes 0 and the adjusted p is below .05, else undecided. "
        f"Variants are compared with a baseline that saw the same labels.{scope}"
    )


def _tuning(results: Results) -> dict[str, str]:
    """Say whose weights were tested, and who chose the hyper-parameters."""
    trials = trials_of(results.plan)
    if trials is None:
        return {"Selection and tuning": f"{_tested(results)} {_untuned(results)}"}
    spent = words.duration(sum(row.seconds for row in trials.rows))
    said = [
        *tuning_words.rule(trials, results.plan.settings["seeds"]),
        f"All trials took {spent} of computing, beside that of the reported runs; a stage that "
        "several rows share counts for each. Each tuned row is reported beside its default, with "
        "the same seeds and test episodes, by the paired difference; all such differences of a "
        "data set, ways and shots are a family of p-values.",
        *tuning_words.untuned(trials),
    ]
    text = " ".join(one if one.endswith(".") else f"{one}." for one in said)
    return {"Selection": _tested(results), "Tuning": text}


def _tested(results: Results) -> str:
    rules = {one.cell.params.get("selection", "last") for one in results.cells} - {"last"}
    tested = "Weights are those of the last step"
    if rules:
        tested += f", but in rows marked as selected by {words.listing(sorted(rules))}"
    return f"{tested}."


def _untuned(results: Results) -> str:
    chosen, written = "; ".join(_searched(results.plan.settings, results)), _written(results)
    if written:
        return (
            f"An earlier tuning, whose trials are not recorded here, chose hyper-parameters of "
            f"{written}. Every other is its method's default, or the value that the suite gives "
            "it; how the suite's author came to these is not recorded."
        )
    return (
        f"No hyper-parameter was tuned by the harness{f' ({chosen})' if chosen else ''}: "
        "each has its method's default, or the value that the suite gives it; how the suite's "
        f"author came to these is not recorded."
    )


def _written(results: Results) -> str:
    """Say which rows a suite took over from a tuning, and by which rule that chose."""
    rules: dict[str, dict[str, None]] = {}
    for one in results.cells:
        if TUNED_ON in one.cell.params:
            name = words.escape(one.cell.variant)
            rules.setdefault(str(one.cell.params[TUNED_ON]), {})[name] = None
    said = [f"{words.listing(list(own))} on {rule}" for rule, own in rules.items()]
    return "; ".join(said)


def _searched(settings: Mapping[str, Json], results: Results) -> Iterator[str]:
    """Name what was chosen by measuring something, which is not tuning on the test."""
    if is_stream(results.plan) and len(settings["rates"]) > 1:
        yield "but for the rate of the steps along a stream, chosen on validation streams"
    if settings.get("held_out"):
        yield "but for the rate of the steps on held-out tasks, chosen on other tasks"
    if any(one.cell.pretext == "best_of" for one in results.cells):
        yield "the search of best_of is part of the method and within its budget"


def _compute(results: Results) -> str:
    every = compute.spent(results)
    if not every:
        return "No stage is finished yet."
    unfinished = len(results.plan.stages) - len(results.manifests)
    lacking = f" {unfinished} of {len(results.plan.stages)} stages are not finished and not in it."
    return (
        f"A run is one variant, setting and seed: its test and all training that it builds on. "
        f"{_runs(results)} In total the suite took {_hours(every)}: {_parts(every)}; a stage that "
        f"runs share is counted once, a failed or interrupted attempt not at all."
        f"{lacking if unfinished else ''}"
    )


def _runs(results: Results) -> str:
    found = compute.runs(results)
    said = [
        f"{words.duration(median(seconds))} (median of {len(seconds)}, from "
        f"{words.duration(min(seconds))} to {words.duration(max(seconds))}) on "
        f"{words.escape(where)}"
        for where, seconds in found.items()
    ]
    if not said:
        return "No run is finished yet."
    mixed = " Seconds on different hardware are not comparable." * (len(said) > 1)
    return f"A run took {words.listing(said)}.{mixed}"


def _parts(every: Sequence[compute.Spent]) -> str:
    """Training and test apart, whatever else there is by its name."""
    groups: dict[str, list[compute.Spent]] = {}
    for one in every:
        name = "training" if one.kind in TRAINED else one.kind
        groups.setdefault("testing" if name == compute.TEST else name, []).append(one)
    return words.listing(
        [
            f"{_hours(own)} of {name} ({count} stage{'s' * (count != 1)})"
            for name, own in groups.items()
            for count in (sum(len(one.seconds) for one in own),)
        ]
    )


def _hours(rows: Sequence[compute.Spent]) -> str:
    hours = compute.hours(rows)
    if hours < 0.01:
        return words.duration(3600 * hours)
    return f"{hours:.2g} h" if hours < 1 else f"{hours:,.1f} h"


def _versions(results: Results) -> str:
    """Say what computed all finished stages, and where that is not one thing."""
    made = [manifest.get("provenance", {}) for manifest in results.manifests.values()]
    if not made:
        return "No stage is finished yet."
    said, mixed = [], []
    for name, shown in VERSIONS.items():
        values = sorted({_version(one[name]) for one in made if name in one})
        if values:
            said.append(f"{shown} {words.listing(values)}")
            mixed += [shown] * (len(values) > 1)
    machines = sorted({compute.machine(one) for one in results.manifests.values()})
    mixed += ["hardware"] * (len(machines) > 1)
    warning = f" Stages mix {words.listing(mixed)}." if mixed else ""
    return f"Computed with {', '.join(said)} on {words.escape(words.listing(machines))}.{warning}"


def _version(found: Json) -> str:
    return "of unknown version" if found == "not installed" else str(found)
