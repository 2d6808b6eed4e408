"""Which parts a process knows to be quick."""

from __future__ import annotations

import pytest

from partstream.parts.outcome import Failure, Outcome
from partstream.parts.slow_parts import SlowParts

FAILED = Failure("part_failed")


def outcome(name, duration, source="loader", *, failure=None):
    return Outcome(name, None if failure else b"1", failure, duration, source)


@pytest.fixture
def parts():
    return SlowParts()


def test_slow_parts__knows_nothing_at_first(parts):
    assert parts.may_include(["a"], 0.25)
    assert parts.may_include([], 0.25)  # It was never told a threshold.


def test_slow_parts__a_quick_part_is_known_once_it_ran(parts):
    assert parts.note([outcome("a", 0.1), outcome("b", 0.25)], 0.25) is False
    assert not parts.may_include(["a"], 0.25)
    assert not parts.may_include(["b", "a"], 0.25)
    assert not parts.may_include([], 0.25)
    assert parts.may_include(["a", "c"], 0.25)


def test_slow_parts__one_slow_part_is_enough(parts):
    assert parts.note([outcome("a", 0.1), outcome("b", 0.26), outcome("c", 0.1)], 0.25) is True
    assert parts.may_include(["a", "b"], 0.25)
    assert not parts.may_include(["a", "c"], 0.25)


def test_slow_parts__once_slow_is_slow_for_good(parts):
    parts.note([outcome("a", 0.3)], 0.25)
    assert parts.note([outcome("a", 0.1)], 0.25) is False
    assert parts.may_include(["a"], 0.25)


def test_slow_parts__a_quick_part_may_turn_slow(parts):
    parts.note([outcome("a", 0.1)], 0.25)
    assert parts.note([outcome("a", 0.3)], 0.25) is True
    assert parts.may_include(["a"], 0.25)
    parts.note([outcome("a", 0.1)], 0.25)
    assert parts.may_include(["a"], 0.25)


def test_slow_parts__an_immediate_value_is_quick(parts):
    parts.note([outcome("a", 0.0, "immediate")], 0.25)
    assert not parts.may_include(["a"], 0.25)


@pytest.mark.parametrize(
    "without_a_run",
    [
        outcome("a", 0.0, "cache"),
        outcome("a", 0.1, "fallback"),
        outcome("a", 0.1, "loader", failure=FAILED),
        outcome("a", 0.0, "cache", failure=FAILED),
    ],
    ids=["cache", "fallback", "failure", "failure from cache"],
)
def test_slow_parts__what_did_not_run_to_its_end_is_not_quick(parts, without_a_run):
    assert parts.note([without_a_run], 0.25) is False
    assert parts.may_include(["a"], 0.25)
    parts.note([outcome("a", 0.1)], 0.25)
    assert not parts.may_include(["a"], 0.25)
    # What is known stays known.
    parts.note([without_a_run], 0.25)
    assert not parts.may_include(["a"], 0.25)


@pytest.mark.parametrize("source", ["loader", "fallback"])
def test_slow_parts__a_slow_failure_is_slow(parts, source):
    assert parts.note([outcome("a", 0.3, source, failure=FAILED)], 0.25) is True
    parts.note([outcome("a", 0.1)], 0.25)
    assert parts.may_include(["a"], 0.25)


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0])
def test_slow_parts__another_threshold_forgets_all(parts, threshold):
    parts.note([outcome("quick", 0.01), outcome("slow", 1.0)], 0.25)
    assert parts.may_include(["quick"], threshold)
    assert not parts.may_include(["quick"], 0.25)  # A question changes nothing.
    assert parts.note([], threshold) is False
    assert parts.may_include(["quick"], threshold)
    assert parts.may_include(["quick"], 0.25)
    # The slow part may be quick for the other threshold.
    parts.note([outcome("slow", threshold)], threshold)
    assert not parts.may_include(["slow"], threshold)


def test_slow_parts__a_threshold_of_zero_has_only_immeasurably_quick_parts(parts):
    assert parts.note([outcome("a", 1e-9), outcome("b", 0.0, "immediate")], 0) is True
    assert parts.may_include(["a"], 0)
    assert not parts.may_include(["b"], 0)
