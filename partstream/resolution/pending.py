"""What is under way: parts that are waited for, at a call or at a flight."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from time import monotonic

from partstream.backends.executors.calls import Call
from partstream.caching.flight import Flight
from partstream.parts.loader import Loader


@dataclass(slots=True, eq=False)
class Entry:
    """A part that is under way.

    Attributes:
        loader: Its loader.
        source: The call or the flight that it is waited for at.
        started: On the monotonic clock.
        deadline: When waiting for it ends, on the monotonic clock.
        polls: Whether another process runs it, and the store has to be asked.
        is_ours: Whether the flight that it is waited for at is run for this request.
    """

    loader: Loader
    source: Call | Flight
    started: float
    deadline: float | None
    polls: bool = False
    is_ours: bool = False


class UnderWay:
    """The parts of one request that are under way, and the queue of their ends."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._events: SimpleQueue[tuple[str, Call | Flight]] = SimpleQueue()
        self._has_polled = False

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def add_call(self, name: str, loader: Loader, call: Call) -> None:
        """Wait for a call of this request's own."""
        self._entries[name] = Entry(loader, call, monotonic(), call.deadline, False, True)
        call.on_done(lambda call: self._events.put((name, call)))

    def add_flight(
        self,
        name: str,
        loader: Loader,
        flight: Flight,
        timeout: float | None,
        *,
        polls: bool = False,
        is_ours: bool = False,
    ) -> None:
        """Wait for a flight, for as long as it may take; or else for so many seconds from now."""
        now = monotonic()
        deadline = flight.deadline
        if deadline is None and timeout is not None:
            deadline = now + timeout
        self._entries[name] = Entry(loader, flight, now, deadline, polls, is_ours)
        self._has_polled = self._has_polled or polls
        flight.on_landing(lambda flight: self._events.put((name, flight)))

    def discard(self, name: str) -> None:
        """Wait for it no longer."""
        self._entries.pop(name, None)

    def is_ours(self, name: str) -> bool:
        """Whether it is under way, and by a call of this request's own."""
        entry = self._entries.get(name)
        return entry is not None and entry.is_ours

    def wait(self, until: float | None) -> Iterator[tuple[str, Entry]]:
        """Wait for an end, at most until a deadline or this moment; yields all that have ended."""
        moments = [entry.deadline for entry in self._entries.values() if entry.deadline is not None]
        if until is not None:
            moments.append(until)
        timeout = max(0.0, min(moments) - monotonic()) if moments else None
        events = self._events
        try:
            event = events.get(timeout=timeout)
        except Empty:
            return
        while True:
            name, source = event
            entry = self._entries.get(name)
            # One that was discarded may still end.
            if entry is not None and entry.source is source:
                del self._entries[name]
                yield name, entry
            if events.empty():  # Only this thread takes from it.
                return
            event = events.get()

    def overdue(self, now: float) -> list[tuple[str, Entry]]:
        """Those whose deadline is over."""
        return [
            (name, entry)
            for name, entry in self._entries.items()
            if entry.deadline is not None and entry.deadline <= now
        ]

    def polled(self) -> dict[Flight, tuple[str, Entry]]:
        """Those that another process runs."""
        if not self._has_polled:
            return {}
        return {
            entry.source: (name, entry)
            for name, entry in self._entries.items()
            if entry.polls and isinstance(entry.source, Flight)
        }

    def calls(self) -> dict[str, Call]:
        """Those that only this request waits for."""
        return {
            name: entry.source
            for name, entry in self._entries.items()
            if isinstance(entry.source, Call)
        }

    def our_flights(self) -> dict[str, Flight]:
        """Flights that run for this request, and that others may have joined."""
        return {
            name: entry.source
            for name, entry in self._entries.items()
            if entry.is_ours and isinstance(entry.source, Flight)
        }
