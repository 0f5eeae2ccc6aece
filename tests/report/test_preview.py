"""What ``bench plan`` and ``bench why`` print."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UserError
from bench.report.preview import plan_text
from bench.report.why import find_cell, why_text
from bench.store import Store

Make = Callable[..., Any]


def test_the_plan_counts_what_sharing_saves(synthetic: Make) -> None:
    """Each kind of stage is counted once, as without sharing, and as cached."""
    plan, store = synthetic(broken=frozenset({("simclr + maml", 5, 1)})).build()

    lines = [line.split() for line in plan_text(plan, store).splitlines()]

    assert ["pretrain", "3", "12", "9", "3"] in lines
    assert ["metatrain", "6", "12", "6", "6"] in lines
    assert ["evaluate", "24", "24", "0", "23"] in lines


def test_the_plan_lists_what_was_dropped_and_warned(synthetic: Make) -> None:
    """Dropped combinations come with their reasons; no line is wrapped or padded."""
    text = plan_text(*synthetic().build())

    assert "  mae + maml: mae needs a transformer" in text.splitlines()
    assert "warnings:" in text
    assert not any(line.endswith(" ") for line in text.splitlines())


def test_the_cost_comes_from_like_stages_or_from_constants(synthetic: Make, tmp_path: Path) -> None:
    """Stored stages give the rate for what is left; an empty store leaves the constants."""
    plan, store = synthetic(broken=frozenset({("simclr + maml", 5, 1)})).build()

    # a 1-shot evaluation took 20 s: 5 x (5 + 60) images an episode, here 5 x (25 + 60)
    assert "about 26 s on one worker (evaluate 26 s)" in plan_text(plan, store)
    fresh = plan_text(plan, Store(tmp_path / "empty"))
    assert "from like stages in the store for 0 of 33" in fresh
    assert "assumed: seed SD 0.8 points" in fresh
    assert "nothing is left to run" in plan_text(*synthetic(results=tmp_path / "full").build())


def test_one_seed_detects_nothing(synthetic: Make) -> None:
    """With one seed the plan says that no difference can be detected."""
    assert "one seed detects no difference" in plan_text(*synthetic(seeds=1).build())


def test_why_names_the_inputs_that_changed(synthetic: Make) -> None:
    """A stage that is not cached is held against the newest one of equal coordinates."""
    synthetic().build()
    plan, store = synthetic(episodes=20, missing=frozenset({"simclr + none"})).build()

    text = why_text(plan, store, find_cell(plan, "simclr + none/glyphs 5-way 1-shot/seed 0"))

    pretrain, evaluate, change = text.splitlines()[1:]
    assert "cached" in pretrain
    assert evaluate.startswith("evaluate")
    assert "not cached; against" in evaluate
    assert change == "  episodes: 40 -> 20"


def test_why_tells_failed_from_never_run(synthetic: Make) -> None:
    """A failure is shown with its reason, a stage without a like one as never run."""
    broken = frozenset({("simclr + maml", 1, 0)})
    plan, store = synthetic(broken=broken, missing=frozenset({"random_init"})).build()

    failed = why_text(plan, store, find_cell(plan, "simclr + maml/glyphs 5-way 1-shot/seed 0"))
    never = why_text(plan, store, find_cell(plan, "random_init/glyphs 5-way 1-shot/seed 0"))

    assert "failed once: NaN in the loss" in failed
    assert never.splitlines()[1].endswith("never run")


def test_an_unknown_cell_is_answered_with_near_ones(synthetic: Make) -> None:
    """A misspelt cell is an error that suggests the right one."""
    plan, _ = synthetic().build()

    with pytest.raises(UserError, match="Did you mean simclr"):
        find_cell(plan, "simclr + maml/glyphs 5-way 1-shot/seed 7")
