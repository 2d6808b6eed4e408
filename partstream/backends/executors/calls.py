"""Calls: functions that run in another thread, and their callbacks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum
from time import monotonic
from typing import Any

from partstream.exceptions import NoCapacity, PartTimeout
from partstream.isolation.context import CallersContext
from partstream.logs import get_logger

logger = get_logger("partstream.executors")


class State(Enum):
    """The state of a call."""

    QUEUED = "queued"
    RUNNING = "running"
    #: It has ended, with a result or an error.
    DONE = "done"
    #: It has not started, and never will.
    CANCELLED = "cancelled"
    #: It has started, but nothing waits for it any more.
    ABANDONED = "abandoned"


def timeout_error(state: State) -> Exception | None:
    """The error of a call that was given up in this state; None: it had already ended."""
    if state is State.ABANDONED:
        return PartTimeout("it took longer than its timeout")
    if state is State.CANCELLED:
        return NoCapacity("it waited for a thread until its timeout")
    return None


class Call:
    """A call of a function in another thread, with a copy of the caller's context variables.

    A lighter ``concurrent.futures.Future`` that has a deadline. It can be abandoned while it runs;
    a running thread cannot be stopped.

    Args:
        function: What to call.
        timeout: Seconds from now to ``deadline``; None: no deadline. The call does not enforce
            it: callers that wait for the call do.

    Attributes:
        deadline: Time on the monotonic clock.
        result: What the function returned.
        error: What the function raised.
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
        """Mark the call as started, or as continued here; False if nothing waits for it any more.

        Args:
            on_abandon: Called when the call is abandoned; it must not raise.
        """
        with self._lock:
            if self.state is not State.QUEUED and self.state is not State.RUNNING:
                return False
            self.state = State.RUNNING
            self._on_abandon = on_abandon
            return True

    def run(self) -> None:
        """Run the function in this thread, and record its result or exception."""
        function, self._function = self._function, None
        result, error = None, None
        try:
            if function is not None:
                result = self._context.run(function)
        except BaseException as raised:  # noqa: BLE001 - kept for the caller
            error = raised
        self.finish(result, error)

    def finish(self, result: Any, error: BaseException | None) -> None:
        """Record how the call ended; an abandoned call notifies nothing."""
        self._end((State.RUNNING,), result, error)

    def _end(self, states: tuple[State, ...], result: Any, error: BaseException | None) -> None:
        with self._lock:
            if self.state not in states:
                return
            self.state, self.result, self.error = State.DONE, result, error
            callbacks, self._callbacks = self._callbacks, []
            self._on_abandon = None
        for callback in callbacks:
            try:
                callback(self)
            except Exception:
                # The thread belongs to a pool, which would miss it for ever.
                logger.exception("The end of a call could not be handled.")

    def refuse(self, error: BaseException) -> None:
        """End the call with an error, because no thread will run it, or the rest of it."""
        self._end((State.QUEUED, State.RUNNING), None, error)

    def then(self, function: Callable[[], Any]) -> None:
        """Set the rest of the work of a call that started elsewhere; `run` does it."""
        self._function = function

    def enter(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function within the call's context variables, language and the like."""
        return self._context.run(function, *args)

    def on_done(self, callback: Callable[[Call], None]) -> None:
        """Call ``callback(call)`` when the call ends, or at once if it has ended already.

        The callback runs in the thread that ends the call, so it must be short and must not raise.
        """
        with self._lock:
            if self.state is not State.DONE:
                self._callbacks.append(callback)
                return
        callback(self)

    def cancel(self) -> bool:
        """Cancel the call if it has not started; False if it has."""
        with self._lock:
            if self.state is not State.QUEUED:
                return False
            self.state, self._function = State.CANCELLED, None
            return True

    def give_up(self) -> State:
        """Stop waiting: cancel the call if it has not started, otherwise abandon it.

        Returns:
            CANCELLED or ABANDONED; DONE if the call has ended in the meantime.
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
                # Under the lock, so that the call cannot end before this.
                self._on_abandon(self)
                self._on_abandon = None
            return self.state
