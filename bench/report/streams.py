"""What an episode is called where it is a whole stream of groups."""

from bench.plan import Plan
from bench.report.headline import headline_of


def is_stream(plan: Plan) -> bool:
    """Whether the episodes of a plan are streams of groups."""
    return bool(plan.settings.get("protocol") == "continual")


def of_title(plan: Plan) -> str:
    """Say what a stream brings: ``4 groups``, ``4 domains of rotation``; empty without one."""
    if not is_stream(plan):
        return ""
    groups, shown = plan.settings["groups"], plan.settings.get("domains")
    return f"{groups} domains of {shown}" if shown else f"{groups} groups"


def episode_of(plan: Plan) -> str:
    """Name one episode of a plan."""
    return "stream" if is_stream(plan) else headline_of(plan).episode


def episodes_of(plan: Plan) -> str:
    """Name the episodes of a plan."""
    return f"{episode_of(plan)}s"


def chance_of(plan: Plan, ways: int) -> float:
    """Return how often a guess is right in the end: among all classes met, if it is not told."""
    among_all = is_stream(plan) and plan.settings["scenario"] == "class"
    return 1 / (ways * int(plan.settings["groups"]) if among_all else ways)
