"""The middleware, all of it optional: views are just as safe without it.

All classes serve WSGI and ASGI, in any order and position. They act on partstream's views only;
other requests pass through unchanged. A decorator that does not copy the view's attributes
(``functools.wraps`` does) hides the view from them; the view then guards itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from asyncio import CancelledError
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.core.signals import request_finished
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

from . import request_ids
from .exceptions import PartstreamError
from .mixins import CursorMixin
from .mixins.base import PartsMixin
from .mixins.guard import GuardMixin
from .performance.publication import publisher
from .resolution.measurement import Measurement
from .security.admission import admit
from .wire.responses import NOT_STORED, VARY

GetResponse = Callable[[HttpRequest], Any]
Callback = Callable[..., Any]

#: Hooks that determine the protocol's parameters from the class and its route alone.
_DEFAULT_HOOKS: Final = frozenset(
    {
        GuardMixin.get_protocol_parameters,
        CursorMixin.get_protocol_parameters,
        CursorMixin.get_cursor_query_param,
        None,  # A view without cursors.
    }
)


def _is_ours(callback: Callback) -> bool:
    """Whether a resolved view is one of partstream's: DRF sets ``cls`` on its view functions."""
    known: bool | None = getattr(callback, "_partstream_is_ours", None)
    if known is None:
        view_class = getattr(callback, "cls", None)
        known = (
            isinstance(view_class, type)
            and issubclass(view_class, PartsMixin)
            and view_class.serves_parts(getattr(callback, "initkwargs", {}))
        )
        # Each request asks. Some callables take no attributes.
        with suppress(AttributeError):
            callback._partstream_is_ours = known  # type: ignore[attr-defined]
    return known


class _Middleware(ABC):
    """One class for sync and async: the response is passed on as it is, awaitable or not."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    @abstractmethod
    def __call__(self, request: HttpRequest) -> Any:
        """The response, or an awaitable of it."""


class _ViewMiddleware(_Middleware):
    """Looks at the view of a request before it is called."""

    def __init__(self, get_response: GetResponse) -> None:
        super().__init__(get_response)
        if self._is_async:
            # So that Django does not run it in a thread.
            self.process_view = self._process_view_async  # type: ignore[method-assign]

    def __call__(self, request: HttpRequest) -> Any:
        """The response; an awaitable is passed on as it is."""
        return self.get_response(request)

    def process_view(
        self,
        request: HttpRequest,
        callback: Callback,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """The response that replaces the view's, if there is one."""
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
        """The view that replaces a resolved view; None: keep the view."""


class ProgressiveDeliveryMiddleware(_ViewMiddleware):
    """Gives each response to a partstream URL its request id and headers, whatever made it.

    A view sets them on its own responses. This middleware sets them on the responses that other
    code makes in the view's place, such as the page for an unhandled exception or a redirect by
    another middleware: ``X-Request-ID``, and ``Cache-Control: private, no-store`` and ``Vary``
    unless the response has its own. Every line logged during the request, by any logger, has the
    id (see ``partstream.logs.RequestIDFilter``).

    Put it first in ``MIDDLEWARE``, or right after Django's ``SecurityMiddleware``.
    """

    def __call__(self, request: HttpRequest) -> Any:
        """The response, or an awaitable of it."""
        if self._is_async:
            return self._answer_async(request)
        before = request_ids.current.get()
        try:
            return self._finished(request, self.get_response(request))
        finally:
            request_ids.current.set(before)

    async def _answer_async(self, request: HttpRequest) -> HttpResponseBase:
        before = request_ids.current.get()
        try:
            return self._finished(request, await self.get_response(request))
        finally:
            request_ids.current.set(before)

    def _view_instead(self, request: HttpRequest, callback: Callback) -> None:
        if _is_ours(callback):
            request._partstream_is_ours = True  # type: ignore[attr-defined]
            request_ids.current.set(request_ids.request_id(request))

    def _finished(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if getattr(request, "_partstream_is_ours", False):
            headers = response.headers
            headers[request_ids.HEADER] = request_ids.request_id(request)
            headers.setdefault("Cache-Control", NOT_STORED)
            patch_vary_headers(response, VARY.split(", "))
        return response


class SecurityMiddleware(_ViewMiddleware):
    """Refuses addresses and malformed requests before the view's work begins.

    The response is the same as the view's own, but comes before the middleware further down sees
    the view, and before ``ATOMIC_REQUESTS`` opens a transaction.

    Put it before the middleware that does work for the view.
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
    """The protocol's query parameters on this route.

    None where an instance's hook determines them: such a view checks its query itself.
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
    """The undecorated view: it refuses the request again, with its own response."""
    actions = getattr(callback, "actions", None)
    view: Callback = callback.cls.as_view(
        *([actions] if actions is not None else []), **callback.initkwargs
    )
    return view


class PerformanceMiddleware(_Middleware):
    """Measures the responses of partstream's views, for ``PerformanceMonitor``.

    It measures how long a response takes, with everything that middleware and authentication do
    around the view, and how each part fared. A stream is measured until it ends. Under
    ``TRACK_PERFORMANCE`` it also counts database queries, in all threads and without ``DEBUG``, and
    measures memory. Once a second at most, and after a response has been sent, the process
    publishes its figures in the cache store. ``ENABLE_MONITORING`` switches it off.

    Put it first in ``MIDDLEWARE``: it does not see what happens before it.
    """

    def __init__(self, get_response: GetResponse) -> None:
        super().__init__(get_response)
        request_finished.connect(_publish, dispatch_uid="partstream.performance")

    def __call__(self, request: HttpRequest) -> Any:
        """The response, or an awaitable of it."""
        measurement = Measurement.begin(request)
        if measurement is None:
            return self.get_response(request)
        if self._is_async:
            return self._answer_async(request, measurement)
        try:
            response = self.get_response(request)
            _end(measurement, request, response)
        finally:
            measurement.close(request)
        return response

    async def _answer_async(self, request: HttpRequest, measurement: Measurement) -> Any:
        try:
            response = await self.get_response(request)
            _end(measurement, request, response)
        except CancelledError:
            _end(measurement, request, None)
            raise
        finally:
            measurement.close(request)
        return response


def _end(measurement: Measurement, request: HttpRequest, response: HttpResponseBase | None) -> None:
    match = request.resolver_match
    if match is not None and _is_ours(match.func):
        status = 0 if response is None else response.status_code
        if measurement.has_stream:
            is_sent: bool = getattr(response, "streaming", False)
            measurement.end_with_stream(match.route, status, is_sent=is_sent)
        else:
            measurement.end(match.route, status)


def _publish(**_: Any) -> None:
    publisher.publish_if_due()
