"""The parts of one request that are in progress, and a queue of those that have ended."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from partstream.backends.executors.calls import Call
from partstream.caching.flight import LOST, Flight
from partstream.caching.protocol import Found, Step
from partstream.exceptions import PartTimeout
from partstream.parts.loader import Loader
from partstream.parts.outcome import Outcome, worth_keeping


@dataclass(slots=True, eq=False)
class Entry:
    """A part in progress: it waits for a flight.

    Attributes:
        steps: The steps of single flight after that; None: the part runs for this request.
        of_walk: Whether the flight's key belongs to this walk, and not to a cached part.
        polls: Whether another process runs the part, so that the store has to be polled.
        deadline: When to stop waiting, on the monotonic clock.
    """

    name: str
    loader: Loader
    steps: Generator[Step, Any, Found] | None = None
    flight: Flight = field(init=False)
    of_walk: bool = False
    polls: bool = False
    deadline: float | None = None
    started: float = field(default_factory=monotonic)
    ends: SimpleQueue[Entry] = field(init=False)

    def ended(self, _: Flight) -> None:
        """Note the end of the flight. A method, since an attribute would be a reference cycle."""
        self.ends.put(self)

    def end_with(self, outcome: Outcome) -> None:
        """End the flight with the loader's outcome."""
        value = worth_keeping(outcome)
        self.flight.finish(outcome, value=value, failed=value is None)

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


class Pending:
    """The parts of one request that are in progress."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._ends: SimpleQueue[Entry] = SimpleQueue()
        #: What `wait` took from the queue.
        self._first: list[Entry] = []
        self._has_polled = False

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def add(
        self, entry: Entry, flight: Flight, timeout: float | None, *, polls: bool = False
    ) -> None:
        """Wait for a flight until its deadline; if it has none, for ``timeout`` seconds."""
        entry.flight, entry.deadline, entry.polls = flight, flight.deadline, polls
        if entry.deadline is None and timeout is not None:
            entry.deadline = monotonic() + timeout
        entry.ends = self._ends
        self._entries[entry.name] = entry
        self._has_polled = self._has_polled or polls
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

    def wait(self, until: float | None) -> None:
        """Block this thread until an entry ends, at most until this moment."""
        timeout = None if until is None else max(0.0, until - monotonic())
        try:
            entry = self._ends.get(timeout=timeout)
        except Empty:
            return
        self._first.append(entry)

    def take(self) -> Iterator[Entry]:
        """Remove and return the entries that have ended since the last call, in that order."""
        while self._first or not self._ends.empty():  # Only this thread takes from it.
            entry = self._first.pop() if self._first else self._ends.get()
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

    def polled(self) -> dict[Flight, Entry]:
        """The entries that another process runs, by their flights."""
        if not self._has_polled:
            return {}
        return {entry.flight: entry for entry in self._entries.values() if entry.polls}
