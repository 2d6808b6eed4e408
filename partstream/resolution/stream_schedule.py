"""The schedule of a stream. Others can join its work from the start; it can leave at any time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from partstream.caching.flight import LOST, Flight
from partstream.caching.protocol import obtain, proceed
from partstream.caching.single_flight import Turn, get_single_flight
from partstream.exceptions import NoCapacity
from partstream.parts.declaration import LazyPart
from partstream.parts.outcome import Outcome
from partstream.walks.walk_cache import WalkCache

from .boundary import Boundary
from .cached_parts import CachedParts
from .launcher import Launcher
from .pending import Ends, Entry
from .request_parts import RequestParts
from .schedule import AT_ONCE, Schedule
from .waiting import Waiting


class StreamSchedule(Schedule):
    """Settles the parts of a stream, whose client gets each of them as soon as it has ended.

    Parts run under their keys in the walk: the thread that runs a part takes the key's lock,
    so that a resumed stream finds the part in any process.

    Args:
        walk: The walk whose resumed streams join the work; None: it cannot be joined.
        known: How many outcomes the client has already.
        slower_than: Seconds: a part that took longer is stored for the walk. A part that others
            depend on is always stored.
        launcher: A launcher that is `apart` and `patient`, see `Launcher`.
    """

    def __init__(
        self,
        parts: RequestParts,
        boundary: Boundary,
        launcher: Launcher,
        cached: CachedParts,
        order: Iterable[str],
        walk: WalkCache | None,
        ends: Ends,
        *,
        known: int,
        slower_than: float,
    ) -> None:
        super().__init__(parts, boundary, launcher, cached, (), walk, ends)
        self._waiting = Waiting(parts, self.pending, order, bounded=True)
        self._taken = known
        self._slower_than = slower_than

    def steps(self) -> Iterator[float | None]:
        """See `Schedule.steps`. Send the new outcomes of a step before you take the next one."""
        self._begin_without_store()
        waiting = self._waiting
        for until in super().steps():
            waits_for_sending, waiting.waits_for_sending = waiting.waits_for_sending, False
            yield AT_ONCE if waits_for_sending else until
            waiting.unsent = 0

    def _begin_without_store(self) -> None:
        """First begin the parts that run elsewhere and for which this thread asks no store."""
        waiting = self._waiting
        elsewhere, here = waiting.take()
        for name in (*elsewhere, *here):
            if (
                not waiting.is_ready(name)
                or waiting.must_wait(name)
                or self._alternates(name)
                or self._asks_store(name)
            ):
                waiting.add(name)
            else:
                self._begin(name)

    def _asks_store(self, name: str) -> bool:
        """Whether this thread asks the cache store before it begins a part."""
        part = self._parts[name]
        if not isinstance(part, LazyPart):
            return False
        loader = self._parts.loader_of(name, part)
        return loader.caching is not None or (
            loader.is_async and self._walk is not None and get_single_flight().store.shared
        )

    def _alternates(self, name: str) -> bool:
        """See `Schedule._alternates`. Only for parts that must run in the request's thread."""
        return self._waiting.is_lazy(name) and self._launcher.runs_here(
            self._parts.executor_of(name)
        )

    def _settle(self, outcome: Outcome) -> None:
        self._waiting.unsent += 1
        super()._settle(outcome)

    def _make(self, entry: Entry, turn: Turn = Turn.RUN, *, claims: bool = True) -> None:
        walk = self._walk
        if walk is None:
            self._launch(entry, Flight())
            return
        name, is_async = entry.name, entry.loader.is_async
        entry.of_walk = True
        layout = self._parts.layout
        is_needed = layout.gated and bool(layout.dependents[name])
        entry.slower_than = None if is_needed else self._slower_than
        must_claim = claims and turn is Turn.RUN
        # An event loop must not wait for a store, so this thread takes a coroutine's lock.
        entry.claims = must_claim and not is_async
        steps = obtain(
            get_single_flight(),
            walk.key_of(name),
            ttl=walk.ttl,
            turn=None if must_claim and is_async else turn,
            looks=False,
        )
        entry.steps = steps
        self._go_on(entry, proceed(steps))

    def _lost(self, entry: Entry) -> None:
        call = entry.flight.call if entry.steps is None else None
        error = None if call is None else call.error
        if error is None or isinstance(error, NoCapacity):
            super()._lost(entry)
            return
        # The response has begun, so the request cannot fail any more.
        ended = RuntimeError(f"its loader raised {type(error).__name__}")
        ended.__cause__ = error
        self._fail(entry, ended)

    def leave(self) -> None:
        """Leave running work to a resumed stream, and drop what has not started.

        What another caller has joined goes on in any case.
        """
        self._waiting.leave()
        for entry in self.pending:
            self.pending.discard(entry)
            flight, call = entry.flight, entry.flight.call
            if entry.steps is not None:
                entry.steps.close()
                continue
            if call is not None and not flight.waiting and call.cancel():
                flight.finish(LOST)
                continue
            flight.left = True
            if not flight.polled:
                get_single_flight().watch(flight)
            elif not flight.waiting:
                flight.finish(LOST)
        self._drop_batch()
