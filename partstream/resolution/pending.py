"""The parts of one request that are under way, and the queue of their ends."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from partstream.caching.flight import Flight
from partstream.caching.single_flight import Found, Step
from partstream.parts.loader import Loader

Steps = Generator[Step, Any, Found]


@dataclass(slots=True, eq=False)
class Entry:
    """A part that is under way: a flight that is waited for.

    Attributes:
        name: The part.
        loader: Its loader.
        flight: What is waited for.
        deadline: When waiting for it ends, on the monotonic clock.
        steps: How to go on when the flight ends; None: the part runs for this request, and the
            flight's result is its outcome.
        polls: Whether another process makes it, and the store has to be asked.
        of_walk: Whether the flight is of this walk alone, and not of a cached part.
        started: On the monotonic clock.
    """

    name: str
    loader: Loader
    flight: Flight
    deadline: float | None
    steps: Steps | None = None
    polls: bool = False
    of_walk: bool = False
    callback: Callable[[Flight], None] = field(init=False)
    started: float = field(default_factory=monotonic)

    @property
    def is_ours(self) -> bool:
        """Whether the part runs for this request."""
        return self.steps is None


class Pending:
    """The parts of one request that are under way."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._ends: SimpleQueue[Entry] = SimpleQueue()
        #: What `wait` has taken from the queue.
        self._ended: list[Entry] = []
        self._polled = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def add(self, entry: Entry) -> None:
        """Wait for a flight: until it ends, or else until the deadline."""
        ends = self._ends
        entry.callback = lambda _: ends.put(entry)
        self._entries[entry.name] = entry
        self._polled += entry.polls
        entry.flight.on_end(entry.callback)

    def discard(self, entry: Entry) -> None:
        """Stop waiting for it."""
        if self._entries.get(entry.name) is entry:
            del self._entries[entry.name]
            self._polled -= entry.polls

    def is_ours(self, name: str) -> bool:
        """Whether a part is under way, and runs for this request."""
        entry = self._entries.get(name)
        return entry is not None and entry.is_ours

    def deadline(self) -> float | None:
        """The first moment at which waiting for one of them ends."""
        return min(
            (entry.deadline for entry in self._entries.values() if entry.deadline is not None),
            default=None,
        )

    def wait(self, until: float | None) -> None:
        """Block this thread until something ends, at most until this moment."""
        timeout = None if until is None else max(0.0, until - monotonic())
        try:
            self._ended.append(self._ends.get(timeout=timeout))
        except Empty:
            return

    def take(self) -> Iterator[Entry]:
        """What has ended since the last look; it is no longer under way."""
        while True:
            if self._ended:
                entry = self._ended.pop()
            else:
                try:
                    entry = self._ends.get_nowait()
                except Empty:
                    return
            # An entry that was discarded may still end.
            if self._entries.get(entry.name) is entry:
                self.discard(entry)
                yield entry

    def overdue(self, now: float) -> list[Entry]:
        """Those whose deadline is over."""
        return [
            entry
            for entry in self._entries.values()
            if entry.deadline is not None and entry.deadline <= now
        ]

    def polled(self) -> dict[Flight, Entry]:
        """Those that another process makes."""
        if not self._polled:
            return {}
        return {entry.flight: entry for entry in self._entries.values() if entry.polls}
