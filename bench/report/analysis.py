"""All that a report says about results, computed once: comparisons, effects, pairs, audit."""

from dataclasses import dataclass

from bench.report.audit.audit import Audit, audit, marked
from bench.report.comparison import Block, blocks
from bench.report.evidence.looks import row_name
from bench.report.results import Results
from bench.report.views.across_domains import Domains, across_domains
from bench.report.views.all_pairs import AllPairs, all_pairs
from bench.report.views.continual import Stream, streams
from bench.report.views.data_sets import DataSets, data_sets
from bench.report.views.factorial import Factorial, factorial
from bench.report.views.speed import of_blocks
from bench.report.views.tuning import Tuning, tuning


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """``blocks`` carry the marks of the audit; the rest is of the main ones alone.

    Main blocks are the settings of a suite; of held-out tasks their mean, where there is one.
    """

    results: Results
    blocks: tuple[Block, ...]
    audit: Audit
    factorials: tuple[Factorial, ...]
    pairs: tuple[AllPairs, ...]
    data_sets: tuple[DataSets, ...]
    domains: tuple[Domains, ...] = ()
    tuning: Tuning | None = None
    streams: tuple[Stream, ...] = ()


def analyse(results: Results) -> Analysis:
    """Compare, audit and mark all rows of some results."""
    plan, compared = results.plan, blocks(results)
    audited = audit(results, compared)
    shown = marked(compared, audited)
    main = [block for block in shown if not block.held_out] + of_blocks(shown)
    effects = [factorial(block, plan) for block in main]
    pairs = [all_pairs(block, float(plan.settings["margin"])) for block in main]
    return Analysis(
        results=results,
        blocks=shown,
        audit=audited,
        factorials=tuple(one for one in effects if one),
        pairs=tuple(one for one in pairs if one),
        data_sets=data_sets(shown, plan),
        domains=across_domains(shown, plan),
        tuning=tuning(results, shown),
        streams=streams(shown, plan),
    )


def whole_rows(results: Results) -> dict[str, list[int]]:
    """Return the seeds of every row that is whole, by its name: what a report of them shows."""
    return {
        row_name(group.first): sorted(group.seeds())
        for group in (*results.groups, *results.defaults.values())
        if not group.trouble
    }
