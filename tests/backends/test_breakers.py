from __future__ import annotations

import logging
from threading import Barrier, Event, Thread

import pytest

from partstream.backends.breakers import LONGEST_TRIAL, Breaker
from partstream.exceptions import Misuse


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
    caplog.set_level(logging.INFO, "partstream.backends.breakers")
    return lambda: [(record.levelname, record.getMessage()) for record in caplog.records]


FAILED = (
    "WARNING",
    "The service failed, and is left alone until it answers again; it is tried every 2 s.",
)
ANSWERS = ("INFO", "The service answers again.")


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


def test_breaker__goes_by_a_clock_of_its_own(service):
    breaker = Breaker("The service", 3600)
    service.fault = OSError("gone")
    assert [breaker.call(service.ask, 1, otherwise=0) for _ in range(2)] == [0, 0]
    assert service.calls == 1


@pytest.mark.parametrize("retry_after", [0, -1, float("nan")])
def test_breaker__without_a_time_to_wait_is_misuse(retry_after):
    with pytest.raises(Misuse, match="Give seconds above 0, for example 2"):
        Breaker("The service", retry_after)
