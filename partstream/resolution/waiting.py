"""The parts of one request that have not begun, and what each of them waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from partstream.backends.executors.base import Executor
from partstream.exceptions import Waitable
from partstream.parts.declaration import LazyPart

from .pending import Pending
from .request_parts import RequestParts


class Waiting:
    """The parts that have not begun, each after its dependencies.

    A part waits for its dependencies; for the end of another part of the request, because they run
    one after another, or because of ``max_per_request``; or for room in a pool.

    Args:
        pending: The parts in progress.
        order: The names of all parts to begin.
        bounded: Whether parts that have ended and were not sent yet take up room, too: see
            `Executor.max_in_flight`.

    Attributes:
        unsent: The number of those parts.
        waits_for_sending: Whether a part could begin if they had been sent.
    """

    def __init__(
        self,
        parts: RequestParts,
        pending: Pending,
        order: Iterable[str],
        *,
        bounded: bool = False,
    ) -> None:
        self._parts = parts
        self._outcomes = parts.outcomes
        self._layout = parts.layout
        self._pending = pending
        self._names = list(order)
        #: Parts that begin when another part of this request ends: see `hold`.
        self._held: set[str] = set()
        #: Parts that run in another thread while the request's own thread waits for them.
        self._alone: list[str] = []
        #: Rooms that announce when they have a place, with the callbacks that they call.
        self._rooms: dict[Waitable, Callable[[], None]] = {}
        #: Those that have not announced one since they were asked.
        self._asked: set[Waitable] = set()
        self._bounded = bounded
        self.unsent = 0
        self.waits_for_sending = False

    def __bool__(self) -> bool:
        return bool(self._names)

    def add(self, *names: str) -> None:
        """Let parts wait, after those that wait already."""
        self._names += names

    def add_again(self, name: str) -> None:
        """Let a part wait that has begun and was lost, and those of its dependencies."""
        self.add(
            *(
                other
                for other in self._layout.closure([name], self._outcomes)
                if other not in self._pending and other not in self._names
            )
        )

    def take(self) -> tuple[list[str], list[str]]:
        """Take all names: those that run elsewhere, and those for the request's own thread."""
        names, self._names = self._names, []
        elsewhere: list[str] = []
        here: list[str] = []
        for name in names:
            if name not in self._outcomes and name not in self._pending:
                (here if self.runs_here(name) else elsewhere).append(name)
        return elsewhere, here

    def runs_here(self, name: str) -> bool:
        """Whether a part is a value, or its executor runs parts one after another."""
        return not (self.is_lazy(name) and self._parts.executor_of(name).concurrent)

    def is_lazy(self, name: str) -> bool:
        """Whether a part has a loader."""
        return isinstance(self._parts[name], LazyPart)

    def is_coroutine(self, name: str) -> bool:
        """Whether a part's loader is a coroutine function."""
        part = self._parts[name]
        return isinstance(part, LazyPart) and self._parts.loader_of(name, part).is_async

    def is_next_coroutine(self, name: str) -> bool:
        """Whether a part has not begun, is ready, and its loader is a coroutine function."""
        return (
            name not in self._outcomes
            and name not in self._pending
            and self.is_coroutine(name)
            and self.is_ready(name)
        )

    def is_ready(self, name: str) -> bool:
        """Whether all dependencies of a part have their outcomes."""
        layout = self._layout
        return not layout.gated or all(
            other in self._outcomes for other in layout.dependencies[layout.index[name]]
        )

    # For the end of another part

    def has_room(self, name: str) -> bool:
        """Whether this part may run now, at the same time as others of this request.

        A part that an earlier request of the walk has left running in this process counts, too.
        """
        executor = self._parts.executor_of(name)
        most = executor.max_per_request
        if most is not None and self._running(executor) >= most:
            return False
        # Coroutines wait for the most part, so they may be many; they have a limit of their own.
        if not self._bounded or not executor.concurrent or self.is_coroutine(name):
            return True
        room = executor.max_in_flight - self._running(executor, coroutines=False)
        self.waits_for_sending = self.waits_for_sending or 0 < room <= self.unsent
        return room > self.unsent

    def _running(self, executor: Executor, *, coroutines: bool = True) -> int:
        return sum(
            1
            for entry in self._pending
            if (entry.steps is None or entry.of_walk)
            and not entry.flight.polled
            and self._parts.executor_of(entry.name) is executor
            and (coroutines or not entry.loader.is_async)
        )

    def hold(self, name: str) -> None:
        """Let a part wait until another one makes room."""
        self._held.add(name)
        self.add(name)

    def is_held(self, name: str) -> bool:
        """Whether the part has waited for room before."""
        return name in self._held

    def release(self, name: str) -> None:
        """The part begins."""
        self._held.discard(name)

    def note_alone(self, name: str) -> None:
        """The request's own thread waits for this part, so that no other runs meanwhile."""
        self._alone.append(name)

    def must_wait(self, name: str) -> bool:
        """Whether a part for the request's own thread has to wait for such a part.

        Coroutines run together.
        """
        if not self._alone:
            return False
        self._alone = [other for other in self._alone if self._pending.runs_here(other)]
        return bool(self._alone) and not all(map(self.is_coroutine, (name, *self._alone)))

    # For room in a pool

    def wait_for(self, room: Waitable) -> None:
        """Let the driver go on when there is a place in a pool."""
        callback = self._rooms.get(room)
        if callback is None:
            callback = self._rooms[room] = partial(self._freed, room)
        self._asked.add(room)
        room.call_when_free(callback)

    def _freed(self, room: Waitable) -> None:
        """A room has a place; called in any thread."""
        self._asked.discard(room)
        self._pending.ends.wake()

    def leave(self) -> None:
        """Wait for no place any more, and leave one that was announced to others."""
        while self._rooms:
            room, callback = self._rooms.popitem()
            room.forget(callback)

    def polls(self) -> bool:
        """Whether a part could begin now, but for a pool that does not announce free room."""
        return not self._asked and any(
            name not in self._held
            and self.is_ready(name)
            and not (self.runs_here(name) and self.must_wait(name))
            for name in self._names
        )
