"""What the stores need of Redis, and their connections to one server.

Connections wait for no server for long, and try nothing twice. They raise what redis-py raises;
the stores' breakers deal with it.
"""

from __future__ import annotations

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

#: Seconds that a request waits for a server, where neither cache nor URL says how long.
DEFAULT_TIMEOUT = 0.25
#: What redis-py calls the seconds.
TIMEOUTS = ("socket_timeout", "socket_connect_timeout")

# What a pool of redis-py adds for itself to what it was given, and what is set here.
_NOT_TAKEN = ("driver_info", "event_dispatcher", "himport_", "lib_", "maint", "orig_", "oss_")

Command = tuple[Any, ...]


class Connections(ABC):
    """What a store needs of Redis. Safe from many threads."""

    @abstractmethod
    def raw_key(self, key: str) -> str:
        """The key as it is in Redis."""

    @abstractmethod
    def execute(self, name: str, *command: Any) -> Any:
        """The reply to a command, all of whose keys are in the slot of this one."""

    @abstractmethod
    def execute_many(self, commands: Sequence[tuple[str, Command]]) -> list[Any]:
        """The replies to commands, each given with its only key; one round trip a server."""

    @abstractmethod
    def read(self, names: Sequence[str]) -> list[Any]:
        """The values of these keys, None where there is none; one round trip a server."""

    @abstractmethod
    def check(self) -> list[CheckMessage]:
        """What ``manage.py check`` should say of the server; nothing where it does not answer."""


class ServerConnections(Connections):
    """To the server of a django-redis cache, with its ``KEY_PREFIX`` and ``VERSION``.

    Args:
        store: What errors call the store.
        alias: A name in ``CACHES``.
        instead: The store for a cache of another kind.
        timeout: Seconds that a request waits; None: as long as the cache, or 0.25.

    Attributes:
        alias: A name in ``CACHES``.
        pool: The connections.
        is_own_pool: Whether nobody else uses them. A pool that only its own class can make, as
            with Sentinel, is the cache's.

    Raises:
        Misuse: When there is no such cache, or it is not one of django-redis.
    """

    def __init__(self, store: str, alias: str, instead: str, timeout: float | None = None) -> None:
        try:
            client = get_redis_connection(alias)
            # The cache itself is kept for its settings only.
            self._make_key = caches[alias].make_key
        except (InvalidCacheBackendError, NotImplementedError) as error:
            raise Misuse(
                f"The {store}'s alias is {alias!r}, which is not a cache of django-redis. "
                f'Write CACHES = {{{alias!r}: {{"BACKEND": "django_redis.cache.RedisCache", '
                f'"LOCATION": "redis://127.0.0.1:6379/0"}}}}, or take {instead}.'
            ) from error
        self.alias = alias
        self.pool = client.connection_pool
        self.is_own_pool = type(self.pool) in (ConnectionPool, BlockingConnectionPool)
        if self.is_own_pool:
            self.pool = _pool_like(self.pool, timeout)
            client = redis.Redis(connection_pool=self.pool)
        # Kept: a thin front of the pool, which opens no connection before the first command.
        self._client = client

    def raw_key(self, key: str) -> str:
        """See `Connections.raw_key`."""
        return self._make_key(key)

    def execute(self, name: str, *command: Any) -> Any:
        """See `Connections.execute`."""
        return self._client.execute_command(*command)

    def execute_many(self, commands: Sequence[tuple[str, Command]]) -> list[Any]:
        """See `Connections.execute_many`."""
        # No transaction: each is good by itself.
        pipeline = self._client.pipeline(transaction=False)
        for _, command in commands:
            pipeline.execute_command(*command)
        replies: list[Any] = pipeline.execute()
        return replies

    def read(self, names: Sequence[str]) -> list[Any]:
        """See `Connections.read`."""
        values: list[Any] = self._client.mget(names)
        return values

    def check(self) -> list[CheckMessage]:
        """See `Connections.check`."""
        messages = check_keys(self.alias)
        if ask(lambda: is_cluster(self._client)):
            messages.append(cluster_error(self.alias))
        return messages


def without_cost() -> dict[str, Any]:
    """What keeps redis-py from round trips of its own. RESP2 knows integers, and needs no HELLO."""
    # Since redis-py 7.1 one name stands for two.
    names = ("driver_info",) if hasattr(redis, "DriverInfo") else ("lib_name", "lib_version")
    return {"health_check_interval": 0, "protocol": 2, **dict.fromkeys(names)}


def _pool_like(pool: Any, timeout: float | None) -> ConnectionPool:
    """A pool of the same connections, where nobody waits for long, and for nothing twice."""
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
        # Fragments are bytes, whatever the cache makes of its own values.
        "decode_responses": False,
        **without_cost(),
    }
    # Threads are what bounds them: one too many would be a fault.
    return ConnectionPool(connection_class=pool.connection_class, max_connections=2**31, **options)
