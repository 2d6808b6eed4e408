"""A call: one running of a function elsewhere, and those who wait for its end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum
from time import monotonic
from typing import Any

from partstream.exceptions import NoCapacity, PartTimeout
from partstream.isolation.context import CallersContext


class State(Enum):
    """Where a call stands."""

    QUEUED = "queued"
    RUNNING = "running"
    #: It came to its end: there is a result or an error.
    DONE = "done"
    #: It never started, and never will.
    CANCELLED = "cancelled"
    #: It started, and nobody waits for its end any more.
    ABANDONED = "abandoned"


def timeout_error(state: State) -> Exception | None:
    """What a call failed with that was given up in this state; None: it had ended by itself."""
    if state is State.ABANDONED:
        return PartTimeout("it took longer than its timeout")
    if state is State.CANCELLED:
        return NoCapacity("it waited for a thread until its timeout")
    return None


class Call:
    """One call of a function that runs elsewhere, with a copy of the caller's context variables.

    A lighter ``concurrent.futures.Future``: it knows its deadline, and it can be abandoned, which
    is all that can be done to a running thread.

    Args:
        function: What to call.
        timeout: Seconds from now to ``deadline``; None: it has none. The call does not watch it:
            whoever waits does.

    Attributes:
        deadline: On the monotonic clock.
        result: What the function returned.
        error: What it raised.
    """

    __slots__ = (
        "_callbacks",
        "_context",
        "_function",
        "_lock",
        "_on_abandon",
        "deadline",
        "error",
        "result",
        "state",
    )

    def __init__(self, function: Callable[[], Any], timeout: float | None = None) -> None:
        self._function: Callable[[], Any] | None = function
        self._context = CallersContext()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[Call], None]] = []
        self._on_abandon: Callable[[Call], None] | None = None
        self.deadline = None if timeout is None else monotonic() + timeout
        self.state = State.QUEUED
        self.result: Any = None
        self.error: BaseException | None = None

    def begin(self, on_abandon: Callable[[Call], None]) -> bool:
        """Say that the call starts, or goes on here; False where nobody waits for it any more.

        Args:
            on_abandon: Told when nobody waits any more; it must not raise.
        """
        with self._lock:
            if self.state is not State.QUEUED and self.state is not State.RUNNING:
                return False
            self.state = State.RUNNING
            self._on_abandon = on_abandon
            return True

    def run(self) -> None:
        """Run the function to its end, in this thread; what it raises is kept."""
        function, self._function = self._function, None
        result, error = None, None
        try:
            if function is not None:
                result = self._context.run(function)
        except BaseException as raised:  # noqa: BLE001 - for whoever waits
            error = raised
        self.finish(result, error)

    def finish(self, result: Any, error: BaseException | None) -> None:
        """Say how the call ended; an abandoned one tells nobody."""
        self._end((State.RUNNING,), result, error)

    def _end(self, states: tuple[State, ...], result: Any, error: BaseException | None) -> None:
        with self._lock:
            if self.state not in states:
                return
            self.state, self.result, self.error = State.DONE, result, error
            callbacks, self._callbacks = self._callbacks, []
            self._on_abandon = None
        for callback in callbacks:
            callback(self)

    def refuse(self, error: BaseException) -> None:
        """Say that nobody will run the call, or the rest of it, and why."""
        self._end((State.QUEUED, State.RUNNING), None, error)

    def then(self, function: Callable[[], Any]) -> None:
        """Give a call that started elsewhere the rest of its work, for `run`."""
        self._function = function

    def enter(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function within the call's context variables, and its language and the like."""
        return self._context.run(function, *args)

    def on_done(self, callback: Callable[[Call], None]) -> None:
        """Have ``callback(call)`` called at the end, at once if it is there already.

        It runs in the thread that ends the call, so it has to be short and must not raise.
        """
        with self._lock:
            if self.state is not State.DONE:
                self._callbacks.append(callback)
                return
        callback(self)

    def cancel(self) -> bool:
        """Cancel what has not started; False where it has."""
        with self._lock:
            if self.state is not State.QUEUED:
                return False
            self.state, self._function = State.CANCELLED, None
            return True

    def give_up(self) -> State:
        """Wait no longer: cancel what has not started, abandon what runs.

        Returns:
            CANCELLED or ABANDONED; or DONE where it ended in the meantime.
        """
        with self._lock:
            if self.state is State.QUEUED:
                self.state = State.CANCELLED
                self._function = None
            elif self.state is State.RUNNING:
                self.state = State.ABANDONED
            else:
                return self.state
            self._callbacks = []
            if self._on_abandon is not None:
                # Under the lock, so that the thread which runs it cannot come to its end before.
                self._on_abandon(self)
                self._on_abandon = None
            return self.state
