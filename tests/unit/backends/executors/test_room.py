from __future__ import annotations

import gc
import weakref
from threading import Barrier, Semaphore

import pytest

from partstream.backends.executors.room import EVERYBODY, Room
from tests.support.concurrency import PATIENCE, in_threads


class Places:
    """What the room of a pool announces: places that are free, or taken."""

    def __init__(self, free=0, most=EVERYBODY):
        self.free = free
        self.most = most
        self.room = Room(self.count_free)

    def count_free(self):
        assert self.room.lock.locked()
        return EVERYBODY if self.free == self.most else self.free

    def take(self):
        """Take a place; whether there was one."""
        with self.room.lock:
            if self.free <= 0:
                return False
            self.free -= 1
            return True

    def leave(self):
        """What a call that ends does."""
        with self.room.lock:
            self.free += 1
        self.room.announce()


class Callers:
    """Callers that note that they were woken."""

    def __init__(self, room, count):
        self.woken = []
        self.callbacks = [
            lambda number=number: self.woken.append(number) for number in range(count)
        ]
        for callback in self.callbacks:
            room.call_when_free(callback)


def test_room__calls_at_once_where_there_is_room():
    places = Places(free=1)
    callers = Callers(places.room, 1)
    assert callers.woken == [0]
    places.leave()
    assert callers.woken == [0]


def test_room__calls_once():
    places = Places()
    callers = Callers(places.room, 1)
    assert callers.woken == []
    for _ in range(3):
        places.leave()
    assert callers.woken == [0]


def test_room__one_place_wakes_the_one_that_waited_longest():
    places = Places()
    callers = Callers(places.room, 3)
    for number in range(3):
        places.leave()
        assert callers.woken == list(range(number + 1))
        places.take()


def test_room__a_caller_that_registers_again_while_it_waits_keeps_its_place():
    places = Places()
    callers = Callers(places.room, 2)
    places.room.call_when_free(callers.callbacks[0])
    places.leave()
    assert callers.woken == [0]
    places.take()
    places.leave()
    places.take()
    places.leave()
    assert callers.woken == [0, 1]


def test_room__a_caller_that_was_refused_again_waits_again():
    places = Places()
    callers = Callers(places.room, 2)
    places.leave()
    places.take()  # Another one was quicker.
    places.room.call_when_free(callers.callbacks[0])
    places.leave()
    places.take()
    places.leave()
    assert callers.woken == [0, 1, 0]


def test_room__a_place_that_the_woken_one_leaves_goes_to_the_next_with_the_next_end():
    places = Places()
    callers = Callers(places.room, 4)
    places.leave()
    assert callers.woken == [0]
    places.leave()
    assert callers.woken == [0, 1, 2]


def test_room__a_place_that_the_woken_one_gives_up_goes_to_the_next_at_once():
    places = Places()
    callers = Callers(places.room, 3)
    places.leave()
    for number in range(3):
        assert callers.woken == list(range(number + 1))
        places.room.forget(callers.callbacks[number])


def test_room__a_place_that_was_taken_is_not_passed_on():
    places = Places()
    callers = Callers(places.room, 2)
    places.leave()
    places.take()
    places.room.forget(callers.callbacks[0])
    assert callers.woken == [0]


def test_room__a_caller_that_forgets_while_it_waits_wakes_nobody():
    places = Places()
    callers = Callers(places.room, 3)
    places.leave()
    places.room.forget(callers.callbacks[2])
    assert callers.woken == [0]
    places.leave()
    assert callers.woken == [0, 1]


def test_room__wakes_everybody_when_nothing_is_left_to_end():
    places = Places(most=2)
    callers = Callers(places.room, 9)
    places.leave()
    assert callers.woken == [0]
    places.leave()
    assert callers.woken == list(range(9))


def test_room__has_no_room_below_zero():
    # Coroutines are finished even if the queue is full.
    places = Places(free=-2)
    callers = Callers(places.room, 1)
    places.leave()
    places.leave()
    assert callers.woken == []
    places.leave()
    assert callers.woken == [0]


def test_room__starts_again_with_nobody():
    places = Places()
    callers = Callers(places.room, 2)
    lock = places.room.lock
    lock.acquire()  # By a thread that the fork left behind.
    places.room.reset()
    places.leave()
    assert callers.woken == []
    assert places.room.lock is not lock


def test_room__of_a_pool_that_is_gone_keeps_nobody_waiting():
    room = Places().room
    assert Callers(room, 1).woken == [0]


@pytest.mark.parametrize("end", ["called", "forgotten"])
def test_room__keeps_nobody_alive(end):
    class Caller:
        def wake(self):
            pass

    places, caller = Places(), Caller()
    kept = weakref.ref(caller)
    gc.disable()
    try:
        places.room.call_when_free(caller.wake)
        if end == "called":
            places.leave()
        else:
            places.room.forget(caller.wake)
        del caller
        assert kept() is None
        kept = weakref.ref(places)
        room = places.room
        del places
        assert kept() is None
    finally:
        gc.enable()
    del room


def test_room__loses_no_wake_up():
    """Places change hands between threads that wait for room alone: no time-out, no poll."""
    threads, turns = 8, 300
    places, together = Places(free=2, most=2), Barrier(threads)

    def use(_):
        woken = Semaphore(0)
        together.wait(PATIENCE)
        for _ in range(turns):
            while not places.take():
                places.room.call_when_free(woken.release)
                assert woken.acquire(timeout=PATIENCE)
            places.leave()
        return turns

    assert in_threads(threads, use) == [turns] * threads
    assert places.free == 2
