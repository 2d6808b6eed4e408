"""The mixins: verbs and ``get_X()`` hooks, to be combined with an ``APIView`` in any order.

None of them binds an HTTP method: a view writes its own ``get()``, or inherits a ready one from
``partstream.views``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from django.http import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from . import envelopes
from .attributes import budget_problem, cursor_parameter, positive, seconds, switch
from .backends.cursors.base import CursorCodec
from .backends.executors.base import Executor
from .backends.loader import get_cache_store, get_cursor_codec
from .bases import PartsMixin
from .chunks import Chunk
from .conf import get_settings
from .cursors import Cursor
from .exceptions import Misuse, UnknownPart
from .fragments import NotSerializable
from .identity import Binding, bound_identity
from .keys import get_key_ring
from .outcomes import Outcome
from .parts import LazyPart
from .resolution import Resolver
from .responses import PartsResponse, conditional, next_link
from .security.validation import MAX_QUERY_LENGTH, sole_token, validate_keys
from .walk_cache import WalkCache
from .walks import Walk


def _is_retryable(outcome: Outcome) -> bool:
    return outcome.failure is not None and outcome.failure.retryable


class CursorMixin(PartsMixin):
    """Reads and issues cursors. Verbs: `read_cursor`, `issue_cursor`.

    Example::

        class Positions(CursorMixin, APIView):
            parts = [("first", 1), ("second", 2), ("third", 3)]

            def get(self, request):
                cursor = self.read_cursor(request)
                remaining = cursor.indices() if cursor else range(3)
                return Response({"next": self.issue_cursor(request, remaining[1:])})
    """

    #: Seconds that a cursor can be followed; None: ``DEFAULT_CURSOR_TTL``.
    cursor_ttl: int | None = None
    #: Name of the query parameter that carries the token.
    cursor_query_param: str = "cursor"

    _walk: Walk | None = None

    def get_cursor_ttl(self) -> int:
        """Seconds that a cursor can be followed."""
        ttl = self.cursor_ttl if self.cursor_ttl is not None else get_settings().DEFAULT_CURSOR_TTL
        return positive(type(self), "cursor_ttl", ttl)

    def get_cursor_query_param(self) -> str:
        """Name of the query parameter that carries the token."""
        return self.cursor_query_param

    def get_cursor_codec(self) -> CursorCodec:
        """What turns cursors into tokens: the codec of the settings."""
        return get_cursor_codec()

    @classmethod
    def get_reserved_parameters(cls, initkwargs: Mapping[str, Any]) -> frozenset[str]:
        """See `GuardMixin.get_reserved_parameters`; the cursor's is one of them here."""
        parameter = initkwargs.get("cursor_query_param", cls.cursor_query_param)
        # A property is known on an instance only.
        own = {parameter} if isinstance(parameter, str) else ()
        return super().get_reserved_parameters(initkwargs).union(own)

    def get_protocol_parameters(self) -> frozenset[str]:
        """See `GuardMixin.get_protocol_parameters`; the cursor's is what the hook says."""
        parameter = self.get_cursor_query_param()
        return super().get_protocol_parameters() - {self.cursor_query_param} | {parameter}

    def counts_as_burst(self, request: Request) -> bool:
        """See `GuardMixin.counts_as_burst`; what goes on with a walk begins nothing."""
        if not super().counts_as_burst(request):
            return False
        query = request._request.META.get("QUERY_STRING")
        if not query:
            return True
        is_plain = sole_token(query, self.get_cursor_query_param()) is not None
        has_keys = not is_plain and "keys" in request.query_params
        if has_keys and "keys" in self.get_protocol_parameters():
            return True  # By key, whatever cursor is beside it.
        return not self._get_walk(request).goes_on

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """See `GuardMixin.finalize_response`."""
        self._walk = None
        return super().finalize_response(request, response, *args, **kwargs)

    def read_cursor(self, request: Request) -> Cursor | None:
        """The cursor of this request; None where a walk begins.

        It is decoded and bound once a request, however often it is read.

        Raises:
            InvalidCursor: When it is not a cursor of this walk, whatever the reason.
            CursorExpired: When it is older than ``cursor_ttl``.
            StaleCursor: When the parts that the walk began with are no longer declared.
        """
        return self._get_walk(request).read(self.get_resolver(request).parts.layout)

    def issue_cursor(self, request: Request, remaining: Sequence[int]) -> str:
        """A token in the request's walk for which just these positions remain.

        Args:
            request: The request.
            remaining: Positions of declared parts, ascending; empty for the end cursor.

        Raises:
            Misuse: When the token is longer than ``MAX_CURSOR_SIZE``.
        """
        layout = self.get_resolver(request).parts.layout
        try:
            return self._get_walk(request).issue(layout, remaining)
        except ValueError as error:
            raise Misuse(f"{type(self).__name__}: {error}") from error

    def _retry_cursors(self, request: Request, failed: Iterable[Outcome]) -> dict[str, str]:
        index = self.get_resolver(request).parts.layout.index
        return {
            outcome.name: self.issue_cursor(request, [index[outcome.name]])
            for outcome in failed
            if _is_retryable(outcome)
        }

    def _is_plain(self, request: Request) -> bool:
        query = request._request.META.get("QUERY_STRING", "")
        return len(query) <= MAX_QUERY_LENGTH and (
            sole_token(query, self.get_cursor_query_param()) is not None
        )

    def _get_walk(self, request: Request) -> Walk:
        walk = self._walk
        if walk is None or walk.request is not request:
            parameter = cursor_parameter(type(self), self.get_cursor_query_param())
            query = request._request.META.get("QUERY_STRING")
            token = sole_token(query, parameter) if query else None
            plain = token is not None or not query
            walk = self._walk = Walk(
                request,
                ([token] if token else []) if plain else request.query_params.getlist(parameter),
                codec=self.get_cursor_codec(),
                ttl=self.get_cursor_ttl(),
                longest=get_settings().MAX_CURSOR_SIZE,
                binding=Binding(
                    request,
                    type(self),
                    bound_identity(*self.identify(request)),
                    None if plain else self.get_protocol_parameters(),
                    get_key_ring(),
                ),
            )
        return walk


class ChunkMixin(PartsMixin):
    """Delivers parts chunk by chunk. Verb: `walk_response`.

    Without `CursorMixin` a walk cannot go on: its one response holds every part.
    """

    #: Parts in one response; None: ``DEFAULT_CHUNK_SIZE``. ``MAX_PARTS_PER_REQUEST`` bounds it.
    chunk_size: int | None = None
    #: Seconds after which a chunk goes out with what is ready, and the rest of it moves to the
    #: next one; None: ``CHUNK_TIME_BUDGET``. Needs an executor that runs parts side by side.
    time_budget: float | None = None
    #: Whether a walk keeps what may be read again; None: ``ENABLE_CACHING``.
    enable_caching: bool | None = None

    def get_chunk_size(self) -> int:
        """Parts in one response."""
        settings = get_settings()
        size = self.chunk_size if self.chunk_size is not None else settings.DEFAULT_CHUNK_SIZE
        return min(positive(type(self), "chunk_size", size), settings.MAX_PARTS_PER_REQUEST)

    def get_time_budget(self) -> float | None:
        """Seconds after which a chunk goes out with what is ready; None: it waits for all."""
        budget = self.time_budget
        if budget is None:
            return get_settings().CHUNK_TIME_BUDGET
        return seconds(type(self), "time_budget", budget)

    def get_enable_caching(self) -> bool:
        """Whether a walk keeps what may be read again."""
        enabled = self.enable_caching
        if enabled is None:
            return get_settings().ENABLE_CACHING
        return switch(type(self), "enable_caching", enabled)

    def walk_response(self, request: Request) -> Response:
        """The next chunk of the walk that the request belongs to.

        Raises:
            CursorError: When the request's cursor cannot be followed.
        """
        if not isinstance(self, CursorMixin):
            return self._whole_response(request)
        cursor = self.read_cursor(request)
        resolver = self.get_resolver(request)
        chunk = Chunk(resolver.parts.layout, cursor, self.get_chunk_size(), resolver.visible)
        cache, budget = (
            self._walk_cache(request, cursor, resolver),
            self._checked_budget(resolver.executor),
        )
        if request._request.method == "HEAD":
            return PartsResponse()

        outcomes = resolver.resolve(chunk.names, walk=cache, budget=budget)
        if len(outcomes) < len(chunk.names):
            chunk.move([outcome.name for outcome in outcomes])
        failed = [outcome for outcome in outcomes if outcome.failure is not None]
        if cache is not None:
            self._keep(cache, resolver, chunk, failed)
        token = self.issue_cursor(request, chunk.remaining) if chunk.left else None
        response = PartsResponse(
            envelopes.envelope(
                outcomes,
                total=chunk.total,
                current=chunk.total - chunk.left,
                cursor=token,
                retry_cursors=self._retry_cursors(request, failed) if failed else None,
                manifest_url=self.get_links(request).get("manifest"),
                pending=chunk.pending() if cursor is None else None,
            )
        )
        if token is not None:
            link = next_link(request, self.get_cursor_query_param(), token)
            if link is not None:
                response.headers["Link"] = link
        return response

    def _walk_cache(
        self, request: Request, cursor: Cursor | None, resolver: Resolver
    ) -> WalkCache | None:
        if not isinstance(self, CursorMixin) or not self.get_enable_caching():
            return None
        walk = self._get_walk(request)
        return WalkCache(
            lambda: resolver.scope.walk_prefix(walk.id),
            ttl=get_settings().CACHE_TTL,
            reads=cursor is not None,
        )

    def _checked_budget(self, executor: Executor) -> float | None:
        """The time budget, if what it needs is there."""
        budget = self.get_time_budget()
        if budget is None or not executor.watches_time:
            return None
        missing = budget_problem(executor, self.get_enable_caching(), get_cache_store())
        if missing:
            raise Misuse(f"{type(self).__name__} has a time budget of {budget} s, and {missing}")
        return budget

    def _keep(
        self, cache: WalkCache, resolver: Resolver, chunk: Chunk, failed: list[Outcome]
    ) -> None:
        """Keep what may be read again: by a part to come, by a retry, by a repeated cursor."""
        layout = resolver.parts.layout
        remaining: Collection[int] = chunk.remaining if chunk.left else ()
        if failed and layout.gated:
            retried = (layout.index[outcome.name] for outcome in failed if _is_retryable(outcome))
            remaining = {*remaining, *retried}
        # The first request of a walk cannot be repeated: it has no cursor.
        slow = get_settings().CACHE_MIN_DURATION if cache.reads else None
        cache.keep(resolver.kept(remaining, slow))

    def _whole_response(self, request: Request) -> Response:
        """Every part in one response, for a view that has no cursors."""
        resolver = self.get_resolver(request)
        most = get_settings().MAX_PARTS_PER_REQUEST
        if self.chunk_size is not None or len(resolver.parts) > most:
            raise Misuse(
                f"{type(self).__name__} has no CursorMixin, so all its {len(resolver.parts)} parts "
                f"go into one response: chunk_size has no meaning, and {most} parts are the most "
                f"(MAX_PARTS_PER_REQUEST). Write class {type(self).__name__}(CursorMixin, "
                "ChunkMixin, …)."
            )
        if request._request.method == "HEAD":
            return PartsResponse()
        self.identity_of(request)
        names = [resolver.parts.layout.names[index] for index in resolver.visible]
        return PartsResponse(
            envelopes.envelope(
                resolver.resolve(names),
                total=len(names),
                current=len(names),
                manifest_url=self.get_links(request).get("manifest"),
                pending=b"[]",
            )
        )


class KeyAccessMixin(PartsMixin):
    """Delivers the parts that a client asks for. Verb: `keys_response`.

    Example::

        class Pieces(KeyAccessMixin, APIView):
            parts = [("meta", {"version": 1}), ("orders", lazy("get_orders"))]

            def get(self, request):
                return self.keys_response(request)      # ?keys=orders,meta
    """

    #: Keys in one request; None: ``MAX_KEYS_PER_REQUEST``.
    max_keys_per_request: int | None = None

    @classmethod
    def get_reserved_parameters(cls, initkwargs: Mapping[str, Any]) -> frozenset[str]:
        """See `GuardMixin.get_reserved_parameters`; ``keys`` is one of them here."""
        return super().get_reserved_parameters(initkwargs) | {"keys"}

    def get_max_keys_per_request(self) -> int:
        """Keys in one request."""
        most = self.max_keys_per_request
        if most is None:
            most = get_settings().MAX_KEYS_PER_REQUEST
        return positive(type(self), "max_keys_per_request", most)

    def keys_response(self, request: Request) -> Response:
        """The parts of ``?keys=``, in declared order.

        Raises:
            InvalidKeys: When the parameter is absent, too long, malformed or repeated.
            UnknownPart: When a key is not a part of this user's.
        """
        keys = validate_keys(request.query_params.getlist("keys"), self.get_max_keys_per_request())
        self.identity_of(request)
        resolver = self.get_resolver(request)
        layout = resolver.parts.layout
        positions = sorted(layout.index.get(key, -1) for key in keys)
        if positions[0] < 0 or not set(resolver.visible).issuperset(positions):
            raise UnknownPart
        if request._request.method == "HEAD":
            return PartsResponse()
        return PartsResponse(
            envelopes.envelope(
                resolver.resolve([layout.names[index] for index in positions]),
                total=len(resolver.visible),
                current=len(positions),
                manifest_url=self.get_links(request).get("manifest"),
            )
        )


class ManifestMixin(PartsMixin):
    """Says which parts there are for this user, and runs none of them. Verb: `manifest_response`.

    Example::

        class Contents(ManifestMixin, APIView):
            parts = [("meta", {"version": 1}), ("orders", lazy("get_orders", size="large"))]

            def get(self, request):
                return self.manifest_response(request)
    """

    def counts_as_burst(self, request: Request) -> bool:
        """See `GuardMixin.counts_as_burst`; a view that has only this runs nothing."""
        alone = not isinstance(self, (CursorMixin, ChunkMixin, KeyAccessMixin))
        return not alone and super().counts_as_burst(request)

    def manifest_response(self, request: Request) -> HttpResponseBase:
        """The manifest, or 304 where the client has it already.

        Raises:
            Misuse: When ``get_parts_manifest()`` says something that is not JSON.
        """
        resolver = self.get_resolver(request)
        layout = resolver.parts.layout
        entries: dict[str, dict[str, Any]] = {}
        for position in resolver.visible:
            name = layout.names[position]
            part = resolver.parts[name]
            is_lazy = isinstance(part, LazyPart)
            entries[name] = {
                "size": part.size if is_lazy else None,
                **resolver.described.get(name, {}),
                "dependencies": layout.dependencies[position],
                "lazy": is_lazy,
            }
        links = {name: path for name, path in self.get_links(request).items() if name != "manifest"}
        try:
            body = envelopes.manifest(entries, links)
        except NotSerializable as error:
            raise Misuse(
                f"{type(self).__name__}: get_parts_manifest() has a value that is not JSON: "
                f"{error}. Take plain data."
            ) from error
        return conditional(request, PartsResponse(body, "private, no-cache"))
