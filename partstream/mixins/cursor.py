"""The mixin that reads and issues cursors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rest_framework.request import Request

from partstream.backends.cursors.base import CursorCodec
from partstream.backends.loader import get_cursor_codec
from partstream.conf import get_settings
from partstream.exceptions import Misuse
from partstream.identity import bound_identity
from partstream.keys import get_key_ring
from partstream.parts.outcome import Outcome
from partstream.walks.binding import Binding
from partstream.walks.cursor import Cursor
from partstream.walks.query import WalkQuery
from partstream.walks.walk import Walk
from partstream.walks.walk_cache import WalkCache

from .attributes import checked, cursor_parameter
from .base import PartsMixin


def is_retryable(outcome: Outcome) -> bool:
    """Whether a retry may succeed where the part failed."""
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

    #: Seconds for which a cursor stays valid; None: ``DEFAULT_CURSOR_TTL``.
    cursor_ttl: int | None = None
    #: The name of the query parameter that carries the token.
    cursor_query_param: str = "cursor"
    #: Whether a walk caches parts that it may need again; None: ``ENABLE_CACHING``.
    enable_caching: bool | None = None

    def get_cursor_ttl(self) -> int:
        """Seconds for which a cursor stays valid."""
        if self.cursor_ttl is None:
            return get_settings().DEFAULT_CURSOR_TTL
        return int(checked(type(self), "cursor_ttl", self.cursor_ttl))

    def get_cursor_query_param(self) -> str:
        """The name of the query parameter that carries the token."""
        return self.cursor_query_param

    def get_enable_caching(self) -> bool:
        """Whether a walk caches parts that it may need again."""
        enabled = self.enable_caching
        if enabled is None:
            return get_settings().ENABLE_CACHING
        return bool(checked(type(self), "enable_caching", enabled))

    def get_cursor_codec(self) -> CursorCodec:
        """The codec that turns cursors into tokens: the one in the settings."""
        return get_cursor_codec()

    @classmethod
    def get_reserved_parameters(cls, initkwargs: Mapping[str, Any]) -> frozenset[str]:
        """See `GuardMixin.get_reserved_parameters`; adds the cursor's parameter."""
        parameter = initkwargs.get("cursor_query_param", cls.cursor_query_param)
        # The value of a property is known on an instance only.
        own = {parameter} if isinstance(parameter, str) else ()
        return super().get_reserved_parameters(initkwargs).union(own)

    def get_protocol_parameters(self) -> frozenset[str]:
        """See `GuardMixin.get_protocol_parameters`; adds what `get_cursor_query_param` returns."""
        parameter = self.get_cursor_query_param()
        return super().get_protocol_parameters() - {self.cursor_query_param} | {parameter}

    def counts_as_burst(self, request: Request) -> bool:
        """See `GuardMixin.counts_as_burst`; a request that continues a walk does not count."""
        if not super().counts_as_burst(request):
            return False
        query = self._get_query(request)
        begins = query.is_empty and not (query.may_resume and query.resumes)
        return begins or not self._get_walk(request).goes_on

    def read_cursor(self, request: Request) -> Cursor | None:
        """The cursor of this request; None at the beginning of a walk.

        It is decoded and verified once per request, however often you read it.

        Raises:
            InvalidCursor: When it is not a cursor of this walk, for whatever reason.
            CursorExpired: When it is older than ``cursor_ttl``.
            StaleCursor: When the parts that the walk began with are no longer declared.
        """
        return self._get_walk(request).read(self.get_resolver(request).parts.layout)

    def issue_cursor(self, request: Request, remaining: Sequence[int]) -> str:
        """A token in the request's walk for which only these positions remain.

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
            if is_retryable(outcome)
        }

    def _make_walk_cache(self, request: Request) -> WalkCache:
        """The walk cache of a request. It is empty where the request has no cursor."""
        walk, resolver = self._get_walk(request), self.get_resolver(request)
        # Its prefix is made at the first use: most chunks with a budget keep nothing.
        return WalkCache(
            lambda: resolver.parts.scope.walk_prefix(walk.id),
            ttl=get_settings().CACHE_TTL,
            reads=walk.goes_on,
        )

    def _is_plain(self, request: Request) -> bool:
        return self._get_query(request).breaks_no_rule

    def _has_protocol_parameters(self, request: Request) -> bool:
        # A query without others is one token.
        has_others = self._get_query(request).has_others
        return not has_others or super()._has_protocol_parameters(request)

    def _get_query(self, request: Request) -> WalkQuery:
        state = self._state_of(request)
        if state.query is None:
            state.query = WalkQuery(request, self.get_cursor_query_param())
        return state.query

    def _get_walk(self, request: Request) -> Walk:
        state = self._state_of(request)
        if state.walk is None:
            query = self._get_query(request)
            cursor_parameter(type(self), query.parameter)
            state.walk = Walk(
                query,
                codec=self.get_cursor_codec(),
                ttl=self.get_cursor_ttl(),
                longest=get_settings().MAX_CURSOR_SIZE,
                binding=Binding(
                    request,
                    type(self),
                    bound_identity(*self.identify(request)),
                    self.get_protocol_parameters() if query.has_others else None,
                    get_key_ring(),
                ),
            )
        return state.walk
