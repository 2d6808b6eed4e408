"""Limits counted in one of the project's own caches, the default."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django.core.cache import caches
from django.core.cache.backends.base import BaseCache, InvalidCacheBackendError
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.checks import CheckMessage, Error, Warning

from partstream.exceptions import Misuse

from ..cache_trials import check_cluster, is_of_django_redis, is_redis
from ..faults import ServiceFault
from .base import Decision, RateLimitStore, Window
from .memory import MemoryRateLimitStore

#: Seconds for which a counter outlives its window: clocks of several machines differ by less.
MARGIN = 10
#: Seconds that a request may wait for a server that hangs.
LONGEST_TIMEOUT = 0.25

_MEMORY_STORE = "partstream.backends.rate_limits.memory.MemoryRateLimitStore"
_REDIS_STORE = "partstream.backends.rate_limits.redis.RedisRateLimitStore"


class DjangoCacheRateLimitStore(RateLimitStore):
    """Over ``django.core.cache``, so with its key prefix, version and key function.

    Time is cut into fixed windows by the machine's clock, and each has a counter that is raised
    in one atomic step: a fixed window never has more than its limit. A window that begins
    elsewhere has at most twice the limit, all of one fixed window at its end and all of the next
    at its beginning. Where that is too much, take `MemoryRateLimitStore` or `RedisRateLimitStore`.

    The windows of a request are asked one after the other, and where one has no room, those
    before it get back what was taken.

    The cache has to have an atomic ``incr``, which those in files and databases have not. A
    ``DummyCache`` keeps nothing, and this process counts by itself.

    Args:
        alias: A name in ``CACHES``.
        retry_after: Seconds for which the cache is left alone after a fault.

    Raises:
        Misuse: When there is no such cache, or it cannot be made.
    """

    exact = False

    def __init__(self, *, alias: str = "default", retry_after: float = 2) -> None:
        super().__init__(retry_after=retry_after)
        try:
            cache = caches[alias]
        except InvalidCacheBackendError as error:
            raise Misuse(
                f"The rate-limit store's alias is {alias!r}: {error} "
                f"Name a cache of CACHES, which has {', '.join(map(repr, caches.settings))}."
            ) from error
        self._alias = alias
        self._kind = type(cache)
        self._memory = MemoryRateLimitStore() if isinstance(cache, DummyCache) else None
        self.shared = not isinstance(cache, (LocMemCache, DummyCache))

    def consume(self, windows: Sequence[Window]) -> Decision:
        """See `RateLimitStore.consume`."""
        if self._memory is not None:
            return self._memory.consume(windows)
        # Asked each time: Django makes one a thread, and closes it after each request.
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
            # Others may have given back meanwhile, so the one that denied need not be full now.
            if not admitted and (used[place] >= limit or place == denier):
                wait = max(wait, ends)
        return Decision(admitted, wait, tuple(remaining), tuple(resets))

    def check(self) -> list[CheckMessage]:
        """An error for a cache that cannot count, a warning for one of each process."""
        kind = self._kind.__name__
        if not self.shared:
            lost = " It keeps 300 entries by default, and a flood of clients drives out counters."
            return [
                Warning(
                    f"The cache {self._alias!r} is a {kind}: each process counts requests by "
                    "itself, and with four a client may ask four times as often as the limits "
                    f"say.{lost if self._memory is None else ''}",
                    hint=f'For one process take "{_MEMORY_STORE}" as RATE_LIMIT_STORE. For more '
                    "name the alias of a cache that they share in its OPTIONS, or take "
                    f'"{_REDIS_STORE}".',
                    id="partstream.W009",
                )
            ]
        # What BaseCache does: a get and a set.
        if self._kind.incr is not BaseCache.incr:
            return check_cluster(self._alias)
        return [
            Error(
                f"The cache {self._alias!r} is a {kind}, whose incr() is not atomic: of requests "
                "that come together only one is counted.",
                hint="Name the alias of a cache in Redis or Memcached in the OPTIONS of "
                f'RATE_LIMIT_STORE, or take "{_REDIS_STORE}", or for one process '
                f'"{_MEMORY_STORE}".',
                id="partstream.E006",
            )
        ]

    def check_deploy(self) -> list[CheckMessage]:
        """A warning where a Redis server that hangs would hold requests for long."""
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
                "Redis server that hangs holds the first requests for as long as redis-py waits.",
                hint=f"Set its OPTIONS to {options}, or take "
                f'"{_REDIS_STORE}", which has timeouts of its own.',
                id="partstream.W010",
            )
        ]


def _raised(cache: BaseCache, name: str, ttl: int) -> int:
    """The counter, when this request has been counted."""
    for _ in range(2):
        try:
            return _number(cache.incr(name), least=1)
        except ValueError:  # There is none: this is the first, or it was driven out just now.
            if cache.add(name, 1, ttl):
                return 1
    return _number(cache.incr(name), least=1)


def _lowered(cache: BaseCache, name: str) -> int:
    """The counter, when this request has been given back."""
    try:
        return max(0, _number(cache.decr(name)))
    except ValueError:  # It was driven out, and nothing is left to give back.
        return 0


def _number(value: Any, least: int | None = None) -> int:
    if type(value) is not int or (least is not None and value < least):
        # None, 0 and False are what a cache answers that ignores its faults.
        raise (TypeError if value else ServiceFault)(f"The cache gave {value!r:.80} for a counter.")
    return value


def _timeouts(configured: Mapping[str, Any]) -> dict[str, Any]:
    """What the settings of a Redis cache tell redis-py, by its names."""
    options = configured.get("OPTIONS", {})
    location = configured.get("LOCATION", "")
    # The first is the one that is written to.
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
