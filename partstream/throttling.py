"""The throttle of partstream's views: it limits each client's requests in two windows."""

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
from .security.exemptions import is_exempt

#: The windows' names, as in the headers, and their lengths in seconds.
BURST: Final = ("burst", 10)
RATE: Final = ("rate", 60)

#: Counts requests while the store is down and ``RATE_LIMIT_ON_STORE_ERROR`` is "local".
_get_local_store = Kept(MemoryRateLimitStore, SETTING).get


class Limit(NamedTuple):
    """One limit of a view.

    Attributes:
        name: The window's name in the headers.
        seconds: The window's length.
        requests: The number of requests that one client may make within it.
        view_class: The view whose requests it counts; None: all views that share the window.
    """

    name: str
    seconds: int
    requests: int
    view_class: type | None


@lru_cache(maxsize=1024)
def get_limit(name: str, seconds: int, requests: int, view_class: Any) -> Limit:
    """A `Limit`, made once for each view: a named tuple takes longer to make than to find."""
    return Limit(name, seconds, requests, view_class)


class ClientLimits(NamedTuple):
    """The limits of a view for one request.

    Attributes:
        client: The client to count, see `client_key`.
        limits: The limits that apply, at least one. The burst limit comes first, since it has
            room again sooner.
    """

    client: str
    limits: tuple[Limit, ...]


class ClientThrottle(BaseThrottle):
    """Counts each request in its client's windows. It is the last throttle of every view.

    Every request counts towards ``RATE_LIMIT``; requests that begin a walk also count towards
    ``BURST_LIMIT``. A client is a user or a credential, after REST framework's authentication. A
    client without either is counted by address, with or without a session, since a client can make
    up any number of sessions. Views that set no limits of their own share their windows. Views that
    are not partstream's are not counted, nor are the requests of `partstream.testing.collect`.

    Raises:
        StoreUnavailable: While the store is down and ``RATE_LIMIT_ON_STORE_ERROR`` is "closed".
    """

    def __init__(self) -> None:
        self._limits: tuple[Limit, ...] = ()
        self._decision: Decision | None = None

    def allow_request(self, request: Request, view: Any) -> bool:
        """Whether every window of the client admits this request; if so, the request is counted."""
        get_limits = getattr(view, "client_limits", None)
        # Listed in the project's settings, the throttle is called for other views too.
        limits: ClientLimits | None = None if get_limits is None else get_limits(request)
        if limits is None or is_exempt.get():
            return True
        self._limits = tuple(limits.limits)
        windows = _windows(limits.client, self._limits)
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

        ``q`` requests in ``w`` seconds; ``r`` remain, and after ``t`` seconds one more.
        """
        decision = self._decision
        if decision is None:
            return {}
        state = [
            f'"{limit.name}";r={left};t={math.ceil(reset)}'
            for limit, left, reset in zip(
                self._limits, decision.remaining, decision.resets, strict=True
            )
        ]
        return {"RateLimit-Policy": _policy(self._limits), "RateLimit": ", ".join(state)}


def client_key(request: HttpRequest, identity: str | None) -> str:
    """The client to count, as a keyed digest: stores see no address and no credential.

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


@lru_cache(maxsize=1024)
def _windows(client: str, limits: tuple[Limit, ...]) -> tuple[Window, ...]:
    """What the store counts for a client."""
    return tuple(Window(_key(client, limit), limit.requests, limit.seconds) for limit in limits)


@lru_cache(maxsize=256)
def _policy(limits: tuple[Limit, ...]) -> str:
    return ", ".join(f'"{limit.name}";q={limit.requests};w={limit.seconds}' for limit in limits)


def _key(client: str, limit: Limit) -> str:
    own = limit.view_class
    # A class may be mounted more than once, with different limits.
    of_view = f":{_label(own)}:{limit.requests}" if own is not None else ""
    return f"partstream:{{{client}}}:{limit.name}{of_view}"


@lru_cache(maxsize=1024)
def _label(view_class: type) -> str:
    name = joined((view_class.__module__, view_class.__qualname__))
    return keyed_digest(b"partstream", name)
