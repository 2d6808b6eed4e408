"""The steps of single flight, taken by a driver that holds each of them."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from partstream.backends.caches.base import CacheStore
from partstream.caching import polling
from partstream.caching.flight import FAILED, LOST, Flight, current_caller
from partstream.caching.protocol import Ask, Joined, Run, Wait, obtain, proceed
from partstream.caching.single_flight import SingleFlight, Turn
from partstream.exceptions import NoThread
from partstream.keys import get_key_ring
from partstream.resolution.pending import Entry, Pending
from tests.support.concurrency import wait_until

KEY = "partstream.part.example"


class Store(CacheStore):
    """A dictionary that other processes see, too; `taken` is the lock of another process."""

    shared = atomic_add = True

    def __init__(self):
        super().__init__(keys=get_key_ring(), max_size=1000)
        self.entries = {}

    def read(self, keys):
        return {key: self.entries[key] for key in keys if key in self.entries}

    def write(self, entries, ttl):
        self.entries.update(entries)

    def reserve(self, key, entry, ttl):
        return self.entries.setdefault(key, entry) is entry

    def extend(self, key, ttl):
        return key in self.entries

    def remove(self, key):
        self.entries.pop(key, None)


@pytest.fixture
def flights():
    return SingleFlight(Store())


def steps_of(flights, **how):
    return obtain(flights, KEY, **{"ttl": 60, **how})


def elsewhere(flights):
    """Another process takes the lock; returns what it does when it has the value, or has failed."""
    other = SingleFlight(flights.store)
    flight, own = other.join(KEY, ttl=60)
    assert own
    assert other.claim(flight) is Turn.RUN
    return lambda value: other.end(flight, value, value=value, failed=value is None)


def test_obtain__finds_what_is_kept(flights):
    flights.store.set_many({KEY: b"1"}, 60)
    assert proceed(steps_of(flights)) == b"1"
    assert not flights._flights


def test_obtain__has_the_first_caller_make_the_value(flights):
    found = proceed(steps_of(flights))
    assert isinstance(found, Run)
    assert found.flight.key == KEY
    assert found.flight.locked
    found.flight.finish(b"1", value=b"1")
    assert proceed(steps_of(flights)) == b"1"
    assert list(flights.store.entries) == [KEY]


def test_obtain__has_others_wait_for_the_first(flights):
    owner = proceed(steps_of(flights)).flight
    owner.owner = (0, None)  # Of another thread.
    steps = steps_of(flights)
    step = proceed(steps)
    assert step == Wait(owner)
    owner.finish(ValueError("no"), failed=True)
    found = proceed(steps)
    assert isinstance(found, Joined)
    assert isinstance(found.result, ValueError)


def test_obtain__from_within_its_own_loader_does_not_wait(flights):
    owner = proceed(steps_of(flights)).flight
    found = proceed(steps_of(flights))
    assert isinstance(found, Run)
    assert found.flight is not owner
    assert found.flight.key is None


def test_obtain__starts_again_when_the_owner_is_lost(flights):
    owner = proceed(steps_of(flights)).flight
    owner.owner = (0, None)
    steps = steps_of(flights)
    assert proceed(steps) == Wait(owner)
    owner.finish(LOST, failed=True)
    assert isinstance(proceed(steps), Wait | Run)


def test_obtain__tells_of_the_loss_where_the_caller_knew_its_turn(flights):
    owner = proceed(steps_of(flights)).flight
    owner.owner = (0, None)
    steps = steps_of(flights, turn=Turn.RUN)
    assert proceed(steps) == Wait(owner)
    owner.finish(LOST)
    assert proceed(steps) == Joined(LOST)


def test_obtain__takes_the_lock_where_the_process_has_gone_that_ran_it(flights):
    """Of all processes that joined it, one runs it again."""
    elsewhere(flights)
    steps = steps_of(flights, turn=Turn.WAIT)
    flight = proceed(steps).flight
    flights.store.delete(flight.lock_key)
    flights.look_for([flight])
    found = proceed(steps)
    assert isinstance(found, Run)
    assert found.flight.locked
    other = SingleFlight(flights.store)
    assert other.claim(other.join(KEY)[0]) is Turn.WAIT


def test_obtain__waits_for_what_another_process_makes(flights):
    end = elsewhere(flights)
    steps = steps_of(flights)
    step = proceed(steps)
    assert step.flight.polled
    flights.look_for([step.flight])
    assert not step.flight.has_ended
    end(b"1")
    flights.look_for([step.flight])
    assert proceed(steps) == Joined(b"1")
    assert not flights._flights


def test_obtain__runs_it_when_the_other_process_has_failed(flights):
    end = elsewhere(flights)
    steps = steps_of(flights)
    step = proceed(steps)
    end(None)
    flights.look_for([step.flight])
    assert step.flight.result is FAILED
    found = proceed(steps)
    assert isinstance(found, Run)
    assert not found.flight.locked


def test_obtain__after_a_failure_takes_what_another_caller_here_has_made_since(flights):
    end = elsewhere(flights)
    first, second = steps_of(flights), steps_of(flights)
    flight = proceed(first).flight
    assert proceed(second) == Wait(flight)
    end(None)
    flights.look_for([flight])
    proceed(first).flight.finish(b"1", value=b"1")
    assert proceed(second) == b"1"
    assert not flights._flights


def test_obtain__starts_again_when_the_other_process_has_gone(flights):
    elsewhere(flights)
    steps = steps_of(flights)
    step = proceed(steps)
    flights.store.delete(step.flight.lock_key)
    flights.look_for([step.flight])
    assert step.flight.result is LOST
    found = proceed(steps)
    assert isinstance(found, Run)
    assert found.flight.locked


def test_follow__without_a_thread_lets_the_callers_run_it(flights, monkeypatch, caplog):
    def refuse(*_, **__):
        raise NoThread

    monkeypatch.setattr(polling, "start_daemon", refuse)
    elsewhere(flights)
    steps = steps_of(flights)
    assert proceed(steps).flight.result is FAILED
    assert isinstance(proceed(steps), Run)
    assert "could not be started" in caplog.text


def test_polling__tells_a_caller_when_the_other_process_has_the_value(flights):
    end = elsewhere(flights)
    steps = steps_of(flights)
    told = threading.Event()
    proceed(steps).flight.on_end(lambda _: told.set())
    end(b"1")
    assert told.wait(10)
    assert proceed(steps) == Joined(b"1")


def test_polling__looks_for_all_that_is_due_in_one_round_trip(flights):
    looked = []

    class Looker:
        def look(self, flights):
            looked.append(flights)

    looker = Looker()
    found = polling.Polling(looker.look)
    pair = [Flight("a"), Flight("b")]
    for flight in pair:
        found.add(flight)
    wait_until(lambda: pair in looked)
    for flight in pair:
        flight.end(LOST)


@pytest.mark.parametrize("turn", [None, Turn.RUN, Turn.WAIT])
def test_obtain__with_a_turn_asks_the_store_for_nothing(flights, turn):
    steps = steps_of(flights, turn=turn)
    step = next(steps) if turn is not Turn.RUN else None
    assert isinstance(step, Ask) == (turn is None)
    steps.close()


@pytest.mark.parametrize("ends", ["close", "throw"])
def test_obtain__that_is_left_while_another_process_makes_it_leaves_nothing(flights, ends):
    elsewhere(flights)
    steps = steps_of(flights)
    flight = proceed(steps).flight
    with suppress(OSError):
        steps.close() if ends == "close" else steps.throw(OSError)
    assert flight.result is LOST
    assert not flights._flights


@pytest.mark.parametrize("ends", ["close", "throw"])
def test_obtain__that_is_left_while_another_caller_waits_lets_that_wait(flights, ends):
    end = elsewhere(flights)
    steps, others = steps_of(flights), steps_of(flights)
    flight = proceed(steps).flight
    assert proceed(others) == Wait(flight)
    told = []
    flight.on_end(told.append)
    with suppress(OSError):
        steps.close() if ends == "close" else steps.throw(OSError)
    assert told == []
    end(b"1")
    flights.look_for([flight])
    assert told == [flight]
    assert proceed(others) == Joined(b"1")


def test_obtain__whose_claim_fails_gives_its_place_to_another(flights, monkeypatch):
    def fail(*_):
        raise OSError("the store's own fault")

    monkeypatch.setattr(flights.store, "add_and_get", fail)
    with pytest.raises(OSError, match="own fault"):
        proceed(steps_of(flights))
    assert not flights._flights


def test_leave__keeps_no_result_while_another_caller_waits(flights):
    flight, _ = flights.join(KEY, owner=current_caller())
    leaves, stays = [].append, []
    flight.on_end(leaves)
    flight.on_end(stays.append)
    assert flights.leave([(flight, leaves)], 60) == []
    assert flight.waiting == 1
    flights.end(flight, "failed", failed=True)
    assert stays == [flight]
    assert not flights.is_under_way(KEY)


def test_leave__leaves_the_result_to_one_caller(flights):
    flight, _ = flights.join(KEY)
    first, second = [].append, [].append
    for callback in (first, second):
        flight.on_end(callback)
        assert flights.leave([(flight, callback)], 60) == []
    assert flight.waiting == 0
    flights.end(flight, "failed", failed=True)
    assert flights.is_under_way(KEY)
    assert flights.join(KEY) == (flight, False)
    assert not flights.is_under_way(KEY)


def test_pending__waits_once_for_what_it_had_discarded():
    pending, flight, entry = Pending(), Flight(KEY), Entry("part", None)
    pending.add(entry, flight, None)
    pending.discard(entry)
    pending.add(entry, flight, None)
    assert flight.waiting == 1
    flight.end("result")
    assert list(pending.take()) == [entry]
    assert list(pending.take()) == []


def test_pending__takes_no_end_of_what_it_does_not_wait_for_any_more():
    pending, flight, entry = Pending(), Flight(), Entry("part", None)
    pending.add(entry, flight, None)
    flight.end("result")
    pending.discard(entry)
    assert list(pending.take()) == []


def test_pending__takes_ends_in_their_order():
    pending, entries = Pending(), [Entry(name, None) for name in ("first", "second", "third")]
    for entry in entries:
        pending.add(entry, Flight(), None)
    for entry in entries:
        entry.flight.end("result")
    pending.ends.wait(None)
    assert list(pending.take()) == entries


def test_polling__goes_on_after_a_fault_of_the_store(flights, caplog):
    faults = [RuntimeError("a store's own fault")]
    looked = threading.Event()

    class Looker:
        def look(self, flights):
            if faults:
                raise faults.pop()
            looked.set()

    looker = Looker()
    found, flight = polling.Polling(looker.look), Flight("a")
    found.add(flight)
    assert looked.wait(10)
    flight.end(LOST)
    assert "own fault" in caplog.text
