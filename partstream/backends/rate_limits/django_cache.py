"""Limits counted in one of the project's own caches, the default."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from secrets import token_hex
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django.core.cache import caches
from django.core.cache.backends.base import BaseCache, InvalidCacheBackendError
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.checks import CheckMessage, Error, Warning

from partstream.exceptions import Misuse, ProbeFailed

from ..cache_trials import check_cluster, is_of_django_redis, is_redis
from ..faults import ServiceFault
from .base import Decision, RateLimitStore, Window
from .memory import MemoryRateLimitStore

#: Seconds by which a counter outlives its window: clocks of several machines differ by less.
MARGIN = 10
#: Seconds that a request may wait for a server that hangs.
LONGEST_TIMEOUT = 0.25

_MEMORY_STORE = "partstream.backends.rate_limits.memory.MemoryRateLimitStore"
_REDIS_STORE = "partstream.backends.rate_limits.redis.RedisRateLimitStore"


class DjangoCacheRateLimitStore(RateLimitStore):
    """Uses ``django.core.cache``, with its key prefix, version and key function.

    Time is divided into fixed windows by the machine's clock. Each window has a counter that is
    incremented atomically, so a fixed window never admits more than its limit. A period that begins
    elsewhere admits at most twice the limit: all of one fixed window at its end and all of the next
    at its beginning. If that is too much, use `MemoryRateLimitStore` or `RedisRateLimitStore`.

    The windows of a request are checked one after the other. If one has no room, the earlier ones
    are decremented again.

    The cache must have an atomic ``incr``, which caches in files and databases do not have. With a
    ``DummyCache``, which keeps nothing, this process counts by itself.

    Args:
        alias: A name in ``CACHES``.
        retry_after: Seconds for which the cache is not used after a failure.

    Raises:
        Misuse: When the cache does not exist, or cannot be made.
    """

    exact = False

    def __init__(self, *, alias: str = "default", retry_after: float = 2) -> None:
        super().__init__(retry_after=retry_after)
        try:
            cache = caches[alias]
        except InvalidCacheBackendError as error:
            raise Misuse(
                f"The rate-limit store's alias is {alias!r}: {error} "
                f"Write one of those in CACHES: {', '.join(map(repr, caches.settings))}."
            ) from error
        self._alias = alias
        self._kind = type(cache)
        self._memory = MemoryRateLimitStore() if isinstance(cache, DummyCache) else None
        self.shared = not isinstance(cache, (LocMemCache, DummyCache))

    def consume(self, windows: Sequence[Window]) -> Decision:
        """See `RateLimitStore.consume`."""
        if self._memory is not None:
            return self._memory.consume(windows)
        # Looked up each time: Django makes one per thread, and closes it after each request.
        cache = caches[self._alias]
        now = time.time()
        names, used = [], []
        admitted = True
        for key, limit, seconds in windows:
            name = f"{key}:{int(now // seconds)}"
            names.append(name)
            if admitted:
                used.append(_raised(cache, name, seconds + MARGIN))
                admitted = used[-1] <= limit
                denier = len(used) - 1
            else:
                used.append(_number(cache.get(name, 0)))
        if not admitted:
            for place in range(denier + 1):
                used[place] = _lowered(cache, names[place])
        remaining, resets, wait = [], [], 0.0
        for place, (_, limit, seconds) in enumerate(windows):
            ends = (now // seconds + 1) * seconds - now
            remaining.append(max(0, limit - used[place]))
            resets.append(ends if used[place] else 0.0)
            # Other requests may have been undone meanwhile, so the denying window may have room.
            if not admitted and (used[place] >= limit or place == denier):
                wait = max(wait, ends)
        return Decision(admitted, wait, tuple(remaining), tuple(resets))

    def probe(self) -> None:
        """Count to two, and delete the counter: a cache in memory would keep it for long.

        Raises:
            ProbeFailed: When the cache counts wrongly.
            Exception: Whatever the cache raises.
        """
        if self._memory is not None:
            return
        cache, name = caches[self._alias], f"partstream.probe.{token_hex(8)}"
        counted = [_raised(cache, name, MARGIN) for _ in range(2)]
        cache.delete(name)
        if counted != [1, 2]:
            raise ProbeFailed("the cache counts wrongly")

    def check(self) -> list[CheckMessage]:
        """An error for a cache that cannot count, a warning for one that is not shared."""
        kind = self._kind.__name__
        if not self.shared:
            lost = " It keeps 300 entries by default, and a flood of clients drives out counters."
            return [
                Warning(
                    f"The cache {self._alias!r} is a {kind}: each process counts requests "
                    "separately, so with four processes a client can make four times as many "
                    f"requests as the limits allow.{lost if self._memory is None else ''}",
                    hint=f'For one process, set RATE_LIMIT_STORE to "{_MEMORY_STORE}". For more, '
                    "set alias in its OPTIONS to a cache that they share, or use "
                    f'"{_REDIS_STORE}".',
                    id="partstream.W009",
                )
            ]
        # As BaseCache does it: with a get and a set.
        if self._kind.incr is not BaseCache.incr:
            return check_cluster(self._alias)
        return [
            Error(
                f"The cache {self._alias!r} is a {kind}, whose incr() is not atomic: of requests "
                "that arrive at the same time, only one is counted.",
                hint="Set alias in the OPTIONS of RATE_LIMIT_STORE to a cache in Redis or "
                f'Memcached, or use "{_REDIS_STORE}", or for one process '
                f'"{_MEMORY_STORE}".',
                id="partstream.E006",
            )
        ]

    def check_deploy(self) -> list[CheckMessage]:
        """A warning if a Redis server that hangs would block requests for long."""
        if not is_redis(self._kind):
            return []
        by_django_redis = is_of_django_redis(self._kind)
        timeouts = _timeouts(caches.settings[self._alias])
        names = ("socket_timeout", "socket_connect_timeout")
        if all(_is_short(timeouts.get(name)) for name in names):
            return []
        options = {name.upper() if by_django_redis else name: LONGEST_TIMEOUT for name in names}
        return [
            Warning(
                f"The cache {self._alias!r} sets no timeouts of {LONGEST_TIMEOUT} s or less: a "
                "Redis server that hangs blocks the first requests for as long as redis-py waits.",
                hint=f"Set its OPTIONS to {options}, or use "
                f'"{_REDIS_STORE}", which has its own timeouts.',
                id="partstream.W010",
            )
        ]


def _raised(cache: BaseCache, name: str, ttl: int) -> int:
    """The counter after this request has been counted."""
    for _ in range(2):
        try:
            return _number(cache.incr(name), least=1)
        except ValueError:  # There is none: this is the first request, or it was just evicted.
            if cache.add(name, 1, ttl):
                return 1
    return _number(cache.incr(name), least=1)


def _lowered(cache: BaseCache, name: str) -> int:
    """The counter after this request has been undone."""
    try:
        return max(0, _number(cache.decr(name)))
    except ValueError:  # It was evicted, so there is nothing to undo.
        return 0


def _number(value: Any, least: int | None = None) -> int:
    if type(value) is not int or (least is not None and value < least):
        # A cache that ignores errors returns None, 0 or False.
        raise (TypeError if value else ServiceFault)(f"The counter in the cache is {value!r:.80}.")
    return value


def _timeouts(configured: Mapping[str, Any]) -> dict[str, Any]:
    """What the settings of a Redis cache pass to redis-py, by redis-py's names."""
    options = configured.get("OPTIONS", {})
    location = configured.get("LOCATION", "")
    # Writes go to the first one.
    first = re.split("[;,]", location)[0] if isinstance(location, str) else next(iter(location), "")
    return {
        **{name.lower(): value for name, value in options.items()},
        **options.get("CONNECTION_POOL_KWARGS", {}),
        **dict(parse_qsl(urlsplit(first).query)),
    }


def _is_short(timeout: Any) -> bool:
    try:
        return 0 < float(timeout) <= LONGEST_TIMEOUT
    except (TypeError, ValueError):
        return False
