"""What sets a row apart beside its method: norm, budget, and how its weights were selected."""

from collections.abc import Sequence

from bench.cell import ROLES
from bench.plan import Plan
from bench.report.results import Group
from bench.report.trials import trials_of

ORACLE = "an oracle: it keeps every example of the groups before"
TUNED_ON = "tuned_on"  # the parameter of a cell that names the rule by which others were tuned


def is_transductive(group: Group, plan: Plan) -> bool:
    """Whether a prediction depends on the other queries: by their statistics, or by the method."""
    claims = plan.cards.get(f"meta/{group.first.meta}", {}).get("claims", {})
    return group.first.norm == "transductive" or bool(claims.get("transductive"))


def oracles(plan: Plan) -> frozenset[str]:
    """Return the strategies that are given what no learner of a stream has."""
    cards = [card for name, card in plan.cards.items() if name.startswith("strategy/")]
    return frozenset(one["name"] for one in cards if one["claims"].get("oracle"))


def is_oracle(marks: Sequence[str]) -> bool:
    """Whether a row's marks say that its strategy is one of these."""
    return ORACLE in marks


def marks(group: Group, baseline: Group | None, plan: Plan) -> tuple[str, ...]:
    """Say what sets a row apart beside the method: norm, budget, and how weights were selected."""
    found = []
    if is_transductive(group, plan):
        found.append("transductive: what it says of a query depends on the other queries")
    elif group.first.params.get("norm.trained") == "transductive":
        found.append("weights of transductive training, tested inductively")
    if group.first.strategy in oracles(plan):
        found.append(ORACLE)
    if baseline is not None and baseline.first.norm != group.first.norm:
        found.append(f"norm {group.first.norm}, its baseline {baseline.first.norm}")
    if group.first.init == "checkpoint":
        found.append("weights from one file: its seeds say nothing of other trainings of these")
    if baseline is not None and _other_budget(group, baseline):
        found.append("a budget of its own, not its baseline's")
    return tuple(found + _tuned(group, plan) + _selection(group) + _diverged(group))


def _other_budget(group: Group, baseline: Group) -> bool:
    """Whether a phase of training that both rows have was given more or less in one of them."""
    own, usual = group.first.params, baseline.first.params
    names = [f"{role}.budget" for role in ROLES]
    return any(name in own and name in usual and own[name] != usual[name] for name in names)


def _tuned(group: Group, plan: Plan) -> list[str]:
    """Say that a row's parameters were chosen by validation labels, and from how many trials."""
    trials, chosen = trials_of(plan), "parameters tuned on validation labels"
    own = trials.of(group.variant, group.data, group.ways) if trials else None
    if own is None:  # tuned before the suite was written, or with the row whose weights it tests
        return [chosen] if group.first.params.get(TUNED_ON) == "label_val" else []
    if own.winner is None or own.scored_by != "label_val":
        return []
    return [f"{chosen} ({len(own.trials)} trial{'s' * (len(own.trials) != 1)})"]


def _selection(group: Group) -> list[str]:
    """Say by which rule the weights were selected, and at which steps; nothing of the last ones."""
    rule = group.first.params.get("selection", "last")
    if rule == "last":
        return []
    oracle = ": an oracle, it saw validation labels" if rule == "label_val" else ""
    steps = [  # the last snapshot is that of the last step
        f"{stage['metrics']['selected_step']} of {stage['snapshots']['steps'][-1]}"
        for one in group.done
        if not one.parts  # of a mean each task's training has its own
        for stage in one.trained.values()
        if "selected_step" in stage["metrics"]
    ]
    shown = f" (steps {', '.join(steps)})" if steps else ""
    return [f"weights selected by {rule}{oracle}{shown}"]


def _diverged(group: Group) -> list[str]:
    """Say which candidates of a search it did not choose among."""
    passed = [
        f"{stage['candidates'][number]['name']} (number {number}, seed {one.cell.seed})"
        for one in group.done
        for stage in one.trained.values()
        for number in stage.get("diverged", ())
    ]
    return [f"candidates that diverged, passed over: {', '.join(passed)}"] if passed else []
