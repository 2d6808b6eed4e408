"""One run for all who ask at the same time."""

from __future__ import annotations

import logging
from threading import Barrier

import pytest

from partstream.health import ProbeResult
from partstream.health import shared_run as module
from partstream.health.shared_run import MOST_WAITING, REUSED, SharedRun, get_shared_run
from tests.support.concurrency import PATIENCE, Held, in_background, in_threads, soon, wait_until

OK = [ProbeResult("one", True, "works", 0.0)]
FAILED = [ProbeResult("one", False, "is gone", 0.0), ProbeResult("two", False, "hangs", 2.0)]


class Probes:
    """Counts the runs; each gives what is next."""

    def __init__(self, *results):
        self.results = list(results)
        self.timeouts = []

    def __call__(self, timeout):
        self.timeouts.append(timeout)
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if isinstance(result, Exception):
            raise result
        return result


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def held():
    held = Held(OK)
    held.timeouts = []
    yield held
    held.release()


def test_get__runs_with_the_timeout_of_the_caller(clock):
    probes = Probes(OK)
    assert SharedRun(probes, clock).get(1.5) is OK
    assert probes.timeouts == [1.5]


@pytest.mark.parametrize("found", [OK, FAILED], ids=["ok", "failed"])
def test_get__uses_a_result_for_a_second(clock, found):
    probes = Probes(found)
    shared = SharedRun(probes, clock)
    for later in (0, 0.5, 0.99):
        clock.now = 100 + later
        assert shared.get(2) is found
    assert len(probes.timeouts) == 1
    clock.now = 100 + REUSED
    shared.get(2)
    assert len(probes.timeouts) == 2


def test_get__the_second_begins_when_the_run_has_ended(clock):
    def probes(timeout):
        clock.now += 2
        ran.append(timeout)
        return FAILED

    ran = []
    shared = SharedRun(probes, clock)
    shared.get(2)
    shared.get(2)
    assert len(ran) == 1


def test_get__of_many_at_once_is_one_run(clock, held):
    shared, together = SharedRun(held, clock), Barrier(20 + 1)

    def ask(number):
        together.wait(PATIENCE)
        return shared.get(PATIENCE)

    with in_background(in_threads, 20, ask) as results:
        together.wait(PATIENCE)
        wait_until(lambda: shared._waiting == 19)
        held.release()
        assert results() == [OK] * 20
    assert held.runs == 1
    assert shared._waiting == 0


def test_get__no_more_wait_than_there_may(clock, held):
    shared = SharedRun(held, clock)
    with in_background(in_threads, MOST_WAITING + 1, lambda _: shared.get(PATIENCE)) as results:
        wait_until(lambda: shared._waiting == MOST_WAITING)
        with soon():
            (answer,) = shared.get(PATIENCE)
        assert (answer.ok, answer.message) == (False, "there is no result yet")
        held.release()
        assert results() == [OK] * (MOST_WAITING + 1)


def test_get__one_more_gets_the_result_before(clock, held):
    runs = [lambda timeout: OK, held]
    shared = SharedRun(lambda timeout: runs.pop(0)(timeout), clock)
    shared.get(2)
    clock.now += 5
    with in_background(in_threads, MOST_WAITING + 1, lambda _: shared.get(PATIENCE)) as results:
        wait_until(lambda: shared._waiting == MOST_WAITING)
        with soon():
            assert shared.get(PATIENCE) is OK
        held.release()
        results()


def test_get__waits_no_longer_than_its_own_timeout(clock, held):
    shared = SharedRun(held, clock)
    with in_background(shared.get, PATIENCE) as first:
        held.wait_until_begun()
        (answer,) = shared.get(0.01)
        assert not answer.ok
        held.release()
        assert first() is OK


def test_get__a_run_that_breaks_leaves_nobody_waiting(clock):
    shared = SharedRun(Probes(KeyError("ours"), OK), clock)
    with pytest.raises(KeyError):
        shared.get(2)
    clock.now += REUSED
    assert shared.get(2) is OK


def test_log__says_what_changes(clock, caplog):
    caplog.set_level(logging.DEBUG, "partstream.health")
    shared = SharedRun(Probes(OK, FAILED, FAILED, FAILED[:1], OK, OK), clock)
    for _ in range(6):
        shared.get(2)
        clock.now += REUSED
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "The health check fails: one: is gone; two: hangs."),
        ("WARNING", "The health check fails: one: is gone."),
        ("INFO", "The health check succeeds again."),
    ]


def test_reset__forgets_a_run_that_a_fork_has_lost(clock, held):
    runs = [held, lambda timeout: OK]
    shared = SharedRun(lambda timeout: runs.pop(0)(timeout), clock)
    with in_background(shared.get, PATIENCE) as first:
        held.wait_until_begun()
        shared.reset()
        assert shared.get(PATIENCE) is OK
        held.release()
        first()


def test_shared_run__is_the_processes_until_its_settings_change(settings):
    before = get_shared_run()
    assert get_shared_run() is before
    settings.DJANGO_PARTSTREAM = {"HEALTH_CHECK_ENABLED": False}
    assert get_shared_run() is not before
    assert module.get_shared_run() is get_shared_run()
