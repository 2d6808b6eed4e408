"""The error boundary of an executor that has hooks: they are called around a part's code."""

from __future__ import annotations

from threading import get_ident
from typing import Any

from rest_framework.request import Request
from rest_framework.views import APIView

from partstream.backends.executors.hooks import CallHooks
from partstream.exceptions import HookFailed
from partstream.parts.outcome import Outcome

from .boundary import Boundary


class HookedBoundary(Boundary):
    """Calls the hooks around each part, in every thread but the request's own.

    That one has what the project's middleware has set. It is the thread that makes the boundary.

    Args:
        view: The view, for serializers and for the log.
        request: The request that loaders, and the hooks, get.
        hooks: The executor's hooks for this request.
    """

    def __init__(self, view: APIView, request: Request, hooks: CallHooks) -> None:
        super().__init__(view, request)
        self._hooks = hooks
        self._thread = get_ident()

    def settle(self, name: str, *args: Any, **kwargs: Any) -> Outcome:
        """See `Boundary.settle`."""
        if get_ident() == self._thread:
            return super().settle(name, *args, **kwargs)
        settle = super().settle
        try:
            return self._hooks.around(lambda: settle(name, *args, **kwargs))
        except HookFailed as error:
            return Outcome(name, None, self._failure_of(name, error), 0.0, "loader", error)
