"""Fragments in Redis as raw bytes, never pickled. Needs django-redis, the extra ``redis``."""

from __future__ import annotations

from collections.abc import Mapping

from django.core.cache import caches
from django.core.cache.backends.base import InvalidCacheBackendError
from django_redis import get_redis_connection

from partstream.exceptions import Misuse
from partstream.keys import KeyRing

from .base import CacheStore


class RedisCacheStore(CacheStore):
    """Over the connections of a django-redis cache, with its ``KEY_PREFIX`` and ``VERSION``.

    Its serializer and compressor are passed by. Where the cache has replicas, all goes to the
    primary: an entry is read right after it was written, when a replica may not have it yet.

    Set ``SOCKET_CONNECT_TIMEOUT`` and ``SOCKET_TIMEOUT`` in the cache's ``OPTIONS``, to 0.25 for
    example: without them a server that hangs holds a request for as long as redis-py waits.

    Args:
        keys: The project's key ring.
        max_size: Bytes of the longest body that is kept.
        alias: A name in ``CACHES``, of a cache of django-redis.
        retry_after: Seconds for which Redis is left alone after a fault.

    Raises:
        Misuse: When there is no such cache, or it is not one of django-redis.
    """

    shared = True
    atomic_add = True

    def __init__(
        self, *, keys: KeyRing, max_size: int, alias: str = "default", retry_after: float = 2
    ) -> None:
        super().__init__(keys=keys, max_size=max_size, retry_after=retry_after)
        try:
            # Kept: the client is a thin front of a pool that is the process's anyway, opens no
            # connection before the first command, and knows threads and forks. The cache itself
            # is kept for its settings only.
            self._client = get_redis_connection(alias)
            self._raw_key = caches[alias].make_key
        except (InvalidCacheBackendError, NotImplementedError) as error:
            raise Misuse(
                f"The cache store's alias is {alias!r}, which is not a cache of django-redis. "
                f'Write CACHES = {{{alias!r}: {{"BACKEND": "django_redis.cache.RedisCache", '
                '"LOCATION": "redis://127.0.0.1:6379/0"}}, or take DjangoCacheStore.'
            ) from error

    def read(self, keys: list[str]) -> Mapping[str, object]:
        """See `CacheStore.read`."""
        return dict(zip(keys, self._client.mget(list(map(self._raw_key, keys))), strict=True))

    def write(self, entries: dict[str, bytes], ttl: int) -> None:
        """See `CacheStore.write`."""
        # No transaction: each entry is good by itself.
        pipeline = self._client.pipeline(transaction=False)
        for key, entry in entries.items():
            pipeline.set(self._raw_key(key), entry, ex=ttl)
        pipeline.execute()

    def reserve(self, key: str, entry: bytes, ttl: int) -> bool:
        """See `CacheStore.reserve`."""
        return bool(self._client.set(self._raw_key(key), entry, ex=ttl, nx=True))

    def extend(self, key: str, ttl: int) -> None:
        """See `CacheStore.extend`."""
        self._client.expire(self._raw_key(key), ttl)

    def remove(self, key: str) -> None:
        """See `CacheStore.remove`."""
        self._client.delete(self._raw_key(key))
