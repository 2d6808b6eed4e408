"""What the stores need from Redis, and their connections to a single server.

Connections never wait long for a server, and never retry. They raise redis-py's exceptions, which
the stores' breakers handle.
"""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import redis
from django.core.cache import caches
from django.core.cache.backends.base import InvalidCacheBackendError
from django.core.checks import CheckMessage
from django_redis import get_redis_connection
from redis.backoff import NoBackoff
from redis.connection import BlockingConnectionPool, ConnectionPool
from redis.retry import Retry

from partstream.exceptions import Misuse

from .cache_trials import ask, check_keys, cluster_error, is_cluster

#: Seconds that a request waits for a server, if neither cache nor URL sets a timeout.
DEFAULT_TIMEOUT = 0.25
#: redis-py's names for the timeouts.
TIMEOUTS = ("socket_timeout", "socket_connect_timeout")

# What redis-py's pools add to their own arguments, and what is set here.
_NOT_TAKEN = ("driver_info", "event_dispatcher", "himport_", "lib_", "maint", "orig_", "oss_")

Command = tuple[Any, ...]


class Connections(ABC):
    """What a store needs from Redis. Thread-safe."""

    @abstractmethod
    def raw_key(self, key: str) -> str:
        """The key as it is in Redis."""

    @abstractmethod
    def execute(self, name: str, *command: Any) -> Any:
        """The reply to a command whose keys are all in the slot of this key."""

    @abstractmethod
    def execute_many(self, commands: Sequence[tuple[str, Command]]) -> list[Any]:
        """The replies to commands, each given with its only key; one round trip per server.

        They run in this order, except in a cluster while it moves a key's slot.
        """

    @abstractmethod
    def read(self, names: Sequence[str]) -> list[Any]:
        """The values of these keys, or None; one round trip per server."""

    @abstractmethod
    def ping(self) -> None:
        """Ask each server that a key may be on; raise if one of them does not answer."""

    @abstractmethod
    def check(self) -> list[CheckMessage]:
        """Messages about the server for ``manage.py check``; none if it does not answer."""


class ServerConnections(Connections):
    """Connects to the server of a django-redis cache, with its ``KEY_PREFIX`` and ``VERSION``.

    Args:
        store: The store's name in error messages.
        alias: A name in ``CACHES``.
        instead: The store to use for other kinds of caches.
        timeout: Seconds that a request waits; None: the cache's timeout, or 0.25.

    Attributes:
        alias: A name in ``CACHES``.
        pool: The connection pool.
        is_own_pool: Whether only the store uses the pool. A pool whose own class alone can make
            connections, as with Sentinel, belongs to the cache.

    Raises:
        Misuse: When the cache does not exist, or is not one of django-redis.
    """

    def __init__(self, store: str, alias: str, instead: str, timeout: float | None = None) -> None:
        try:
            client = get_redis_connection(alias)
            # The cache itself is used for its settings only.
            self._make_key = caches[alias].make_key
        except (InvalidCacheBackendError, NotImplementedError) as error:
            raise Misuse(
                f"The {store}'s alias is {alias!r}, which is not a cache of django-redis. "
                f'Write CACHES = {{{alias!r}: {{"BACKEND": "django_redis.cache.RedisCache", '
                f'"LOCATION": "redis://127.0.0.1:6379/0"}}}}, or use {instead}.'
            ) from error
        self.alias = alias
        self.pool = client.connection_pool
        self.is_own_pool = type(self.pool) in (ConnectionPool, BlockingConnectionPool)
        if self.is_own_pool:
            self.pool = _pool_like(self.pool, timeout)
            client = redis.Redis(connection_pool=self.pool)
            # When settings change, in tests, the next store has its own pool. The sockets of this
            # one would wait for the garbage collector.
            weakref.finalize(self, self.pool.disconnect).atexit = False
        # Kept: a thin wrapper of the pool, which opens no connection before the first command.
        self._client = client

    def raw_key(self, key: str) -> str:
        """See `Connections.raw_key`."""
        return self._make_key(key)

    def execute(self, name: str, *command: Any) -> Any:
        """See `Connections.execute`."""
        return self._client.execute_command(*command)

    def execute_many(self, commands: Sequence[tuple[str, Command]]) -> list[Any]:
        """See `Connections.execute_many`."""
        # No transaction: the commands are independent.
        pipeline = self._client.pipeline(transaction=False)
        for _, command in commands:
            pipeline.execute_command(*command)
        replies: list[Any] = pipeline.execute()
        return replies

    def read(self, names: Sequence[str]) -> list[Any]:
        """See `Connections.read`."""
        values: list[Any] = self._client.mget(names)
        return values

    def ping(self) -> None:
        """See `Connections.ping`."""
        self._client.execute_command("PING")

    def check(self) -> list[CheckMessage]:
        """See `Connections.check`."""
        messages = check_keys(self.alias)
        if ask(lambda: is_cluster(self._client)):
            messages.append(cluster_error(self.alias))
        return messages


def without_cost() -> dict[str, Any]:
    """Arguments that avoid redis-py's extra round trips. RESP2 has integers, and needs no HELLO."""
    # Since redis-py 7.1, one name stands for two.
    names = ("driver_info",) if hasattr(redis, "DriverInfo") else ("lib_name", "lib_version")
    return {"health_check_interval": 0, "protocol": 2, **dict.fromkeys(names)}


def _pool_like(pool: Any, timeout: float | None) -> ConnectionPool:
    """A pool of the same connections, with short timeouts and no retries."""
    options = {
        name: value
        for name, value in pool.connection_kwargs.items()
        if not name.startswith(_NOT_TAKEN)
    }
    for name in TIMEOUTS:
        options[name] = timeout or options.get(name) or DEFAULT_TIMEOUT
    options |= {
        "retry": Retry(NoBackoff(), 0),
        "retry_on_timeout": False,
        "retry_on_error": [],
        # Fragments are bytes, however the cache decodes its own values.
        "decode_responses": False,
        **without_cost(),
    }
    # The number of threads limits them; a limit below that would cause failures.
    return ConnectionPool(connection_class=pool.connection_class, max_connections=2**31, **options)
