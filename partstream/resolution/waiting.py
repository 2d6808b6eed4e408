"""The parts of one request that have not begun, and what each of them waits for."""

from __future__ import annotations

from collections.abc import Iterable

from partstream.backends.executors.base import Executor
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
    """

    def __init__(self, parts: RequestParts, pending: Pending, order: Iterable[str]) -> None:
        self._parts = parts
        self._outcomes = parts.outcomes
        self._layout = parts.layout
        self._pending = pending
        self._names = list(order)
        #: Parts that begin when another part of this request ends: see `hold`.
        self._held: set[str] = set()
        #: Parts that run in another thread while the request's own thread waits for them.
        self._alone: list[str] = []

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
        """Whether a part has not begun, and its loader is a coroutine function."""
        part = self._parts[name]
        return (
            name not in self._outcomes
            and name not in self._pending
            and isinstance(part, LazyPart)
            and self._parts.loader_of(name, part).is_async
        )

    def is_ready(self, name: str) -> bool:
        """Whether all dependencies of a part have their outcomes."""
        layout = self._layout
        return not layout.gated or all(
            other in self._outcomes for other in layout.dependencies[layout.index[name]]
        )

    # For the end of another part

    def has_room(self, executor: Executor) -> bool:
        """Whether one more part of this request may run there at the same time.

        A part that an earlier request of the walk has left running in this process counts, too.
        """
        most = executor.max_per_request
        if most is None:
            return True
        running = sum(
            1
            for entry in self._pending
            if (entry.steps is None or (entry.of_walk and not entry.polls))
            and self._parts.executor_of(entry.name) is executor
        )
        return running < most

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

    @property
    def must_wait(self) -> bool:
        """Whether such a part still runs."""
        if self._alone:
            self._alone = [name for name in self._alone if self._pending.runs_here(name)]
        return bool(self._alone)

    def polls(self) -> bool:
        """Whether a part could begin now, but for a pool, which does not announce free room."""
        must_wait = self.must_wait
        return any(
            name not in self._held
            and self.is_ready(name)
            and not (must_wait and self.runs_here(name))
            for name in self._names
        )
