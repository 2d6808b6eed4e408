"""A store that keeps nothing."""

from __future__ import annotations

from collections.abc import Mapping

from .base import CacheStore


class NullCacheStore(CacheStore):
    """Keeps nothing: every look is a miss, and every `add` wins.

    It is not ``shared``, since no other process will find here what this one put in.

    Args:
        keys: The project's key ring.
        max_size: Bytes of the longest body.
        retry_after: Without effect: nothing can fail.
    """

    shared = False
    atomic_add = False
    keeps = False

    def read(self, keys: list[str]) -> Mapping[str, bytes]:
        """See `CacheStore.read`."""
        return {}

    def write(self, entries: dict[str, bytes], ttl: int) -> None:
        """See `CacheStore.write`."""

    def reserve(self, key: str, entry: bytes, ttl: int) -> bool:
        """See `CacheStore.reserve`."""
        return True

    def extend(self, key: str, ttl: int) -> None:
        """See `CacheStore.extend`."""

    def remove(self, key: str) -> None:
        """See `CacheStore.remove`."""
