"""What every search among pretexts is: the same candidates again, whose cost is not drawn."""

from bench.catalogue import described
from bench.cell import Json, digest
from bench.conformance.subject import Subject, require
from bench.conformance.world import CPU
from bench.contract import AbstractSearch
from bench.stages.streams import generator


def candidates_follow_from_the_generator(subject: Subject) -> None:
    """There are two or more different candidates, the same ones from the same seed."""
    first, second = (_described(_search(subject), 0) for _ in range(2))
    require(
        first == second,
        "its candidates differ between two generators of one seed",
        "Draw from the generator that is handed over, rng, and from nothing else.",
    )
    different = len({digest(one) for one in first})
    require(
        different == len(first) > 1,
        f"it has {len(first)} candidates, of which {different} differ",
        "Return two or more different pretexts from choices(), or refuse fewer in __post_init__.",
    )


def costs_are_not_drawn(subject: Subject) -> None:
    """How many candidates there are, and what a step of each passes, is the same for all draws."""
    costs = [
        [one.examples(10) for one in _search(subject).choices(generator(CPU, "search", seed))]
        for seed in range(2)
    ]
    require(
        costs[0] == costs[1],
        f"ten steps of its candidates pass {costs[0]} examples, or {costs[1]} by another draw",
        "Draw what decides no cost: the plan counts examples before anything is drawn.",
    )


def candidates_do_not_validate(subject: Subject) -> None:
    """No candidate learns from validation episodes itself: its share would not be equal."""
    validates = [one for one in _described(_search(subject), 0) if one["validates"]]
    require(
        not validates,
        f"{len(validates)} of its candidates ask for validation episodes themselves",
        "Refuse them in __post_init__.",
    )


def _search(subject: Subject) -> AbstractSearch:
    search = subject.plugin
    assert isinstance(search, AbstractSearch)
    return search


def _described(search: AbstractSearch, seed: int) -> list[dict[str, Json]]:
    choices = search.choices(generator(CPU, "search", seed))
    return [
        {"pretext": described("pretext", one), "validates": one.validates is not None}
        for one in choices
    ]
