"""The mixin that delivers parts chunk by chunk."""

from __future__ import annotations

from collections.abc import Collection

from django.http.response import HttpResponseBase
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from partstream.backends.loader import get_cache_store
from partstream.conf import get_settings
from partstream.exceptions import Misuse
from partstream.parts.layout import Layout
from partstream.parts.outcome import Outcome
from partstream.resolution.request_parts import RequestParts
from partstream.resolution.resolver import Resolver
from partstream.walks.chunk import Chunk
from partstream.walks.walk_cache import WalkCache
from partstream.wire import envelopes
from partstream.wire.prototypes import put
from partstream.wire.responses import PartsResponse, next_link

from .attributes import budget_problem, checked
from .base import PartsMixin
from .cursor import CursorMixin, is_retryable


class ChunkMixin(PartsMixin):
    """Delivers parts chunk by chunk. Verb: `walk_response`.

    Without `CursorMixin` a walk cannot continue: its one response has every part.
    """

    #: Parts in one response; None: ``DEFAULT_CHUNK_SIZE``. At most ``MAX_PARTS_PER_REQUEST``.
    chunk_size: int | None = None
    #: Seconds after which a chunk is sent with the parts that are ready; the others move to the
    #: next chunk. None: ``CHUNK_TIME_BUDGET``. Needs an executor that runs parts side by side, for
    #: the view or for one of its parts.
    time_budget: float | None = None

    def get_chunk_size(self) -> int:
        """The number of parts in one response."""
        settings = get_settings()
        size = settings.DEFAULT_CHUNK_SIZE
        if self.chunk_size is not None:
            size = checked(type(self), "chunk_size", self.chunk_size)
        return min(size, settings.MAX_PARTS_PER_REQUEST)

    def get_time_budget(self) -> float | None:
        """Seconds after which a chunk is sent with the parts that are ready; None: no limit."""
        budget = self.time_budget
        if budget is None:
            return get_settings().CHUNK_TIME_BUDGET
        return float(checked(type(self), "time_budget", budget))

    def walk_response(self, request: Request) -> HttpResponseBase:
        """The next chunk of the request's walk.

        In a view with the `StreamMixin`, a client that asks for a stream gets all that remains of
        the walk, see `StreamMixin.stream_response`.

        Raises:
            CursorError: When the request's cursor cannot be used.
            StreamsFull: When there is no room for a stream.
        """
        if type(request.accepted_renderer) is not JSONRenderer:
            stream = self._streamed(request)
            if stream is not None:
                return stream
        if not isinstance(self, CursorMixin):
            return self._whole_response(request)
        cursor = self.read_cursor(request)
        resolver = self.get_resolver(request)
        layout = resolver.parts.layout
        visible = resolver.parts.visible if layout.guarded else None
        chunk = Chunk(layout, cursor, self.get_chunk_size(), visible)
        caching = self.get_enable_caching()
        budget = self._checked_budget(resolver.parts, caching)
        if request._request.method == "HEAD":
            return PartsResponse()

        cache = None
        if caching and (
            budget is not None or (cursor is not None and self._may_have_kept(layout, chunk.names))
        ):
            cache = self._make_walk_cache(request)
        outcomes = resolver.resolve(chunk.names, walk=cache, budget=budget)
        if len(outcomes) < len(chunk.names):
            chunk.move([outcome.name for outcome in outcomes])
            self._state_of(request).leaves_work = True
        if type(request.accepted_renderer) is not JSONRenderer:
            outcomes = self._delivered(request, outcomes)
        failed = [outcome for outcome in outcomes if outcome.failure is not None]
        slow = layout.slow.note(resolver.parts.outcomes.values(), get_settings().CACHE_MIN_DURATION)
        # The first request of a walk has no cursor, so it cannot be repeated.
        if caching and (layout.gated or (slow and cursor is not None)):
            cache = cache or self._make_walk_cache(request)
            self._keep(cache, resolver, chunk, failed)
        token = self.issue_cursor(request, chunk.remaining) if chunk.left else None
        seen = resolver.observation
        shown = None if seen is None else self._shown_costs(request, seen)
        response = PartsResponse(
            b"".join(
                envelopes.envelope(
                    outcomes,
                    total=chunk.total,
                    current=chunk.total - chunk.left,
                    cursor=token,
                    retry_cursors=self._retry_cursors(request, failed) if failed else None,
                    manifest_url=self.get_links(request).get("manifest"),
                    pending=chunk.pending() if cursor is None else None,
                    debug=None if shown is None else self._debug_json(request, shown),
                )
            )
        )
        if token is not None:
            link = next_link(self._get_query(request).with_token(token))
            if link is not None:
                put(response.headers, "Link", link)
        if shown is not None:
            self._add_server_timing(response, shown)
        return response

    def _may_have_kept(self, layout: Layout, names: Collection[str]) -> bool:
        """Whether the walk may have kept one of these parts, or something that they depend on."""
        return (
            layout.gated
            or layout.slow.may_include(names, get_settings().CACHE_MIN_DURATION)
            # Another request of the walk may have had a time budget, and left work running.
            or type(self).get_time_budget is not ChunkMixin.get_time_budget
        )

    def _checked_budget(self, parts: RequestParts, caching: bool) -> float | None:
        """The time budget, after checking that the view can keep it."""
        budget = self.get_time_budget()
        if budget is None or not parts.executor.watches_time:
            return None
        missing = budget_problem(parts.executors(), caching, get_cache_store())
        if missing:
            raise Misuse(f"{type(self).__name__} has a time budget of {budget} s, but {missing}")
        return budget

    def _keep(
        self, cache: WalkCache, resolver: Resolver, chunk: Chunk, failed: list[Outcome]
    ) -> None:
        """Cache parts that later parts, a retry or a repeated cursor may need again."""
        layout = resolver.parts.layout
        remaining: Collection[int] = chunk.remaining if chunk.left else ()
        if failed and layout.gated:
            retried = (layout.index[outcome.name] for outcome in failed if is_retryable(outcome))
            remaining = {*remaining, *retried}
        threshold = get_settings().CACHE_MIN_DURATION if cache.reads else None
        cache.keep(resolver.parts.outcomes.values(), layout, remaining, threshold)

    def _whole_response(self, request: Request) -> Response:
        """Every part in one response, for a view without cursors."""
        resolver = self.get_resolver(request)
        most = get_settings().MAX_PARTS_PER_REQUEST
        if self.chunk_size is not None or len(resolver.parts) > most:
            raise Misuse(
                f"{type(self).__name__} has no CursorMixin, so all its {len(resolver.parts)} parts "
                f"go into one response, where chunk_size has no effect and {most} parts are the "
                "maximum (MAX_PARTS_PER_REQUEST). Write "
                f"class {type(self).__name__}(CursorMixin, ChunkMixin, …)."
            )
        if request._request.method == "HEAD":
            return PartsResponse()
        self.identity_of(request)
        names = [resolver.parts.layout.names[index] for index in resolver.parts.visible]
        outcomes = resolver.resolve(names)
        if type(request.accepted_renderer) is not JSONRenderer:
            outcomes = self._delivered(request, outcomes)
        seen = resolver.observation
        shown = None if seen is None else self._shown_costs(request, seen)
        response = PartsResponse(
            b"".join(
                envelopes.envelope(
                    outcomes,
                    total=len(names),
                    current=len(names),
                    manifest_url=self.get_links(request).get("manifest"),
                    pending=b"[]",
                    debug=None if shown is None else self._debug_json(request, shown),
                )
            )
        )
        if shown is not None:
            self._add_server_timing(response, shown)
        return response
