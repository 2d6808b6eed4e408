"""Fragments in Redis as raw bytes, never pickled. Needs django-redis, the extra ``redis``."""

from __future__ import annotations

from collections.abc import Mapping

from django.core.checks import CheckMessage

from partstream.keys import KeyRing

from ..cache_trials import bytes_error
from ..redis_connections import connect
from ..redis_server import ServerConnections
from .base import CacheStore


class RedisCacheStore(CacheStore):
    """Uses the Redis server of a django-redis cache, with its ``KEY_PREFIX`` and ``VERSION``.

    It can use a Redis Cluster instead. It bypasses the cache's serializer and compressor. If the
    cache has replicas, every command goes to the primary: an entry is read right after it was
    written, when a replica may not have it yet.

    The store has its own connections, as many as there are threads, and never retries. Timeouts are
    ``SOCKET_CONNECT_TIMEOUT`` and ``SOCKET_TIMEOUT`` in the cache's ``OPTIONS`` (for a cluster:
    ``socket_connect_timeout`` and ``socket_timeout`` in the query of its URL), and 0.25 s where
    those are not set. If only the pool's own class can make connections, as with Sentinel, the
    store uses that pool unchanged.

    Args:
        keys: The project's key ring.
        max_size: The maximum size of a body in bytes; longer ones are not kept.
        alias: A name in ``CACHES``, of a cache of django-redis; None: ``"default"``.
        cluster_url: Instead of ``alias``: the URL of any node of a Redis Cluster. Keys have no
            prefix there.
        retry_after: Seconds for which Redis is not used after a failure.

    Raises:
        Misuse: When the cache does not exist or is not one of django-redis, the URL cannot be
            used, or both are given.
    """

    shared = True
    atomic_add = True

    def __init__(
        self,
        *,
        keys: KeyRing,
        max_size: int,
        alias: str | None = None,
        cluster_url: str | None = None,
        retry_after: float = 2,
    ) -> None:
        super().__init__(keys=keys, max_size=max_size, retry_after=retry_after)
        self._redis = connect("cache store", alias, cluster_url, instead="DjangoCacheStore")
        self._raw_key = self._redis.raw_key

    def read(self, keys: list[str]) -> Mapping[str, object]:
        """See `CacheStore.read`."""
        return dict(zip(keys, self._redis.read(list(map(self._raw_key, keys))), strict=True))

    def write(self, entries: dict[str, bytes], ttl: int) -> None:
        """See `CacheStore.write`."""
        names = {self._raw_key(key): entry for key, entry in entries.items()}
        self._redis.execute_many(
            [(name, ("SET", name, entry, "EX", ttl)) for name, entry in names.items()]
        )

    def reserve(self, key: str, entry: bytes, ttl: int) -> bool:
        """See `CacheStore.reserve`."""
        name = self._raw_key(key)
        return bool(self._redis.execute(name, "SET", name, entry, "EX", ttl, "NX"))

    def reserve_and_read(self, key: str, entry: bytes, ttl: int, other: str) -> tuple[bool, object]:
        """See `CacheStore.reserve_and_read`."""
        name, wanted = self._raw_key(key), self._raw_key(other)
        stored, (found,) = self._redis.execute_many(
            # MGET, since GET fails for a key of another type.
            [(name, ("SET", name, entry, "EX", ttl, "NX")), (wanted, ("MGET", wanted))]
        )
        return bool(stored), found if stored else None

    def extend(self, key: str, ttl: int) -> None:
        """See `CacheStore.extend`."""
        name = self._raw_key(key)
        self._redis.execute(name, "EXPIRE", name, ttl)

    def remove(self, key: str) -> None:
        """See `CacheStore.remove`."""
        name = self._raw_key(key)
        self._redis.execute(name, "DEL", name)

    def probe(self) -> None:
        """See `CacheStore.probe`. In a cluster, each primary has to answer as well."""
        self._redis.ping()
        super().probe()

    def check(self) -> list[CheckMessage]:
        """Errors if server and options do not match, or if bytes are returned as text."""
        connections = self._redis
        messages = connections.check()
        # The store's own pools have it switched off.
        if isinstance(connections, ServerConnections) and connections.pool.connection_kwargs.get(
            "decode_responses"
        ):
            reason = "its connections have decode_responses, and the store uses its pool unchanged."
            messages.append(bytes_error(connections.alias, reason))
        return messages
