"""The parts of one request that are in progress, and the queue of those that have ended."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from partstream.backends.executors.calls import Call
from partstream.caching.flight import LOST, Flight
from partstream.caching.protocol import Found, Step
from partstream.caching.single_flight import Turn, get_single_flight
from partstream.exceptions import PartTimeout
from partstream.parts.loader import Loader
from partstream.parts.outcome import Outcome, worth_keeping


@dataclass(slots=True, eq=False)
class Entry:
    """A part in progress: it waits for a flight.

    Attributes:
        steps: The steps of single flight after that; None: the part runs for this request.
        of_walk: Whether the flight's key belongs to this walk, and not to a cached part.
        claims: Whether the thread that runs the part takes the flight's lock first.
        slower_than: Seconds: a part that took longer is stored, and one whose client has left.
            None: every part, if the flight has a ``ttl``.
        deadline: When to stop waiting, on the monotonic clock.
    """

    name: str
    loader: Loader
    steps: Generator[Step, Any, Found] | None = None
    flight: Flight = field(init=False)
    of_walk: bool = False
    claims: bool = False
    slower_than: float | None = None
    deadline: float | None = None
    started: float = field(default_factory=monotonic)
    ends: Ends = field(init=False)

    def ended(self, _: Flight) -> None:
        """Note the end of the flight. A method, since an attribute would be a reference cycle."""
        self.ends.put(self)

    def end_with(self, made: Outcome | bytes | Turn) -> None:
        """End the flight with what the thread has returned that runs the part.

        That is the loader's outcome; the value, if another process has stored it; or `Turn.WAIT`,
        if another process computes it.
        """
        flight = self.flight
        if isinstance(made, bytes):
            flight.finish(made)
        elif isinstance(made, Turn):
            flight.call = None
            get_single_flight().follow(flight)
            if flight.left and not flight.waiting:
                flight.finish(LOST)
        else:
            value = worth_keeping(made)
            has_failed = value is None
            is_quick = self.slower_than is not None and made.duration <= self.slower_than
            if is_quick and not flight.left:
                value = None  # It is with its client, or soon made again.
            flight.finish(made, value=value, failed=has_failed)

    def end_with_call(self, call: Call) -> None:
        """End the flight when its call ends, in the thread that ran the call."""
        error = call.error
        if error is None:
            self.end_with(call.result)
        else:
            self.flight.finish(error if isinstance(error, PartTimeout) else LOST, failed=True)

    def share_with(self, flight: Flight) -> None:
        """End another flight with the result of this entry's flight, for its next caller."""
        flight.call, flight.left = self.flight.call, True

        def end(ended: Flight) -> None:
            result = ended.result
            value = worth_keeping(result) if isinstance(result, Outcome) else None
            flight.finish(result, value=value, failed=value is None)

        self.flight.on_end(end)


class Ends:
    """The queue of the entries that have ended, for the one driver that waits for them.

    Attributes:
        ring: Called after each addition, in the thread that adds, for a driver that cannot block
            its thread: an event loop. It must be short and must not raise.
    """

    ring: Callable[[], None] | None = None

    def __init__(self) -> None:
        self._queue: SimpleQueue[Entry | None] = SimpleQueue()
        #: What `wait` took from the queue.
        self._first: list[Entry | None] = []

    def __bool__(self) -> bool:
        return bool(self._first) or not self._queue.empty()

    def put(self, entry: Entry | None) -> None:
        """Add an entry; None: nothing has ended, but the driver has to go on."""
        self._queue.put(entry)
        ring = self.ring
        if ring is not None:
            ring()

    def wake(self) -> None:
        """Let the driver go on."""
        self.put(None)

    def wait(self, until: float | None) -> None:
        """Block this thread until something is added, at most until this moment."""
        if self._first:
            return
        timeout = None if until is None else max(0.0, until - monotonic())
        with suppress(Empty):
            self._first.append(self._queue.get(timeout=timeout))

    def take(self) -> Iterator[Entry]:
        """Remove and return what was added since the last call, in that order."""
        while self:  # Only the driver takes from it.
            entry = self._first.pop() if self._first else self._queue.get()
            if entry is not None:
                yield entry


class Pending:
    """The parts of one request that are in progress.

    Args:
        ends: Where they arrive when they have ended.
    """

    def __init__(self, ends: Ends | None = None) -> None:
        self._entries: dict[str, Entry] = {}
        self.ends = Ends() if ends is None else ends

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def add(self, entry: Entry, flight: Flight, timeout: float | None) -> None:
        """Wait for a flight until its deadline; if it has none, for ``timeout`` seconds."""
        entry.flight, entry.deadline = flight, flight.deadline
        if entry.deadline is None and timeout is not None:
            entry.deadline = monotonic() + timeout
        entry.ends = self.ends
        self._entries[entry.name] = entry
        flight.on_end(entry.ended)

    def discard(self, entry: Entry) -> None:
        """Stop waiting for the entry."""
        self._entries.pop(entry.name, None)
        entry.flight.forget(entry.ended)

    def runs_here(self, name: str) -> bool:
        """Whether a part is in progress, and runs for this request."""
        entry = self._entries.get(name)
        return entry is not None and entry.steps is None

    def deadline(self) -> float | None:
        """The earliest deadline; None if there is none."""
        deadlines = [
            entry.deadline for entry in self._entries.values() if entry.deadline is not None
        ]
        return min(deadlines, default=None)

    def take(self) -> Iterator[Entry]:
        """Remove and return the entries that have ended since the last call, in that order."""
        for entry in self.ends.take():
            # A discarded entry may still end.
            if self._entries.get(entry.name) is entry and entry.flight.has_ended:
                del self._entries[entry.name]
                yield entry

    def overdue(self, now: float) -> list[Entry]:
        """The entries whose deadline has passed."""
        return [
            entry
            for entry in self._entries.values()
            if entry.deadline is not None and entry.deadline <= now
        ]
