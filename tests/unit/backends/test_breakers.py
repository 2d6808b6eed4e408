from __future__ import annotations

import logging
import time
from threading import Barrier, BoundedSemaphore, Event, Thread

import pytest

from partstream.backends import breakers
from partstream.backends.breakers import LONGEST_TRIAL, QUIET, Breaker
from partstream.backends.faults import CallFault, Fault
from partstream.exceptions import Misuse
from tests.support.concurrency import PATIENCE, in_threads


class Clock:
    """Seconds that the test lets pass."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Service:
    """Something outside that can be down, and counts its calls."""

    def __init__(self):
        self.fault = None
        self.calls = 0

    def ask(self, value):
        self.calls += 1
        if self.fault:
            raise self.fault
        return value


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def breaker(clock):
    return Breaker("The service", 2, clock=clock)


@pytest.fixture
def ask(breaker, service):
    """Ask the service for 1 through the breaker, which says 0 otherwise."""
    return lambda: breaker.call(service.ask, 1, otherwise=0)


@pytest.fixture
def lines(caplog):
    """What was logged until now."""
    caplog.set_level(logging.INFO, "partstream.stores")
    return lambda: [(record.levelname, record.getMessage()) for record in caplog.records]


FAILED = (
    "WARNING",
    "The service failed, and is not used until it answers again; it is tried every 2 s.",
)
ANSWERS = ("INFO", "The service answers again.")


def one_call(kind):
    return (
        "WARNING",
        "One call of The service failed through its own fault, and the store stays in use; further "
        f"{kind}s are not logged for 60 s.",
    )


class Hanging:
    """A call in a thread of its own, that hangs in the service until it is let go."""

    def __init__(self, breaker, fault=None):
        self._breaker, self._fault = breaker, fault
        self._came, self._go = Event(), Event()
        self.answer = None
        self._thread = Thread(target=self._run)
        self._thread.start()
        assert self._came.wait(10)

    def _ask(self):
        self._came.set()
        assert self._go.wait(10)
        if self._fault:
            raise self._fault
        return 1

    def _run(self):
        self.answer = self._breaker.call(self._ask, otherwise=0)

    def finish(self):
        self._go.set()
        self._thread.join(10)
        return self.answer


def test_breaker__hands_on_what_the_service_answers(ask, lines):
    assert ask() == 1
    assert lines() == []


def test_breaker__a_fault_is_answered_otherwise_and_logged_with_it(ask, service, lines, caplog):
    service.fault = OSError("gone")
    assert ask() == 0
    assert lines() == [FAILED]
    assert caplog.records[0].exc_info[1] is service.fault


def test_breaker__leaves_a_faulty_service_alone(ask, service, clock, lines):
    service.fault = OSError("gone")
    ask()
    service.fault = None
    clock.now += 1.99
    assert [ask() for _ in range(100)] == [0] * 100
    assert service.calls == 1
    assert lines() == [FAILED]


def test_breaker__tries_again_and_finds_it_well(ask, service, clock, lines):
    service.fault = OSError("gone")
    ask()
    service.fault = None
    clock.now += 2
    assert [ask() for _ in range(3)] == [1, 1, 1]
    assert lines() == [FAILED, ANSWERS]


def test_breaker__tries_again_in_vain_and_says_nothing_more(ask, service, clock, lines):
    service.fault = OSError("gone")
    for _ in range(5):
        assert [ask(), ask()] == [0, 0]
        clock.now += 2
    assert service.calls == 5
    assert lines() == [FAILED]


def test_breaker__logs_the_next_outage_too(ask, service, clock, lines):
    for _ in range(2):
        service.fault = OSError("gone")
        ask()
        service.fault = None
        clock.now += 2
        ask()
    assert lines() == [FAILED, ANSWERS] * 2


def test_trial__is_one_callers_and_the_others_do_not_wait(breaker, ask, service, clock, lines):
    service.fault = OSError("gone")
    ask()
    service.fault = None
    clock.now += 2
    trial = Hanging(breaker)
    assert [ask() for _ in range(10)] == [0] * 10
    assert service.calls == 1
    assert trial.finish() == 1
    assert ask() == 1
    assert lines() == [FAILED, ANSWERS]


def test_trial__that_hangs_for_long_gives_way_to_another(breaker, ask, service, clock):
    service.fault = OSError("gone")
    ask()
    service.fault = None
    clock.now += 2
    trial = Hanging(breaker)
    clock.now += LONGEST_TRIAL - 0.01
    assert ask() == 0
    clock.now += 0.01
    assert ask() == 1
    trial.finish()


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_trial__that_is_interrupted_is_made_again(ask, service, clock, interruption):
    service.fault = OSError("gone")
    ask()
    clock.now += 2
    service.fault = interruption()
    with pytest.raises(interruption):
        ask()
    service.fault = None
    assert ask() == 0
    clock.now += 2
    assert ask() == 1


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_breaker__an_interruption_is_no_fault(ask, service, lines, interruption):
    service.fault = interruption()
    with pytest.raises(interruption):
        ask()
    service.fault = None
    assert ask() == 1
    assert lines() == []


def test_breaker__a_late_answer_from_before_does_not_end_the_outage(breaker, ask, service, lines):
    # A service may answer some calls and fail others: the log would have a line for each.
    earlier = Hanging(breaker)
    service.fault = OSError("gone")
    ask()
    assert earlier.finish() == 1
    assert ask() == 0
    assert service.calls == 1
    assert lines() == [FAILED]


def test_breaker__a_late_fault_from_before_does_not_prolong_the_outage(
    breaker, ask, service, clock, lines
):
    earlier = Hanging(breaker, OSError("gone"))
    service.fault = OSError("gone")
    ask()
    clock.now += 1.5
    assert earlier.finish() == 0
    service.fault = None
    clock.now += 0.5
    assert ask() == 1
    assert lines() == [FAILED, ANSWERS]


def test_breaker__64_faults_at_once_are_one_line(breaker, lines):
    together = Barrier(64)

    def fail():
        together.wait(10)
        raise OSError("gone")

    threads = [Thread(target=breaker.call, args=[fail], kwargs={"otherwise": 0}) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert lines() == [FAILED]


def test_breaker__uses_its_own_clock(service):
    breaker = Breaker("The service", 3600)
    service.fault = OSError("gone")
    assert [breaker.call(service.ask, 1, otherwise=0) for _ in range(2)] == [0, 0]
    assert service.calls == 1


@pytest.mark.parametrize("retry_after", [0, -1, float("nan")])
def test_breaker__without_a_time_to_wait_is_misuse(retry_after):
    with pytest.raises(Misuse, match="Write seconds above 0, for example 2"):
        Breaker("The service", retry_after)


# Faults of one call


def test_call__that_fails_by_its_own_fault_is_no_outage(ask, service, lines, caplog):
    service.fault = TypeError("not JSON serializable")
    assert ask() == 0
    service.fault = None
    assert ask() == 1
    assert lines() == [one_call("TypeError")]
    assert str(caplog.records[0].exc_info[1]) == "not JSON serializable"


def test_call__that_fails_by_its_own_fault_is_logged_once_a_minute_for_each_kind(
    ask, service, clock, lines
):
    for fault in (TypeError(), CallFault(), TypeError(), TypeError(), CallFault()):
        service.fault = fault
        ask()
    assert lines() == [one_call("TypeError"), one_call("CallFault")]
    clock.now += QUIET
    assert [ask(), ask()] == [0, 0]
    assert lines()[2:] == [one_call("CallFault")]


def test_call__of_many_kinds_is_remembered_up_to_a_bound(breaker, ask, service):
    for number in range(1000):
        service.fault = type(f"Fault{number}", (TypeError,), {})()
        ask()
    assert len(breaker._quiet_until) <= 20


def test_trial__that_fails_by_its_own_fault_leaves_it_to_the_next(ask, service, clock, lines):
    service.fault = OSError("gone")
    ask()
    clock.now += 2
    service.fault = TypeError("not JSON serializable")
    assert [ask(), ask()] == [0, 0]
    assert service.calls == 3
    service.fault = None
    assert ask() == 1
    assert lines() == [FAILED, one_call("TypeError"), ANSWERS]


def test_breaker__lets_its_owner_classify_faults(clock, service, lines):
    breaker = Breaker("The service", 2, clock=clock, fault_of=lambda error: Fault.CALL)
    service.fault = OSError("gone")
    breaker.call(service.ask, 1, otherwise=0)
    service.fault = None
    assert breaker.call(service.ask, 1, otherwise=0) == 1
    assert lines() == [one_call("OSError")]


# No connection to spare


class Pool:
    """A pool of ``size`` connections. A caller that finds none fails at once."""

    def __init__(self, size):
        self._free = BoundedSemaphore(size)

    def ask(self, value):
        if not self._free.acquire(blocking=False):
            raise RuntimeError("Too many objects, as pymemcache says")
        try:
            time.sleep(0)  # Another thread is let in.
            return value
        finally:
            self._free.release()


def test_room__is_waited_for(breaker, lines, monkeypatch):
    monkeypatch.setattr(breakers, "LONGEST_WAIT", PATIENCE)
    pool, together = Pool(2), Barrier(32)

    def ask(number):
        together.wait(PATIENCE)
        return sum(breaker.call(pool.ask, 1, otherwise=0) for _ in range(20))

    assert in_threads(32, ask) == [20] * 32
    assert lines() == []


def test_room__that_does_not_come_is_waited_for_once(breaker, clock, lines, monkeypatch):
    monkeypatch.setattr(breakers, "LONGEST_WAIT", 0.02)
    calls = []

    def ask():
        calls.append(1)
        raise RuntimeError("Too many objects, as pymemcache says")

    assert breaker.call(ask, otherwise=0) == 0
    looked = len(calls)
    assert looked > 1
    assert breaker.call(ask, otherwise=0) == 0
    assert len(calls) == looked + 1
    clock.now += 2
    assert breaker.call(ask, otherwise=0) == 0
    assert len(calls) > looked + 2
    assert lines() == [one_call("RuntimeError")]
    assert breaker.call(lambda: 1, otherwise=0) == 1


def test_room__is_not_waited_for_during_an_outage(breaker, service, lines, monkeypatch):
    monkeypatch.setattr(breakers, "LONGEST_WAIT", PATIENCE)
    began, calls = Event(), []

    def ask():
        calls.append(1)
        if len(calls) > 3:
            began.set()
        raise RuntimeError("Too many objects, as pymemcache says")

    answers = []
    waiting = Thread(target=lambda: answers.append(breaker.call(ask, otherwise=0)))
    waiting.start()
    assert began.wait(PATIENCE)
    service.fault = OSError("gone")
    breaker.call(service.ask, 1, otherwise=0)
    waiting.join(PATIENCE)
    assert answers == [0]
    assert lines()[0] == FAILED
