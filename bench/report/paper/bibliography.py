"""What a report cites: the sources of its methods, published numbers and statistics, as BibTeX."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.cell import Json
from bench.report import words
from bench.report.paper.latex import escape
from bench.report.reproduction import Beside

FILE = Path(__file__).with_name("references.bib")  # one field a line, as ``entries`` reads it
IDENTIFIER = re.compile(r"arXiv:[\w./-]+\w|\bdoi:\S+[\w)]|https?://\S+[\w/]", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Statistic:
    """A source of the report's own statistics, and what it gave.

    ``shown_by`` begins the names of the tables, figures and procedures of tuning that use it; all
    reports do if empty.
    """

    reference: str
    use: str
    shown_by: tuple[str, ...] = ()


STATISTICS = (
    Statistic(reference="arXiv:2409.02850", use="crossed intervals"),
    Statistic(reference="doi:10.2307/4615733", use="Holm's adjustment"),
    Statistic(reference="doi:10.1007/BF01068419", use="equivalence within a margin"),
    Statistic(reference="arXiv:2103.03098", use="what a seed varies"),
    Statistic(
        reference="https://jmlr.org/papers/v7/demsar06a.html",
        use="critical-difference diagram",
        shown_by=("ranks-",),
    ),
    Statistic(
        reference="doi:10.2307/3001968", use="signed-rank test of pairs", shown_by=("ranks-",)
    ),
    Statistic(
        reference="arXiv:1505.02288", use="no test based on mean ranks", shown_by=("ranks-",)
    ),
    Statistic(
        reference="arXiv:2108.13264",
        use="interquartile mean, performance profiles",
        shown_by=("interquartile", "profiles"),
    ),
    Statistic(
        reference="arXiv:1909.03004",
        use="expected best of several trials",
        shown_by=("expected-best",),
    ),
    Statistic(
        reference="arXiv:2004.13705",
        use="its estimate without replacement",
        shown_by=("expected-best",),
    ),
    Statistic(
        reference="doi:10.1007/978-1-4757-4321-0",
        use="planner (cross-entropy method)",
        shown_by=("returns-",),
    ),
    Statistic(
        reference="arXiv:1805.12114",
        use="planner (with a learned model, anew before every step)",
        shown_by=("returns-",),
    ),
    Statistic(
        reference="arXiv:1706.08840",
        use="average accuracy, backward transfer",
        shown_by=("stream-",),
    ),
    Statistic(reference="arXiv:1810.11910", use="learning accuracy", shown_by=("stream-",)),
    Statistic(reference="arXiv:2302.01766", use="forgetting", shown_by=("stream-",)),
    Statistic(
        reference="arXiv:1801.10112", use="forgetting, another of the name", shown_by=("stream-",)
    ),
    Statistic(reference="arXiv:1907.10902", use="tuning (Optuna)", shown_by=("tuning",)),
    Statistic(
        reference="https://papers.nips.cc/paper/4443-algorithms-for-hyper-parameter-optimization",
        use="tuning (TPE)",
        shown_by=("sampler-tpe",),
    ),
    Statistic(
        reference="arXiv:2304.11127", use="tuning (TPE of several)", shown_by=("sampler-tpe",)
    ),
    Statistic(
        reference="https://jmlr.org/papers/v13/bergstra12a.html",
        use="tuning (random search)",
        shown_by=("sampler-random",),
    ),
    Statistic(
        reference="arXiv:1810.05934",
        use="tuning (successive halving)",
        shown_by=("pruner-halving", "pruner-hyperband"),
    ),
    Statistic(
        reference="arXiv:1603.06560", use="tuning (Hyperband)", shown_by=("pruner-hyperband",)
    ),
    Statistic(
        reference="https://proceedings.mlr.press/v32/hutter14.html",
        use="importances of parameters (fANOVA)",
        shown_by=("importances",),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An entry of a BibTeX file; ``text`` is the whole of it."""

    key: str
    fields: Mapping[str, str]
    text: str

    @property
    def identifier(self) -> str:
        """The arXiv identifier, DOI or address by which a plug-in names it, folded."""
        for name, prefix in (("eprint", "arXiv:"), ("doi", "doi:"), ("url", "")):
            if name in self.fields:
                return folded(prefix + self.fields[name])
        return folded(self.fields["title"])

    @property
    def short(self) -> str:
        """Authors, year and title in a line: ``Finn et al. 2017, Model-Agnostic ...``."""
        names = [one.partition(",")[0] for one in self.fields.get("author", "").split(" and ")]
        who = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
        when = f"{who} {self.fields.get('year', '')}".strip()
        return ", ".join(part for part in (when, _plain(self.fields["title"])) if part)


@dataclass(frozen=True, kw_only=True)
class Citation:
    """A source that a report cites, and what uses it: plug-ins, numbers, statistics."""

    reference: str
    entry: Entry
    uses: Sequence[str]
    known: bool

    @property
    def markdown(self) -> str:
        """One line: the source in words, a link to it, what uses it."""
        short = f"{words.escape(self.entry.short)}, " if self.known else ""
        return f"{short}{link(words.escape(self.reference))}: {words.escape(', '.join(self.uses))}"


def _plain(field: str) -> str:
    return re.sub(r"[{}]", "", field)


@cache
def entries() -> Mapping[str, Entry]:
    """Return this package's references by their folded identifiers."""
    found = parse(FILE.read_text(encoding="utf-8"))
    return {entry.identifier: entry for entry in found}


def parse(text: str) -> list[Entry]:
    """Read entries that are written as ours: ``@kind{key,``, one field a line, ``}``."""
    return [
        Entry(
            key=one["key"],
            fields=dict(re.findall(r"^  (\w+) = \{(.*)\},$", one["body"], re.M)),
            text=one[0],
        )
        for one in re.finditer(r"^@\w+\{(?P<key>[^,\s]+),\n(?P<body>.*?)^\}$", text, re.M | re.S)
    ]


def references(text: str) -> list[str]:
    """Return every identifier in what a plug-in names as its source; the text if it has none."""
    return IDENTIFIER.findall(text) or [text.strip()]


def folded(reference: str) -> str:
    """Return what two ways of writing one identifier have in common."""
    return re.sub(r"^(arxiv:.*\d)v\d+$", r"\1", reference.lower().rstrip("/"))


def cited(
    cards: Mapping[str, Json], found: Sequence[Beside], shown: Iterable[str]
) -> list[Citation]:
    """Return exactly what a report uses, by authors.

    ``cards`` are the plan's plug-ins, ``found`` the published numbers beside own rows, ``shown``
    the names of the report's tables and figures, and of the procedures of its tuning.
    """
    uses: dict[str, dict[str, None]] = {}
    names: dict[str, str] = {}
    for reference, use in _used(cards, found, tuple(shown)):
        names.setdefault(folded(reference), reference)
        uses.setdefault(folded(reference), {})[use] = None
    made = [_citation(names[one], list(by)) for one, by in uses.items()]
    return sorted(made, key=lambda one: (not one.known, one.entry.short.lower(), one.entry.key))


def _used(
    cards: Mapping[str, Json], found: Sequence[Beside], shown: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    for name, card in sorted(cards.items()):
        for reference in references(card.get("reference") or ""):
            if reference:
                yield reference, name
    for one in found:
        if one.number.identifier:
            yield one.number.identifier, "published numbers"
    for each in STATISTICS:
        if not each.shown_by or any(name.startswith(each.shown_by) for name in shown):
            yield each.reference, each.use


def _citation(reference: str, uses: Sequence[str]) -> Citation:
    known = entries().get(folded(reference))
    return Citation(
        reference=reference,
        entry=known or _minimal(reference, uses),
        uses=uses,
        known=known is not None,
    )


def _minimal(reference: str, uses: Sequence[str]) -> Entry:
    """Make an entry of what a plug-in says of its source, where no more is known here."""
    kind, _, number = reference.partition(":")
    fields = {"title": escape(reference)}
    if kind.lower() == "arxiv":
        fields |= {"eprint": number, "archiveprefix": "arXiv"}
        fields |= {"url": f"https://arxiv.org/abs/{number}"}
    elif kind.lower() == "doi":
        fields |= {"doi": number, "url": f"https://doi.org/{number}"}
    elif kind.lower() in {"http", "https"}:
        fields |= {"url": reference}
    fields |= {"note": f"Named by {escape(words.listing(uses))}; authors and title to be filled in"}
    key = "unlisted-" + re.sub(r"[^a-z0-9]+", "-", reference.lower()).strip("-")
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return Entry(key=key, fields=fields, text="\n".join([f"@misc{{{key},", *lines, "}"]))


def bibtex(citations: Sequence[Citation], origin: str) -> str:
    """Return the file: each entry, and before it what uses it. ``origin``: which report's."""
    parts = [f"References of {' '.join(origin.split()).replace('@', ' at ')}"]
    for one in sorted(citations, key=lambda one: one.entry.key):
        parts.append(f"Used by: {', '.join(one.uses).replace('@', ' at ')}\n{one.entry.text}")
    return "\n\n".join(parts) + "\n"


def link(text: str) -> str:
    """Turn each arXiv identifier or DOI of a text into a markdown link."""
    text = re.sub(r"arXiv:([\w.\-/]+\w)", r"[arXiv:\1](https://arxiv.org/abs/\1)", text, flags=re.I)
    return re.sub(r"\bdoi:(\S+[\w)])", r"[doi:\1](https://doi.org/\1)", text)
