"""The mixin that delivers a walk as one stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from partstream.conf import get_settings
from partstream.exceptions import Misuse, StreamsFull
from partstream.parts.outcome import Outcome
from partstream.renderers import STREAM_RENDERERS, StreamRenderer
from partstream.resolution.observation import Observation
from partstream.streams.bodies import AsyncBody, SyncBody
from partstream.streams.records import Records
from partstream.streams.registry import registry
from partstream.streams.stream import Stream
from partstream.walks.chunk import Chunk
from partstream.wire import costs

from .base import PartsMixin
from .cursor import CursorMixin

#: Headers that keep proxies and middleware from buffering a stream.
_UNBUFFERED = {"X-Accel-Buffering": "no", "Content-Encoding": "identity"}


def _wants_stream(request: Request) -> bool:
    """Whether a client has asked for a stream."""
    return isinstance(getattr(request, "accepted_renderer", None), StreamRenderer)


def _no_content() -> HttpResponse:
    """A response that stops a browser from reconnecting."""
    response = HttpResponse(status=204)
    del response.headers["Content-Type"]
    return response


class StreamMixin(PartsMixin):
    """Delivers all remaining parts in one response, each as soon as it is ready.

    Verb: `stream_response`. It needs the `CursorMixin`, because a client resumes a stream by
    cursor. In a view with the `ChunkMixin`, `walk_response` returns a stream to a client that asks
    for one.

    Example::

        class ReportView(StreamMixin, CursorMixin, ChunkMixin, APIView):
            parts = [("meta", {"version": 1}), ("orders", lazy("get_orders"))]

            def get(self, request):
                return self.walk_response(request)
    """

    @classmethod
    def offers_streams(cls, initkwargs: Mapping[str, Any]) -> bool:
        """Whether a route of this class returns a stream to a client that asks for one.

        System checks call it before there is an instance.

        Args:
            initkwargs: The arguments of ``as_view()`` for the route.
        """
        return True

    def get_renderers(self) -> list[BaseRenderer]:
        """The view's own renderers, then those of streams."""
        renderers: list[BaseRenderer] = super().get_renderers()
        if not self.offers_streams(vars(self)):
            return renderers
        return [*renderers, *STREAM_RENDERERS]

    def stream_response(self, request: Request) -> HttpResponseBase:
        """A response with every remaining part of the request's walk, each sent when it is ready.

        The request's renderer, a `StreamRenderer`, decides the format of the records. Loaders run
        after this method has returned, and outside of the request's transaction.

        Raises:
            CursorError: When the request's cursor cannot be used.
            StreamsFull: When this process serves ``MAX_STREAMS`` streams already.
            Misuse: When the view has no `CursorMixin`, or the request's renderer writes no stream.
        """
        renderer = getattr(request, "accepted_renderer", None)
        if not isinstance(self, CursorMixin) or not isinstance(renderer, StreamRenderer):
            raise Misuse(
                f"{type(self).__name__}.stream_response() needs the CursorMixin, and a request "
                "whose renderer is a StreamRenderer. Write class "
                f"{type(self).__name__}(StreamMixin, CursorMixin, …)."
            )
        settings, http = get_settings(), request._request
        cursor = self.read_cursor(request)
        by_header = renderer.resumes_by_header
        if by_header and (
            settings.MAX_STREAMS == 0
            or (self._get_query(request).resumes and cursor is not None and not cursor.indices())
        ):
            return _no_content()
        resolver = self.get_resolver(request)
        layout = resolver.parts.layout
        visible = resolver.parts.visible if layout.guarded else None
        chunk = Chunk(layout, cursor, len(layout.names), visible)
        headers = {"Content-Type": renderer.media_type, **_UNBUFFERED}
        if http.method == "HEAD":
            return HttpResponse(headers=headers)
        cache = self._make_walk_cache(request) if self.get_enable_caching() else None
        if cache is not None:
            cache.key_of("")  # The keys' prefix depends on the identity, so make it now.
        records = Records(
            resolver=resolver,
            walk=self._get_walk(request),
            cache=cache,
            names=chunk.names,
            total=chunk.total,
            renderer=renderer,
            manifest_url=self.get_links(request).get("manifest"),
            deliver=partial(self._delivered, request),
            debug=self._debug_of(request, resolver.observation),
            seconds=settings.STREAM_MAX_SECONDS,
            slower_than=settings.CACHE_MIN_DURATION,
            resumes=cursor is not None,
        )
        stream = Stream(
            records.ends, renderer.heartbeat, settings.STREAM_HEARTBEAT, resolver.renewal()
        )
        try:
            registry.add(stream, settings.MAX_STREAMS)
        except StreamsFull:
            if resolver.observation is not None:
                resolver.observation.refuse_stream()
            raise
        stream.begin(records.steps())
        self._state_of(request).leaves_work = True
        body = AsyncBody(stream) if isinstance(http, ASGIRequest) else SyncBody(stream)
        return StreamingHttpResponse(body, headers=headers)

    def _streamed(self, request: Request) -> HttpResponseBase | None:
        """The stream, if the client asks for one; None otherwise."""
        return self.stream_response(request) if _wants_stream(request) else None

    def _debug_of(
        self, request: Request, seen: Observation | None
    ) -> Callable[[Sequence[Outcome]], bytes] | None:
        """A function that returns ``meta.debug`` of outcomes; None: this client does not see it."""
        shown = None if seen is None else self._shown_costs(request, seen)
        if shown is None or request.query_params.get(costs.PARAMETER) != "1":
            return None
        return lambda outcomes: costs.debug_json(outcomes, (), shown.count_of)
