"""The throttle of every view of partstream: so many requests of one client, in two windows."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from .backends.loader import get_rate_limit_store
from .backends.rate_limits.base import Decision, Window
from .backends.rate_limits.memory import MemoryRateLimitStore
from .conf import MAX_LIMIT, SETTING, get_settings
from .exceptions import StoreUnavailable
from .identity import joined, session_key, with_dimension
from .keys import get_key_ring, keyed_digest
from .mixins.attributes import window_limit
from .per_process import Kept
from .security.client_ip import bucket, client_address

if TYPE_CHECKING:
    from .mixins.guard import GuardMixin

#: Names of the windows, as the headers have them, and their seconds.
BURST: Final = ("burst", 10)
RATE: Final = ("rate", 60)

#: Counts while the store of the settings is down, and ``RATE_LIMIT_ON_STORE_ERROR`` says local.
_get_local_store = Kept(MemoryRateLimitStore, SETTING)


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
        if not hasattr(view, "counts_as_burst"):
            return True  # Listed in the project's settings, it meets every view.
        self._policy = policy = _windows(request, view)
        if not policy:
            return True
        windows = [window for _, window in policy]
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


def _windows(request: Request, view: GuardMixin) -> list[tuple[str, Window]]:
    """The windows of a request, by name; the burst first, which is given back more easily."""
    limits = []
    # Before a store is asked: a value that is none would look like a fault of the store.
    burst_limit = _checked(view, "burst_limit", view.get_burst_limit())
    if burst_limit is not None and view.counts_as_burst(request):
        limits.append((BURST, burst_limit, view.has_own_burst_limit()))
    rate_limit = _checked(view, "rate_limit", view.get_rate_limit())
    if rate_limit is not None:
        limits.append((RATE, rate_limit, view.has_own_rate_limit()))
    if not limits:
        return []
    client = _client(request, view)
    return [
        (name, Window(_key(client, name, type(view), limit if own else None), limit, seconds))
        for (name, seconds), limit, own in limits
    ]


def _checked(view: GuardMixin, attribute: str, limit: Any) -> int | None:
    if limit is None or (type(limit) is int and 1 <= limit <= MAX_LIMIT):
        return limit
    own = attribute if getattr(view, attribute) is not None else f"get_{attribute}()"
    return window_limit(type(view), own, limit)


def _client(request: Request, view: GuardMixin) -> str:
    """Who is counted, as a keyed digest: a store sees no address and no credential."""
    key = get_key_ring().derive("limits")[0]
    identity = _identity(request, view)
    if identity is not None:
        return _digest(key, "identity", identity)
    return _digest(key, "address", bucket(client_address(request._request)))


def _identity(request: Request, view: GuardMixin) -> str | None:
    """What the view says of a user or of a credential; a session is neither.

    Of sessions anybody can have as many as they like, and with each they would be somebody new.
    """
    session = session_key(request)
    if request.user is not None and request.user.is_authenticated:
        identity = view.identify(request)[0]
        is_session = session is not None and identity == f"session:{session}"
        return None if is_session else view.identity_of(request)
    if request.auth is None:
        return None
    if session is None:
        return view.identity_of(request)
    dimension = view.identify(request)[1]
    # The credential may say nothing, and the view may wrap what is left: it is asked without.
    attributes = vars(request._request)
    hidden = attributes.pop("session")
    try:
        identity = view.ask_identity(request)
    except AttributeError:
        return None  # It asks for the session itself.
    finally:
        attributes["session"] = hidden
    return with_dimension(identity, dimension)


@lru_cache(maxsize=4096)
def _digest(key: bytes, kind: str, value: str) -> str:
    return keyed_digest(key, joined((kind, value)))


def _key(client: str, name: str, view_class: type, own_limit: int | None) -> str:
    # One class may be mounted with several limits.
    of_view = f":{_label(view_class)}:{own_limit}" if own_limit is not None else ""
    return f"partstream:{{{client}}}:{name}{of_view}"


@lru_cache(maxsize=1024)
def _label(view_class: type) -> str:
    name = joined((view_class.__module__, view_class.__qualname__))
    return keyed_digest(b"partstream", name)
