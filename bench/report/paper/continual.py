"""Learning along a stream in sentences for a paper: protocol, strategies, metrics, families."""

from collections.abc import Iterator, Mapping

from bench.cell import Json
from bench.plan import Plan
from bench.report import words
from bench.report.marks import oracles
from bench.report.results import Results
from bench.report.streams import is_stream

SCENARIOS = {
    "class": "{groups} groups of {ways} new classes each, and a query is told apart among all the "
    "classes met so far (class-incremental)",
    "task": "{groups} groups of {ways} new classes each, and a query is told its group, so that it "
    "is told apart among the group's classes (task-incremental)",
    "domain": "{ways} classes in {groups} domains, one after the other in an order of its own: "
    "every example is shown as {shown} answers one of its questions (domain-incremental)",
}
METRICS = (
    "With M(t, j) the accuracy on group j after group t, and T groups: average accuracy, which is "
    "what the comparisons above are of, is the mean of M(T, j) over all groups (arXiv:1706.08840); "
    "learning accuracy the mean of M(j, j) (arXiv:1810.11910); forgetting the mean of "
    "M(j, j) - M(T, j) over the groups before the last, as Avalanche has it (arXiv:2302.01766; "
    "arXiv:1801.10112 take the best accuracy before the end in the place of the first); backward "
    "transfer is minus forgetting (arXiv:1706.08840)."
)
FAMILIES = (
    "Rows of one start are compared with its naive row, and rows that differ in pre-training along "
    "the stream with each other, in average accuracy and in forgetting; all such comparisons of a "
    "kind in one measure are a family of p-values of a setting. Each start is compared with the "
    "untrained network that learns by the same strategy: in average accuracy within the family of "
    "that reference, in forgetting with all rows of the strategy as a family. The margin holds for "
    "forgetting too. Between rows that saw different labels, as where validation classes chose "
    "the rate of one and the other takes no steps, there is no verdict, and the "
    "difference alone is given, but for that from the untrained network."
)


def steps(results: Results) -> str:
    """Say how many steps are taken on a group; empty where episodes are no streams."""
    if not is_stream(results.plan):
        return ""
    taken = int(results.plan.settings["test_steps"])
    return f"{taken} step{'s' * (taken != 1)} on each group by strategies that take steps"


def method(results: Results) -> str:
    """Describe streams, strategies, rates, metrics and families; empty for other protocols."""
    plan = results.plan
    if not is_stream(plan):
        return ""
    said = [_stream(results), *_strategies(plan), _rate(plan), METRICS, FAMILIES]
    return " " + " ".join(said)


def _stream(results: Results) -> str:
    settings: Mapping[str, Json] = results.plan.settings
    ways = words.listing([str(number) for number in settings["ways"]])
    brings = SCENARIOS[settings["scenario"]].format(
        groups=settings["groups"], ways=ways, shown=settings.get("domains", "")
    )
    return (
        f"A stream brings {brings}. From every start the encoder and a new head for all classes "
        "of the stream learn group after group by plain gradient descent on the cross-entropy; "
        "after each the queries of every group so far are answered."
    )


def _strategies(plan: Plan) -> Iterator[str]:
    """Say what each strategy does, in the words of its own card."""
    ideal = oracles(plan)
    cards = [card for name, card in sorted(plan.cards.items()) if name.startswith("strategy/")]
    said: dict[str, None] = {}
    for card in cards:
        name, params = card["name"], dict(card.get("params", {}))
        source = f" ({card['reference']})" if card.get("reference") else ""
        kept = params.get("kept")
        keeps = f", {kept} examples of each class kept" if kept else ""
        on = params.get("pretext_steps")
        further = f", after {on} steps of the row's own pretext on the group" if on else ""
        oracle = ", an oracle that no learner of a stream can be" if name in ideal else ""
        summary = str(card["summary"]).rstrip(".")
        said[f"{name}{source}: {summary[:1].lower()}{summary[1:]}{keeps}{further}{oracle}"] = None
    if said:
        yield f"Strategies: {'; '.join(words.escape(one) for one in said)}."


def _rate(plan: Plan) -> str:
    grid = [f"{rate:g}" for rate in plan.settings["rates"]]
    if len(grid) == 1:
        return f"The rate of the steps is {grid[0]} for every row."
    return (
        f"The rate of the steps is one of {words.listing(grid)}: for each row and seed the one of "
        f"the highest average accuracy after {plan.settings['rate_tasks']} streams of the "
        "validation classes."
    )
