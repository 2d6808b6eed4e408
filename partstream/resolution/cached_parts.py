"""The `cached_for` entries of the parts of one request."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from django.conf import settings as django_settings

from partstream.caching.cache_keys import Caching
from partstream.caching.single_flight import get_single_flight
from partstream.isolation.transactions import atomic_aliases, savepoints
from partstream.logs import get_logger
from partstream.parts.declaration import LazyPart
from partstream.per_process import Once

from .request_parts import RequestParts

logger = get_logger("partstream.cache")

#: Views and parts of which the log has said, under ``DEBUG``, that they run uncached.
_told = Once("DEBUG")


class CachedParts:
    """Reads cached parts from the store, as many as possible in one round trip.

    ``fresh``: existing entries are ignored and replaced.
    """

    def __init__(self, parts: RequestParts, *, fresh: bool) -> None:
        self._parts = parts
        self.fresh = fresh
        self._keys: dict[str, str | None] = {}
        self._found: dict[str, bytes | None] = {}

    def ask(self, names: Iterable[str]) -> None:
        """Read the cached parts among these; their dependencies must be settled."""
        parts = self._parts
        keys: dict[str, str] = {}
        for name in names:
            part = parts[name]
            if not isinstance(part, LazyPart):
                continue
            caching = parts.loader_of(name, part).caching
            if caching is None or name in self._keys or parts.depends_on_failure(name):
                continue
            key = self._keys[name] = self._key_of(name, part, caching)
            if key is not None:
                keys[name] = key
        if len(keys) > 1 and not self.fresh:
            values = get_single_flight().store.get_many(keys.values())
            self._found.update((name, values.get(key)) for name, key in keys.items())

    @property
    def names(self) -> list[str]:
        """The names of the parts that the cache was asked for."""
        return [name for name, key in self._keys.items() if key is not None]

    def find(self, name: str, part: LazyPart, caching: Caching) -> tuple[str | None, bytes | None]:
        """The key of a cached part and its entry; None for either that does not exist."""
        if name not in self._keys:
            self._keys[name] = self._key_of(name, part, caching)
        key = self._keys[name]
        if key is None or self.fresh:
            return key, None
        if name in self._found:
            return key, self._found.pop(name)
        return key, get_single_flight().look(key)

    def _key_of(self, name: str, part: LazyPart, caching: Caching) -> str | None:
        """The key of a cached part across walks; None if the part must not be kept."""
        outcomes, view = self._parts.outcomes, type(self._parts.view).__name__
        try:
            # Only what is the project's own can break a transaction.
            get_subject = getattr(self._parts.loader_of(name, part).function, "cache_subject", None)
            asks = get_subject or caching.key or caching.version
            with savepoints(atomic_aliases() if asks else ()):
                subject = f"part:{name}"
                if get_subject is not None:
                    data = self._parts.data_of(part.depends_on)
                    own = get_subject(self._parts.request, caching, data)
                    if own is None:
                        return None
                    subject = f"{subject} {own}"
                key = self._parts.scope.part_key(
                    caching,
                    subject,
                    _label(part.serializer_class, part.many),
                    [(other, outcomes[other].fragment or b"") for other in part.depends_on],
                )
        except Exception:
            # The project's key function failed. The loader can run without it.
            logger.exception("The cache key of part %r of %s failed; it runs uncached.", name, view)
            return None
        if key is None and caching.version is None:
            self._tell_of_no_identity(name)
        return key

    def _tell_of_no_identity(self, name: str) -> None:
        """Log that a part is not cached: each time, or under ``DEBUG`` once, where it is seen."""
        view, level = type(self._parts.view), logging.INFO
        if django_settings.DEBUG:
            level = logging.WARNING
            if not _told.is_first((view.__module__, view.__qualname__, name)):
                return
        logger.log(
            level,
            "Part %r of %s is cached_for() and runs uncached: this request has no identity. "
            "Where the data is the same for everybody, write cached_for(..., shared=True).",
            name,
            view.__name__,
        )


def _label(serializer: type | None, many: bool) -> str | None:
    if serializer is None:
        return None
    return f"{serializer.__module__}.{serializer.__qualname__}{'[]' if many else ''}"
