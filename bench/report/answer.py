"""The answer in sentences, made from the verdicts and from nothing else."""

from collections.abc import Sequence

from bench.report import words
from bench.report.audit.finding import failed
from bench.report.comparison import Block, Comparison, Row, is_floor
from bench.report.marks import is_oracle

SAW = {
    "none": "saw no labels",
    "validation": "saw labels in validation only",
    "train": "saw labels in training",
}


def overall(blocks: Sequence[Block]) -> list[str]:
    """Say what holds in every setting of the suite, where each has verdicts."""
    if len(blocks) < 2 or not all(_judged(block) for block in blocks):
        return []
    always = _in_all(blocks, "better")
    if not always and all(one_seed([block], every=True) for block in blocks):
        return ["With one seed nothing is told of other trainings: every verdict is undecided."]
    if not always:
        lacks = any(row.group.trouble for block in blocks for row in block.rows)
        of = "No variant that is complete" if lacks else "No variant"
        return [f"{of} is better than the random-init floor in every setting."]
    be = "is" if len(always) == 1 else "are"
    names = words.listing([_remarked(name, rows) for name, rows in always.items()])
    return [f"In every setting {names} {be} better than the random-init floor."]


def _remarked(name: str, rows: Sequence[Row]) -> str:
    """Name a variant, and what its verdicts against the floor have to be read with."""
    marks = dict.fromkeys(mark for row in rows for mark in _remarks(row, row.floor))
    return f"{words.escape(name)} ({', '.join(marks)})" if marks else words.escape(name)


def _remarks(row: Row, one: Comparison | None) -> list[str]:
    """Return what to say beside a verdict: seeds after a look, an oracle, an audit that failed."""
    looked_at = one.looked_at.partition(":")[0] if one else ""
    cautions = ["oracle"] * is_oracle(row.marks) + ["audit failed"] * failed(row.marks)
    return [*([looked_at] if looked_at else []), *cautions]


def _judged(block: Block) -> bool:
    return any(row.floor is not None and row.floor.verdict for row in block.rows)


def _in_all(blocks: Sequence[Block], verdict: str) -> dict[str, list[Row]]:
    """Return the rows of each variant that has this verdict against the floor in every block."""
    found = [
        {row.group.variant: row for row in b.rows if row.floor and row.floor.verdict == verdict}
        for b in blocks
    ]
    every = [name for name in found[0] if all(name in one for one in found)]
    return {name: [one[name] for one in found] for name in every}


def sentences(block: Block, margin: float) -> list[str]:
    """Say for one setting what leads, what beats the floor, and what beats each baseline."""
    floor = [(row, row.floor) for row in block.rows if row.floor]
    said = _leaders(block) + _verdicts("the random-init floor", block, floor, margin)
    for labels, name in block.baselines.items():
        own = [
            (row, row.baseline)
            for row in block.rows
            if row.baseline and row.group.first.labels == labels and row.baseline.verdict
        ]
        if not _is_floor(block, name):
            said += _verdicts(f"the baseline {words.escape(name)}", block, own, margin)
    return said + _incomplete(block)


def _leaders(block: Block) -> list[str]:
    """Name the highest mean of each class of labels; it is no verdict, and says so."""
    said = []
    for labels in dict.fromkeys(row.group.first.labels for row in block.rows):
        rows = [row for row in block.rows if row.group.first.labels == labels]
        best = next((row for row in rows if row.accuracy), None)
        if best is not None and best.accuracy is not None:
            whole = "complete " if any(row.accuracy is None for row in rows) else ""
            alike = [r for r in rows if r.accuracy and r.accuracy.mean == best.accuracy.mean]
            name = words.listing([f"{words.escape(r.group.variant)}{_ideal(r)}" for r in alike])
            caution = ", audit failed" if any(failed(row.marks) for row in alike) else ""
            among = f"the {whole}variants that {SAW[labels]} (no verdict by itself{caution})"
            mean = words.percent(best.accuracy)
            said.append(f"Highest mean {block.headline.noun} in % of {among}: {name}, {mean}.")
    return said


def _ideal(row: Row) -> str:
    return " (oracle)" * is_oracle(row.marks)


def _is_floor(block: Block, variant: str) -> bool:
    return any(is_floor(row.group) for row in block.rows if row.group.variant == variant)


def _verdicts(
    reference: str, block: Block, compared: Sequence[tuple[Row, Comparison]], margin: float
) -> list[str]:
    """One sentence a verdict that occurs."""
    if not compared:
        return []
    phrases = {
        "better": f"better than {reference}",
        "equivalent": f"equivalent to {reference} (within {words.within(margin)})",
        "worse": f"worse than {reference}",
    }
    said = []
    for verdict, phrase in phrases.items():
        names = _named(compared, verdict)
        if names:
            be = "is" if len(names) == 1 else "are"
            said.append(f"{words.listing(names)} {be} **{phrase}**.")
    undecided = _named(compared, "undecided")
    if undecided and _alone(compared):
        told = "; ".join(undecided)
        said.append(f"**With one seed undecided**, minus {reference}, of these models: {told}.")
    elif undecided:
        told = f"**cannot be told apart from {reference}** with these seeds (undecided)"
        said.append(f"{words.listing(undecided)} {told}.")
    return said


def _alone(compared: Sequence[tuple[Row, Comparison]]) -> bool:
    """Whether every difference is of one seed: then one word for all of them is enough."""
    return all(one.difference.one_model for _, one in compared if one.difference)


def _named(compared: Sequence[tuple[Row, Comparison]], verdict: str) -> list[str]:
    known = words.ONE_MODEL if _alone(compared) else ""
    return [
        f"{words.escape(row.group.variant)} "
        f"({', '.join([words.points(one.difference).removesuffix(known), *_remarks(row, one)])})"
        for row, one in compared
        if one.verdict == verdict and one.difference is not None
    ]


def _incomplete(block: Block) -> list[str]:
    """Name the rows without a mean, together where the reason is the same."""
    reasons: dict[str, list[str]] = {}
    for row in block.rows:
        if row.group.trouble:
            reasons.setdefault(row.group.trouble, []).append(words.escape(row.group.variant))
    return [f"Nothing is said of {words.listing(v)}: {why}." for why, v in reasons.items()]


def one_seed(blocks: Sequence[Block], *, every: bool = False) -> bool:
    """Whether some interval, or every one, speaks of one model alone."""
    found = [row.accuracy.one_model for b in blocks for row in b.rows if row.accuracy]
    return all(found) if every else any(found)
