"""What every data source is: classes of examples in three disjoint splits, the same every time."""

import hashlib
import re
from functools import cache

from bench.catalogue import entries
from bench.conformance.subject import Fault, NotInstalled, Subject, require
from bench.contract import AbstractData
from bench.dataset import Dataset, find_root, open_dataset
from bench.errors import UserError


def _source(subject: Subject) -> tuple[AbstractData, str]:
    """Return the source and its fingerprint.

    Raises:
        NotInstalled: the set is not on this machine.
    """
    assert isinstance(subject.plugin, AbstractData)
    try:
        return subject.plugin, subject.plugin.fingerprint(find_root(None))
    except UserError as error:
        raise NotInstalled(str(error)) from error


@cache
def _opened(subject: Subject) -> Dataset:
    source, _ = _source(subject)
    try:
        return open_dataset(source, subject.name, find_root(None))
    except UserError as error:
        mend = "Mend what read() returns, or the digest that the class names."
        raise Fault(f"it cannot be opened: {error}", mend) from error


def its_policy_exists(subject: Subject) -> None:
    """The augmentation that suits it is a policy there is."""
    assert isinstance(subject.plugin, AbstractData)
    known = entries("augment")
    require(
        subject.plugin.augment in known,
        f"its augmentation is {subject.plugin.augment!r}",
        f"Write augment: ClassVar[str] = one of {', '.join(sorted(known))}.",
    )


def the_fingerprint_is_stable(subject: Subject) -> None:
    """Two looks at an unchanged set give one fingerprint."""
    source, first = _source(subject)
    second = source.fingerprint(find_root(None))
    require(
        isinstance(first, str) and first and first == second,
        f"its fingerprint is {first!r}, then {second!r}",
        "Hash what read() depends on (names, sizes and times of files), not the clock or draws.",
    )


def examples_keep_the_contract(subject: Subject) -> None:
    """Examples are uint8 of one shape in disjoint, full splits, and have the digest it names."""
    _opened(subject)


def known_duplicates_are_examples(subject: Subject) -> None:
    """What it lists as known to stand in two splits is in the set, by its sha256."""
    assert isinstance(subject.plugin, AbstractData)
    known = subject.plugin.known_duplicates
    bad = [one for one in known if not re.fullmatch("[0-9a-f]{64}", one)]
    mend = "List the sha256 of an example's bytes, uint8 as read() returns it: 64 hex digits."
    require(not bad, f"known_duplicates holds {', '.join(map(repr, bad))}", mend)
    if known:
        seen = {hashlib.sha256(one.tobytes()).hexdigest() for one in _opened(subject).examples}
        lost = sorted(set(known) - seen)
        require(not lost, f"no example has the hash {', '.join(lost)}", mend)


def a_task_can_be_drawn(subject: Subject) -> None:
    """Train and test have two classes or more, of two examples or more: a task needs as many.

    A set without classes has two examples or more.
    """
    dataset = _opened(subject)
    assert isinstance(subject.plugin, AbstractData)
    if subject.plugin.unlabelled:
        count = len(dataset.examples)
        require(count > 1, f"it has {count} examples", "Pre-training needs two or more.")
        return
    counts = {split: dataset.part(split).counts for split in ("train", "test")}
    poor = [split for split, each in counts.items() if len(each) < 2 or min(each) < 2]
    require(
        not poor,
        f"{', '.join(poor)} has fewer than two classes, or a class with one example",
        "Leave out classes with one example, and give train and test at least two classes.",
    )
