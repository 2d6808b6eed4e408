"""What a view has found for the request that it answers, so that it finds it only once."""

from __future__ import annotations

from rest_framework.request import Request

from partstream.identity import Dimension
from partstream.parts.loader_requests import LoaderRequest
from partstream.resolution.resolver import Resolver
from partstream.walks.query import WalkQuery
from partstream.walks.walk import Walk


class RequestState:
    """What the mixins have found for one request; None: not yet.

    Attributes:
        request: The request.
        identity: What `get_identity` and the ``IDENTITY`` function returned.
        query: The request's query, in a view that has cursors.
        walk: The request's walk.
        resolver: The request's parts.
        loader_request: The request that loaders see, if it is another one.
        leaves_work: Whether loaders may run on after the response.
    """

    identity: tuple[str | None, Dimension] | None = None
    query: WalkQuery | None = None
    walk: Walk | None = None
    resolver: Resolver | None = None
    loader_request: LoaderRequest | None = None
    leaves_work: bool = False

    def __init__(self, request: Request) -> None:
        self.request = request
