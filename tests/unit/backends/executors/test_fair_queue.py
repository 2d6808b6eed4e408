from __future__ import annotations

import gc
import weakref
from collections import Counter
from queue import Empty
from threading import Barrier

import pytest

from partstream.backends.executors.fair_queue import FairQueue
from tests.support.concurrency import PATIENCE, in_background, in_threads


def queue_of(*items):
    """A queue with items like "a1", whose owner is the letter."""
    queue = FairQueue()
    for item in items:
        queue.put(item, item[0])
    return queue


def drained(queue):
    items = []
    while True:
        try:
            items.append(queue.get_nowait())
        except Empty:
            return items


@pytest.mark.parametrize(
    ("put", "got"),
    [
        ("", ""),
        ("a1", "a1"),
        ("a1 a2 a3", "a1 a2 a3"),
        ("a1 a2 a3 b1", "a1 b1 a2 a3"),
        ("a1 b1 c1 a2 b2 c2", "a1 b1 c1 a2 b2 c2"),
        ("a1 a2 a3 b1 b2 c1", "a1 b1 c1 a2 b2 a3"),
    ],
)
def test_queue__serves_the_owners_in_turn(put, got):
    assert drained(queue_of(*put.split())) == got.split()


def test_queue__serves_an_owner_that_comes_later_after_one_round():
    queue = queue_of("a1", "a2", "a3", "b1", "b2")
    assert [queue.get(), queue.get()] == ["a1", "b1"]
    queue.put("c1", "c")
    assert drained(queue) == ["a2", "b2", "c1", "a3"]


def test_queue__an_owner_that_comes_back_gains_no_turn():
    queue = queue_of("a1", "b1", "b2")
    assert queue.get() == "a1"
    queue.put("a2", "a")
    assert drained(queue) == ["b1", "a2", "b2"]


def test_queue__has_one_line_for_all_without_an_owner():
    queue = FairQueue()
    for item in ("1", "2", "3"):
        queue.put(item)
    queue.put("a1", "a")
    assert drained(queue) == ["1", "a1", "2", "3"]


def test_queue__gives_none_after_all_else():
    queue = queue_of("a1", "a2", "b1")
    queue.put(None)
    queue.put("b2", "b")
    assert drained(queue) == ["a1", "b1", "a2", "b2", None]


@pytest.mark.parametrize("get", [lambda queue: queue.get(timeout=0.001), FairQueue.get_nowait])
def test_queue__that_is_empty_says_so(get):
    queue = queue_of("a1")
    assert get(queue) == "a1"
    with pytest.raises(Empty):
        get(queue)


def test_queue__wakes_who_waits():
    queue = FairQueue()
    with in_background(queue.get) as item:
        queue.put("a1", "a")
        assert item() == "a1"


def test_queue__keeps_nothing_of_what_it_gave():
    class Item:
        pass

    queue, item, owner = FairQueue(), Item(), Item()
    kept = [weakref.ref(item), weakref.ref(owner)]
    gc.disable()
    try:
        queue.put(item, owner)
        del item, owner
        queue.get()
        assert [reference() for reference in kept] == [None, None]
    finally:
        gc.enable()
    assert not queue._lines


def test_queue__loses_and_repeats_nothing():
    queue, together = FairQueue(), Barrier(8)
    owners, each = 4, 2000

    def use(number):
        together.wait(PATIENCE)
        if number < owners:
            for item in range(each):
                queue.put((number, item), number)
            return []
        return [queue.get(PATIENCE) for _ in range(each)]

    got = in_threads(2 * owners, use)[owners:]
    everything = [(owner, item) for owner in range(owners) for item in range(each)]
    assert Counter(item for items in got for item in items) == Counter(everything)
    for items in got:
        for owner in range(owners):
            # Each thread has got those of an owner in their order.
            own = [item for item in items if item[0] == owner]
            assert own == sorted(own)
    with pytest.raises(Empty):
        queue.get_nowait()
