"""The error boundary of an executor that has hooks: they are called around a part's code."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.views import APIView

from .backends.executors.hooks import CallHooks
from .boundary import Boundary
from .exceptions import HookFailed
from .loaders import Loader
from .outcomes import Outcome


class HookedBoundary(Boundary):
    """Calls the hooks in other threads around each part, and in the request's where it has to.

    The request's thread has what the project's middleware set, until it gives a pooled connection
    back: then ``before_call()`` is called again, before the next of the project's code.

    Args:
        view: The view, for serializers and for the log.
        request: The request that loaders, and the hooks, get.
        hooks: The executor's hooks for this request.
    """

    def __init__(self, view: APIView, request: Request, hooks: CallHooks) -> None:
        super().__init__(view, request)
        self._hooks = hooks
        self._has_given_back = False

    def note_given_back(self) -> None:
        """See `Boundary.note_given_back`."""
        self._has_given_back = True

    def renew(self) -> None:
        """See `Boundary.renew`."""
        if self._has_given_back:
            self._hooks.before()
            self._has_given_back = False

    def settle(self, name: str, *args: Any, **kwargs: Any) -> Outcome:
        """See `Boundary.settle`."""
        try:
            self.renew()
        except HookFailed as error:
            return self._refused(name, error)
        return super().settle(name, *args, **kwargs)

    def settle_elsewhere(self, *args: Any, **kwargs: Any) -> Outcome:
        """See `Boundary.settle_elsewhere`."""
        name: str = args[0]
        try:
            return self._hooks.around(lambda: super(HookedBoundary, self).settle(*args, **kwargs))
        except HookFailed as error:
            return self._refused(name, error)

    def fail(self, name: str, loader: Loader, error: BaseException, seconds: float) -> Outcome:
        """See `Boundary.fail`."""
        try:
            self.renew()
        except HookFailed as failed:
            return self._refused(name, failed)
        return super().fail(name, loader, error, seconds)

    def _refused(self, name: str, error: HookFailed) -> Outcome:
        return Outcome(name, None, self._failure_of(name, error), 0.0, "loader", error)
