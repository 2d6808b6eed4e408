"""The threads of probes: one each, none without end, and nobody waits for one that hangs."""

from __future__ import annotations

import logging
import threading

import pytest
from django.core.cache import caches
from django.db import connections

from partstream.exceptions import Misuse, ProbeFailed
from partstream.health import ProbeResult, run_probes
from partstream.health.probes import Probe
from partstream.health.runner import ProbeRunner
from tests.support import marks
from tests.support.concurrency import (
    PATIENCE,
    Held,
    in_background,
    in_threads,
    soon,
    wait_until,
)

MOMENT = 0.01


class Clock:
    """A clock that the test puts forward."""

    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def runner(clock):
    return ProbeRunner(clock)


@pytest.fixture
def held():
    """A probe that hangs until the test ends."""
    held = Held("it works")
    yield held
    held.release()
    wait_until(lambda: not probe_threads())


def probe_threads():
    return [thread for thread in threading.enumerate() if thread.name == "partstream-probe"]


def failing(error):
    def fail():
        raise error

    return fail


def test_run__gives_the_results_in_order(runner):
    probes = [
        Probe("one", lambda: "works"),
        Probe("unused", lambda: None),
        Probe("two", failing(ProbeFailed("is gone"))),
        Probe("three", failing(ConnectionRefusedError(111, "of hunter2"))),
    ]
    assert runner.run(probes, PATIENCE) == [
        ProbeResult("one", True, "works", 0.0),
        ProbeResult("two", False, "is gone", 0.0),
        ProbeResult("three", False, "ConnectionRefusedError (Connection refused)", 0.0),
    ]


def test_run__of_no_probes_is_nothing(runner):
    assert runner.run([], PATIENCE) == []


def test_run__measures_each_probe(runner, clock):
    def probe():
        clock.now += 1.5
        return "works"

    assert runner.run([Probe("one", probe)], PATIENCE)[0].seconds == 1.5


def test_run__probes_run_side_by_side(runner):
    together = threading.Barrier(3)

    def probe():
        together.wait(PATIENCE)
        return "works"

    results = runner.run([Probe(name, probe) for name in "abc"], PATIENCE)
    assert [result.ok for result in results] == [True] * 3


def test_run__is_in_daemon_threads_with_a_name(runner):
    found = []
    runner.run([Probe("one", lambda: found.append(threading.current_thread()) or "")], PATIENCE)
    assert found[0].daemon
    assert found[0].name == "partstream-probe"


@marks.timed
def test_run__waits_for_no_probe_that_hangs(runner, held, clock):
    probes = [Probe("held", held), Probe("other", lambda: "works")]
    first, second = runner.run(probes, 0.2)
    assert first == ProbeResult("held", False, "no answer within 0.2 s", 0.0)
    assert second.ok


def test_run__does_not_start_again_what_hangs(runner, held, clock):
    runner.run([Probe("held", held)], MOMENT)
    held.wait_until_begun()
    for _ in range(20):
        clock.now += 1
        # It would wait for a minute if it waited at all.
        with soon():
            (result,) = runner.run([Probe("held", held)], MOMENT)
    assert result.message == "still no answer, 20.0 s after it was asked"
    assert (result.ok, result.seconds) == (False, 20.0)
    assert held.runs == 1
    assert len(probe_threads()) == 1
    held.release()
    wait_until(lambda: not probe_threads())
    (result,) = runner.run([Probe("held", held)], PATIENCE)
    assert (result.ok, result.message, held.runs) == (True, "it works", 2)


def test_run__what_hangs_keeps_a_later_caller_for_no_time_at_all(runner, held, clock):
    runner.run([Probe("held", held)], MOMENT)
    clock.now += PATIENCE
    with soon():
        (result,) = runner.run([Probe("held", held)], PATIENCE)
    assert not result.ok


def test_run__a_second_caller_gets_the_result_of_the_first(runner, held):
    with in_background(runner.run, [Probe("held", held)], PATIENCE) as first:
        held.wait_until_begun()
        with in_background(runner.run, [Probe("held", held)], PATIENCE) as second:
            held.release()
            assert first() == second() == [ProbeResult("held", True, "it works", 0.0)]
    # The second may have come when the first was done already.
    assert held.runs in (1, 2)


def test_run__of_many_at_once_has_one_thread_for_each_name(runner, held):
    results = in_threads(30, lambda number: runner.run([Probe("held", held)], MOMENT))
    assert len(results) == 30
    assert not any(result.ok for (result,) in results)
    held.wait_until_begun()
    assert held.runs == len(probe_threads()) == 1


def test_run__without_a_thread_is_a_failure(runner, monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    probes = [Probe("one", lambda: "works")]
    with monkeypatch.context() as patched:
        patched.setattr("threading.Thread.start", start)
        (result,) = runner.run(probes, PATIENCE)
    assert (result.ok, result.message) == (False, "no thread could be started")
    assert runner.run(probes, PATIENCE)[0].ok


def test_run__a_probe_that_wants_to_end_the_process_is_a_failure(runner):
    (result,) = runner.run([Probe("one", failing(SystemExit()))], PATIENCE)
    assert (result.ok, result.message) == (False, "SystemExit")
    assert runner.run([Probe("one", lambda: "works")], PATIENCE)[0].ok


def test_run__logs_the_exception_for_those_who_ask(runner, caplog):
    caplog.set_level(logging.DEBUG, "partstream.health")
    runner.run([Probe("one", failing(OSError("who knows")))], PATIENCE)
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("DEBUG", "The probe of one failed.")
    assert str(record.exc_info[1]) == "who knows"


def test_run__closes_the_connections_of_its_thread(runner):
    found = []

    def probe():
        connection = connections["default"]
        found.append(connection)
        connection.close = lambda: found.append("database")
        caches["default"].close = lambda: found.append("cache")
        return "works"

    assert runner.run([Probe("one", probe)], PATIENCE)[0].ok
    assert found[1:] == ["database", "cache"]
    assert found[0] is not connections["default"]


def test_run__a_cache_that_cannot_be_closed_is_a_failure(runner):
    def probe():
        caches["default"].close = failing(BrokenPipeError(32, "of hunter2"))
        return "works"

    (result,) = runner.run([Probe("one", probe)], PATIENCE)
    assert (result.ok, result.message) == (False, "BrokenPipeError (Broken pipe)")


def test_reset__forgets_what_hangs(runner, held):
    runner.run([Probe("held", held)], MOMENT)
    runner.reset()  # In a forked process.
    assert runner.run([Probe("held", lambda: "works")], PATIENCE)[0].ok


@pytest.mark.parametrize("timeout", [0, -1, "5", None, True, float("nan"), float("inf")])
def test_timeout__that_is_none_is_misuse(timeout):
    with pytest.raises(Misuse, match=r"run_probes\(timeout\) is .*\. Write seconds above 0"):
        run_probes(timeout)
