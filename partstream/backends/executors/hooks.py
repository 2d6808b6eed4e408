"""The hooks of an executor: a project's code around each call in a thread of partstream's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from partstream.exceptions import HookFailed
from partstream.isolation.connections import forget_renewal
from partstream.logs import get_logger

T = TypeVar("T")

logger = get_logger("partstream.executors")


class Hooked(Protocol):
    """What `CallHooks` needs from an executor."""

    def before_call(self, request: Any) -> None:
        """See `Executor.before_call`."""

    def after_call(self, request: Any) -> None:
        """See `Executor.after_call`."""


class CallHooks:
    """The hooks of an executor, for one request.

    Args:
        executor: The executor with the hooks.
        request: The argument of the hooks: the request that loaders receive.
    """

    def __init__(self, executor: Hooked, request: Any) -> None:
        self._executor = executor
        self._request = request

    @property
    def _name(self) -> str:
        return type(self._executor).__name__

    def before(self) -> None:
        """Call ``before_call(request)``, in this thread.

        Raises:
            HookFailed: When it raised; the cause is its exception.
        """
        try:
            self._executor.before_call(self._request)
        except Exception as error:
            raise HookFailed(f"{self._name}.before_call() failed") from error

    def after(self) -> None:
        """Call ``after_call(request)`` in this thread; an exception is only logged."""
        try:
            self._executor.after_call(self._request)
        except Exception:
            logger.exception("%s.after_call() failed.", self._name)

    def around(self, function: Callable[[], T]) -> T:
        """Call a function between the two hooks.

        ``after_call()`` is called even if ``before_call()`` failed, which may have done half its
        work.

        Raises:
            HookFailed: When ``before_call()`` raised; the function is not called.
        """
        try:
            self.before()
            return function()
        finally:
            forget_renewal()
            self.after()
