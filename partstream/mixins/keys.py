"""The mixin that delivers the parts that a client names."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from partstream.conf import get_settings
from partstream.exceptions import UnknownPart
from partstream.logs import get_logger
from partstream.parts.layout import Layout
from partstream.parts.outcome import Failure, Outcome
from partstream.security.validation import validate_keys
from partstream.wire import envelopes
from partstream.wire.responses import PartsResponse

from .attributes import checked
from .base import PartsMixin
from .chunk import ChunkMixin
from .cursor import CursorMixin

logger = get_logger("partstream.requests")

_UNKNOWN: Final = Failure("part_unknown", retryable=False)


class KeyAccessMixin(PartsMixin):
    """Delivers the parts that a client requests. Verb: `keys_response`.

    Example::

        class Pieces(KeyAccessMixin, APIView):
            parts = [("meta", {"version": 1}), ("orders", lazy("get_orders"))]

            def get(self, request):
                return self.keys_response(request)      # ?keys=orders,meta
    """

    #: The maximum number of keys in one request; None: ``MAX_KEYS_PER_REQUEST``.
    max_keys_per_request: int | None = None
    #: Whether unknown keys are left out, and listed in ``errors``. If not, they refuse the request.
    lenient_keys: bool = False

    @classmethod
    def get_reserved_parameters(cls, initkwargs: Mapping[str, Any]) -> frozenset[str]:
        """See `GuardMixin.get_reserved_parameters`; adds ``keys``."""
        return super().get_reserved_parameters(initkwargs) | {"keys"}

    def counts_as_burst(self, request: Request) -> bool:
        """See `GuardMixin.counts_as_burst`; a request by key begins no walk, so it does not count.

        In a view that has walks, too, a request by key is one whose query has ``keys``.
        """
        if not isinstance(self, (CursorMixin, ChunkMixin)):
            return False
        query = request._request.META.get("QUERY_STRING") or ""
        # The query of most requests to continue a walk is not parsed before the cursor is read.
        has_keys = ("keys" in query or "%" in query) and "keys" in request.query_params
        if has_keys and "keys" in self.get_protocol_parameters():
            return False  # Even if it also has a cursor.
        return super().counts_as_burst(request)

    def get_max_keys_per_request(self) -> int:
        """The maximum number of keys in one request."""
        if self.max_keys_per_request is None:
            return get_settings().MAX_KEYS_PER_REQUEST
        return int(checked(type(self), "max_keys_per_request", self.max_keys_per_request))

    def get_lenient_keys(self) -> bool:
        """Whether unknown keys are left out of the response, and listed in its ``errors``.

        A key that this user may not see is answered as one that does not exist.
        """
        return bool(checked(type(self), "lenient_keys", self.lenient_keys))

    def keys_response(self, request: Request) -> Response:
        """The parts of ``?keys=``, in declared order.

        Raises:
            InvalidKeys: When the parameter is absent, too long, malformed or repeated.
            UnknownPart: When a key is not a part that this user has, unless `get_lenient_keys`.
        """
        keys = validate_keys(request.query_params.getlist("keys"), self.get_max_keys_per_request())
        self.identity_of(request)
        self._take_walk_path(request)
        resolver = self.get_resolver(request)
        layout = resolver.parts.layout
        positions = sorted(layout.index.get(key, -1) for key in keys)
        is_known = positions[0] >= 0
        if is_known and layout.guarded:  # Else every declared part is visible.
            is_known = set(resolver.parts.visible).issuperset(positions)
        unknown: list[Outcome] = []
        if not is_known:
            self._tell_of_unknown(keys, layout)
            if not self.get_lenient_keys():
                raise UnknownPart
            visible = set(resolver.parts.visible)
            positions = [position for position in positions if position in visible]
            unknown = [
                Outcome(key, None, _UNKNOWN, 0.0, "immediate")
                for key in keys
                if layout.index.get(key, -1) not in visible
            ]
        if request._request.method == "HEAD":
            return PartsResponse()
        outcomes = resolver.resolve([layout.names[index] for index in positions])
        if type(request.accepted_renderer) is not JSONRenderer:
            outcomes = self._delivered(request, outcomes)
        outcomes += unknown
        seen = resolver.observation
        shown = None if seen is None else self._shown_costs(request, seen)
        response = PartsResponse(
            b"".join(
                envelopes.envelope(
                    outcomes,
                    total=len(resolver.parts.visible),
                    current=len(positions),
                    manifest_url=self.get_links(request).get("manifest"),
                    debug=None if shown is None else self._debug_json(request, shown),
                )
            )
        )
        if shown is not None:
            self._add_server_timing(response, shown)
        return response

    def _tell_of_unknown(self, keys: Sequence[str], layout: Layout) -> None:
        """Name the keys in the log: the answer does not tell a hidden part from one that is not."""
        if logger.isEnabledFor(logging.DEBUG):
            name, asked = type(self).__name__, ", ".join(keys)
            lost = ", ".join(key for key in keys if key not in layout.index)
            if lost:
                logger.debug("%s declares no part %s (asked for: %s).", name, lost, asked)
            else:
                logger.debug("%s hides a part from this user (asked for: %s).", name, asked)
