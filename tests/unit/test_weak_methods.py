"""References to bound methods."""

from __future__ import annotations

from partstream.weak_methods import WeakMethod


class Counter:
    def __init__(self):
        self.count = 0

    def add(self, number):
        self.count += number
        return self.count


def test_weak_method__is_the_method_while_its_object_lives():
    counter = Counter()
    reference = WeakMethod(counter.add)
    assert reference()(2) == 2
    assert counter.count == 2


def test_weak_method__does_not_keep_its_object():
    reference = WeakMethod(Counter().add)
    assert reference() is None
