"""The throttle of every view of partstream: so many requests of one client, in two windows."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Final, NamedTuple

from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from .backends.loader import get_rate_limit_store
from .backends.rate_limits.base import Decision, Window
from .backends.rate_limits.memory import MemoryRateLimitStore
from .conf import SETTING, get_settings
from .exceptions import StoreUnavailable
from .identity import joined
from .keys import get_key_ring, keyed_digest
from .per_process import Kept
from .security.client_ip import bucket, client_address

#: Names of the windows, as the headers have them, and their seconds.
BURST: Final = ("burst", 10)
RATE: Final = ("rate", 60)

#: Counts while the store of the settings is down, and ``RATE_LIMIT_ON_STORE_ERROR`` says local.
_get_local_store = Kept(MemoryRateLimitStore, SETTING)


class Limit(NamedTuple):
    """One limit of a view.

    Attributes:
        name: The window's name in the headers.
        seconds: The window's length.
        requests: How many requests of one client it has room for.
        view_class: The view whose requests it counts; None: those of all views that share it.
    """

    name: str
    seconds: int
    requests: int
    view_class: type | None


class ClientLimits(NamedTuple):
    """What a view tells the throttle about one request.

    Attributes:
        client: Who is counted, see `client_key`.
        limits: The limits that count it, at least one; the burst first, since its room is back
            sooner.
    """

    client: str
    limits: list[Limit]


class ClientThrottle(BaseThrottle):
    """Takes each request out of its client's windows. Every view of partstream has it, last.

    Every request counts in ``RATE_LIMIT``, those that begin something in ``BURST_LIMIT`` as well.
    A client is a user or a credential, after REST framework's authentication; who has neither is
    counted by address, session or not, as anybody can make up a session. Views that set no limits
    of their own share their windows. Views that are not of partstream are not counted.

    Raises:
        StoreUnavailable: While the store is down and ``RATE_LIMIT_ON_STORE_ERROR`` is "closed".
    """

    def __init__(self) -> None:
        self._policy: list[tuple[str, Window]] = []
        self._decision: Decision | None = None

    def allow_request(self, request: Request, view: Any) -> bool:
        """Whether every window of the client has room for this request; if so, it is taken."""
        get_limits = getattr(view, "client_limits", None)
        # Listed in the project's settings, it meets every view.
        limits: ClientLimits | None = None if get_limits is None else get_limits(request)
        if limits is None:
            return True
        windows = [
            Window(_key(limits.client, limit), limit.requests, limit.seconds)
            for limit in limits.limits
        ]
        self._policy = [
            (limit.name, window) for limit, window in zip(limits.limits, windows, strict=True)
        ]
        decision = get_rate_limit_store().take(windows)
        if decision is None:
            on_error = get_settings().RATE_LIMIT_ON_STORE_ERROR
            if on_error == "open":
                return True
            if on_error == "closed":
                raise StoreUnavailable(get_rate_limit_store().retry_after)
            decision = _get_local_store().take(windows)
        self._decision = decision
        return decision.admitted

    def wait(self) -> float | None:
        """Seconds until the request would be admitted."""
        return self._decision.retry_after if self._decision is not None else None

    def headers(self) -> dict[str, str]:
        """``RateLimit-Policy`` and ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers-10).

        ``q`` requests in ``w`` seconds; ``r`` of them remain, and in ``t`` seconds one more.
        """
        if self._decision is None:
            return {}
        policy, state = [], []
        for (name, window), remaining, reset in zip(
            self._policy, self._decision.remaining, self._decision.resets, strict=True
        ):
            policy.append(f'"{name}";q={window.limit};w={window.seconds}')
            state.append(f'"{name}";r={remaining};t={math.ceil(reset)}')
        return {"RateLimit-Policy": ", ".join(policy), "RateLimit": ", ".join(state)}


def client_key(request: HttpRequest, identity: str | None) -> str:
    """Who is counted, as a keyed digest: a store sees no address and no credential.

    Args:
        request: Django's own request.
        identity: See `partstream.identity.counted_identity`; None: count by address.
    """
    key = get_key_ring().derive("limits")[0]
    if identity is not None:
        return _digest(key, "identity", identity)
    return _digest(key, "address", bucket(client_address(request)))


@lru_cache(maxsize=4096)
def _digest(key: bytes, kind: str, value: str) -> str:
    return keyed_digest(key, joined((kind, value)))


def _key(client: str, limit: Limit) -> str:
    own = limit.view_class
    # One class may be mounted with several limits.
    of_view = f":{_label(own)}:{limit.requests}" if own is not None else ""
    return f"partstream:{{{client}}}:{limit.name}{of_view}"


@lru_cache(maxsize=1024)
def _label(view_class: type) -> str:
    name = joined((view_class.__module__, view_class.__qualname__))
    return keyed_digest(b"partstream", name)
