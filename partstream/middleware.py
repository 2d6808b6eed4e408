"""The middleware, all of it optional: views are as safe without.

Both classes serve WSGI and ASGI, in any order and place, and act on the views of partstream only;
the requests of all others pass through. A view hidden by a decorator that keeps nothing of it
(``functools.wraps`` does) is passed over, and guards itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

from . import request_ids
from .exceptions import PartstreamError
from .mixins import CursorMixin
from .mixins.base import PartsMixin
from .mixins.guard import GuardMixin
from .security.admission import admit
from .wire.responses import NOT_STORED, VARY

GetResponse = Callable[[HttpRequest], Any]
Callback = Callable[..., Any]

#: What decides by the class and its route alone which parameters are the protocol's.
_DEFAULT_HOOKS: Final = frozenset(
    {
        GuardMixin.get_protocol_parameters,
        CursorMixin.get_protocol_parameters,
        CursorMixin.get_cursor_query_param,
        None,  # A view that has no cursors.
    }
)


def _is_ours(callback: Callback) -> bool:
    """Whether a resolved view is one of partstream. DRF names the class so on what it makes."""
    view_class = getattr(callback, "cls", None)
    return isinstance(view_class, type) and issubclass(view_class, PartsMixin)


class _Middleware(ABC):
    """One class for both worlds: Django hands on what is async, or sync, and takes it back so."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)
            # So that Django need not go to a thread for it.
            self.process_view = self._process_view_async  # type: ignore[method-assign]

    def __call__(self, request: HttpRequest) -> Any:
        """The response; what is awaitable is handed on as it is."""
        return self.get_response(request)

    def process_view(
        self,
        request: HttpRequest,
        callback: Callback,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """The answer that takes the place of the view's, if there is one."""
        view = self._view_instead(request, callback)
        return view(request, *args, **kwargs) if view is not None else None

    async def _process_view_async(
        self,
        request: HttpRequest,
        callback: Callback,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        view = self._view_instead(request, callback)
        return await sync_to_async(view)(request, *args, **kwargs) if view is not None else None

    @abstractmethod
    def _view_instead(self, request: HttpRequest, callback: Callback) -> Callback | None:
        """What answers in the place of a resolved view; None: the view itself."""


class ProgressiveDeliveryMiddleware(_Middleware):
    """Gives every answer of a partstream view its id and its headers, whoever makes the answer.

    A view sees to that for its own answers. Those that are made in its place, such as the page of
    an exception that nobody handled or a redirect of another middleware, get it here:
    ``X-Request-ID``, and ``Cache-Control: private, no-store`` and ``Vary`` where they say nothing
    of their own. Every line that is logged meanwhile, by whomever, knows the id (see
    ``partstream.logs.RequestIDFilter``).

    Put it first in ``MIDDLEWARE``, or right after Django's ``SecurityMiddleware``.
    """

    def __call__(self, request: HttpRequest) -> Any:
        """The response, or what it is awaited from."""
        if self._is_async:
            return self._answer_async(request)
        before = request_ids.current_request_id()
        try:
            return self._finished(request, self.get_response(request))
        finally:
            request_ids.set_current(before)

    async def _answer_async(self, request: HttpRequest) -> HttpResponseBase:
        before = request_ids.current_request_id()
        try:
            return self._finished(request, await self.get_response(request))
        finally:
            request_ids.set_current(before)

    def _view_instead(self, request: HttpRequest, callback: Callback) -> None:
        if _is_ours(callback):
            request._partstream_is_ours = True  # type: ignore[attr-defined]
            request_ids.set_current(request_ids.request_id(request))

    def _finished(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if getattr(request, "_partstream_is_ours", False):
            headers = response.headers
            headers[request_ids.HEADER] = request_ids.request_id(request)
            headers.setdefault("Cache-Control", NOT_STORED)
            patch_vary_headers(response, VARY.split(", "))
        return response


class SecurityMiddleware(_Middleware):
    """Refuses addresses and malformed requests before the view's work begins.

    The answer is the one that the view itself would give, but it comes before the middleware
    further down looks at the view, and before ``ATOMIC_REQUESTS`` opens a transaction.

    Put it before the middleware that does work for a view.
    """

    def _view_instead(self, request: HttpRequest, callback: Callback) -> Callback | None:
        if not _is_ours(callback) or _is_admitted(request, callback):
            return None
        return _bare(callback)


def _is_admitted(request: HttpRequest, callback: Callback) -> bool:
    try:
        admit(request, partial(_reserved_parameters, callback))
    except PartstreamError:
        return False
    return True


def _reserved_parameters(callback: Any) -> frozenset[str] | None:
    """The query parameters that are the protocol's on this route.

    None where a hook of an instance decides it: that view looks at its query itself.
    """
    view_class, initkwargs = callback.cls, callback.initkwargs
    names = ("get_protocol_parameters", "get_cursor_query_param")
    if not _DEFAULT_HOOKS.issuperset(
        initkwargs.get(name, getattr(view_class, name, None)) for name in names
    ):
        return None
    reserved: frozenset[str] = view_class.get_reserved_parameters(initkwargs)
    return reserved


def _bare(callback: Any) -> Callback:
    """The view without its decorators: it refuses what was refused here, in its own manner."""
    actions = getattr(callback, "actions", None)
    view: Callback = callback.cls.as_view(
        *([actions] if actions is not None else []), **callback.initkwargs
    )
    return view
