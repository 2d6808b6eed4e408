"""Fragments in one of the project's own caches, the default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.cache import caches
from django.core.cache.backends.base import BaseCache, InvalidCacheBackendError
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.filebased import FileBasedCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.checks import CheckMessage, Warning

from partstream.exceptions import Misuse
from partstream.keys import KeyRing
from partstream.logs import get_logger

from ..cache_trials import check_bytes, check_keys, reads_pickles
from ..faults import CallFault, Fault
from .base import CacheStore

logger = get_logger("partstream.stores")


class DjangoCacheStore(CacheStore):
    """Uses ``django.core.cache``, with its key prefix, version and key function.

    It makes as few round trips as the cache's own ``get_many`` and ``set_many``. The cache must
    support bytes: all of Django's do, and those that processes share pickle their values.

    A small cache evicts the application's entries in favour of the store's (a ``LocMemCache`` holds
    300 by default): use an alias just for the store, or raise ``MAX_ENTRIES``.

    Args:
        keys: The project's key ring.
        max_size: The maximum size of a body in bytes; longer ones are not kept.
        alias: A name in ``CACHES``.
        retry_after: Seconds for which the cache is not used after a failure.

    Raises:
        Misuse: When the cache does not exist, or cannot be made.
    """

    def __init__(
        self, *, keys: KeyRing, max_size: int, alias: str = "default", retry_after: float = 2
    ) -> None:
        super().__init__(keys=keys, max_size=max_size, retry_after=retry_after)
        try:
            cache = caches[alias]
        except InvalidCacheBackendError as error:
            raise Misuse(
                f"The cache store's alias is {alias!r}: {error} "
                f"Write one of those in CACHES: {', '.join(map(repr, caches.settings))}."
            ) from error
        self._alias = alias
        self.shared = not isinstance(cache, (LocMemCache, DummyCache))
        self.atomic_add = not isinstance(cache, (FileBasedCache, DummyCache))
        self.keeps = not isinstance(cache, DummyCache)

    @property
    def _cache(self) -> BaseCache:
        # Looked up each time: Django makes one per thread, and closes it after each request.
        return caches[self._alias]

    def read(self, keys: list[str]) -> Mapping[str, Any]:
        """See `CacheStore.read`."""
        try:
            return self._cache.get_many(keys)
        except Exception as error:
            fault = self.fault_of(error)
            if fault not in {Fault.CALL, Fault.UNKNOWN}:
                raise
            if fault is Fault.UNKNOWN:
                # An entry that cannot be unpickled may raise anything; or the cache is down.
                self._cache.get("partstream.answers")
        found = {}
        for key in keys:
            try:
                found[key] = self._cache.get(key)
            except Exception as error:
                if self.fault_of(error) not in {Fault.CALL, Fault.UNKNOWN}:
                    raise
                logger.warning("The cache's entry %r cannot be read.", key, exc_info=True)
        return {key: entry for key, entry in found.items() if entry is not None}

    def write(self, entries: dict[str, bytes], ttl: int) -> None:
        """See `CacheStore.write`."""
        try:
            refused = self._cache.set_many(entries, ttl)
        except Exception as error:
            if len(entries) == 1 or self.fault_of(error) is not Fault.CALL:
                raise
        else:
            if refused:
                raise CallFault(f"The cache refused {len(refused)} of {len(entries)} entries.")
            return
        # One of them is at fault; the others are stored.
        fault: Exception | None = None
        for key, entry in entries.items():
            try:
                self._cache.set(key, entry, ttl)
            except Exception as error:
                if self.fault_of(error) is not Fault.CALL:
                    raise
                fault = error
        if fault is not None:
            raise fault

    def reserve(self, key: str, entry: bytes, ttl: int) -> bool:
        """See `CacheStore.reserve`."""
        # django-redis returns None for an error that it is configured to ignore.
        return self._cache.add(key, entry, ttl) is not False

    def extend(self, key: str, ttl: int) -> None:
        """See `CacheStore.extend`."""
        self._cache.touch(key, ttl)

    def remove(self, key: str) -> None:
        """See `CacheStore.remove`."""
        self._cache.delete(key)

    def check(self) -> list[CheckMessage]:
        """An error for a cache that alters bytes, a warning if two callers can win `add`."""
        messages = check_bytes(self._alias) + check_keys(self._alias)
        if self.atomic_add or not self.keeps:
            return messages
        return [
            *messages,
            Warning(
                f"The cache {self._alias!r} is a file cache, which lets several callers add the "
                "same key, so a loader under cached_for() may run more than once at a time.",
                hint="Set alias in the OPTIONS of CACHE_STORE to another cache.",
                id="partstream.W005",
            ),
        ]

    def check_deploy(self) -> list[CheckMessage]:
        """A warning if pickles that other processes wrote are read."""
        if not (self.shared and reads_pickles(self._cache)):
            return []
        return [
            Warning(
                f"The cache {self._alias!r} pickles its values: anyone who can write to its "
                "storage can run code in this process.",
                hint=(
                    "Make sure that only this project can write there, or keep fragments in Redis "
                    "with partstream.backends.caches.redis.RedisCacheStore, which reads no pickles."
                ),
                id="partstream.W004",
            )
        ]
