"""Loaders that are held until a test lets them go: what the tests of threads and time share."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier, Event

from partstream.backends.executors.calls import Call

#: Seconds for what will surely happen. A test that needs them all has failed.
PATIENCE = 60
#: The same, where much is computed: a busy machine that measures coverage is ten times slower.
LONG_PATIENCE = 300
#: Seconds in which an answer is there that does not wait for what is held.
SOON = 10


class Held:
    """A loader, or any function, that waits until it is let go.

    It counts its runs; ``began`` is set by each.
    """

    def __init__(self, data=None, *, error=None):
        self.data = data
        self.error = error
        self.runs = 0
        self.began = Event()
        self.gate = Event()

    def __call__(self, request=None, **dependencies):
        self.runs += 1
        self.began.set()
        if not self.gate.wait(PATIENCE):
            raise AssertionError("nobody let it go")
        if self.error is not None:
            raise self.error
        return {**dependencies, "data": self.data} if dependencies else self.data

    def release(self):
        """Let it go, now and in future."""
        self.gate.set()

    def wait_until_begun(self):
        assert self.began.wait(PATIENCE)


class HeldCoroutine(Held):
    """A coroutine loader of that kind; ``cancelled`` is set when it is."""

    def __init__(self, data=None, *, error=None):
        super().__init__(data, error=error)
        self.cancelled = Event()
        self._waiting = []

    async def __call__(self, request=None, **dependencies):
        self.runs += 1
        go = asyncio.Event()
        self._waiting.append((asyncio.get_running_loop(), go))
        if self.gate.is_set():
            go.set()
        self.began.set()
        try:
            await asyncio.wait_for(go.wait(), PATIENCE)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.error is not None:
            raise self.error
        return {**dependencies, "data": self.data} if dependencies else self.data

    def release(self):
        self.gate.set()
        for loop, go in self._waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(go.set)


def result_of(outcome):
    """The result of a submission, whatever it gave; raises what the function raised."""
    if not isinstance(outcome, Call):
        return outcome
    done = Event()
    outcome.on_done(lambda _: done.set())
    assert done.wait(PATIENCE)
    if outcome.error is not None:
        raise outcome.error
    return outcome.result


def passed_on(result, error):
    """The usual end of a coroutine."""
    if error is not None:
        raise error
    return result


def wait_until(condition):
    """What the condition gives when it holds: for what has no event to wait for."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return found


@contextmanager
def soon():
    """What is inside does not wait for what is held."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < SOON


@contextmanager
def in_background(function, *args, **kwargs):
    """Call a function in a thread; the value is a function that waits for its result."""
    with ThreadPoolExecutor(1) as background:
        future = background.submit(function, *args, **kwargs)
        yield lambda: future.result(PATIENCE)


def in_threads(count, function):
    """What the function gives for 0, 1, …, each in a thread of its own."""
    with ThreadPoolExecutor(count) as background:
        futures = [background.submit(function, number) for number in range(count)]
        return [future.result(LONG_PATIENCE) for future in futures]


def in_threads_with_lateness(count, function):
    """What the function gives for 0, 1, …, and the seconds that the machine took from the threads.

    As many threads sleep beside them: what those oversleep, and what the process computes
    meanwhile, one of the others may have had to wait for.
    """
    pause = 0.2
    together = Barrier(2 * count)
    late = []

    def call(number):
        together.wait(PATIENCE)
        if number < count:
            return function(number)
        began = time.monotonic()
        time.sleep(pause)
        late.append(time.monotonic() - began - pause)
        return None

    computed = time.process_time()
    results = in_threads(2 * count, call)[:count]
    return results, max(late) + time.process_time() - computed
