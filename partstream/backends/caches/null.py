"""A store that keeps nothing."""

from __future__ import annotations

from collections.abc import Mapping

from .base import CacheStore


class NullCacheStore(CacheStore):
    """Keeps nothing: every read is a miss, and every `add` succeeds.

    It is not ``shared``, since other processes never find what this one stored.

    Args:
        keys: The project's key ring.
        max_size: The maximum size of a body in bytes.
        retry_after: Has no effect, since nothing can fail.
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
