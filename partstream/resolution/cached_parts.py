"""Lookups: what `cached_for` has kept of the parts of a request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from partstream.caching.single_flight import get_flights
from partstream.logs import get_logger
from partstream.parts.declaration import LazyPart
from partstream.parts.loader import Loader

if TYPE_CHECKING:
    from .resolver import Resolver

logger = get_logger("partstream.cache")


class Lookup:
    """Asks the store for cached parts: all that can be asked for at a time in one round trip.

    Args:
        resolver: Whose parts they are.
    """

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._keys: dict[str, str | None] = {}
        self._found: dict[str, bytes | None] = {}

    def ask(self, names: Iterable[str]) -> None:
        """Look for those of these parts that are cached; their dependencies have to be there."""
        resolver = self._resolver
        keys: dict[str, str] = {}
        for name in names:
            part = resolver.parts[name]
            if not isinstance(part, LazyPart):
                continue
            loader = resolver.loader_of(name, part)
            if loader.caching is None or name in self._keys or resolver.depends_on_failure(name):
                continue
            key = self._keys[name] = self._key_of(name, part, loader)
            if key is not None:
                keys[name] = key
        if len(keys) > 1 and not resolver.fresh:
            values = get_flights().store.get_many(keys.values())
            self._found = {name: values.get(key) for name, key in keys.items()}

    def find(self, name: str, part: LazyPart, loader: Loader) -> tuple[str | None, bytes | None]:
        """The key of a part, and what is kept under it; no key for a part that is not cached."""
        if loader.caching is None:
            return None, None
        if name not in self._keys:
            self._keys[name] = self._key_of(name, part, loader)
        key = self._keys[name]
        if key is None or self._resolver.fresh:
            return key, None
        if name in self._found:
            return key, self._found.pop(name)
        return key, get_flights().look(key)

    def _key_of(self, name: str, part: LazyPart, loader: Loader) -> str | None:
        """The key of a cached part across walks; None where it is not to be kept."""
        caching = loader.caching
        if caching is None:
            return None
        outcomes, view = self._resolver.outcomes, type(self._resolver.view).__name__
        try:
            key = self._resolver.scope.part_key(
                caching,
                f"part:{name}",
                _label(part.serializer_class, part.many),
                [(other, outcomes[other].fragment or b"") for other in part.depends_on],
            )
        except Exception:
            # A key function of the project's: the data can be had all the same.
            logger.exception("The cache key of part %r of %s; it runs uncached.", name, view)
            return None
        if key is None:
            logger.info(
                "Part %r of %s is cached_for() and runs uncached: this request has no identity. "
                "Where the data is the same for everybody, say cached_for(..., shared=True).",
                name,
                view,
            )
        return key


def _label(serializer: type | None, many: bool) -> str | None:
    if serializer is None:
        return None
    return f"{serializer.__module__}.{serializer.__qualname__}{'[]' if many else ''}"
