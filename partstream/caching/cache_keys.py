"""Cache keys: the values that an entry depends on.

A key is SHA-256 (FIPS 180-4) over the values below, each prefixed with its length. Two requests
that differ in any of them never share an entry::

    across walks  format version, API version, language, time zone, view class, scheme, host, path
                  of the walk, the application's query, part or loader, serializer, owner (see
                  `Caching.owner_of`), version, values of the ``vary`` headers, data of the
                  dependencies
    of a walk     format version, API version, language, time zone, identity, the walk's random id;
                  its cursors are bound to view, host, path and query
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

from django.http import HttpRequest
from django.utils import timezone, translation

from partstream.identity import application_query, host_of, joined

_FORMAT = "1"


@dataclass(frozen=True)
class Caching:
    """The arguments of `cached_for`.

    Attributes:
        ttl: Seconds for which an entry is kept.
        shared: Whether all identities share the entries.
        vary: Names of request headers that an entry depends on.
        key: Returns a string to use in place of the identity, or None: do not cache this request.
        version: Returns a string that changes when the data does, or None: the same.
    """

    ttl: int
    shared: bool = False
    vary: tuple[str, ...] = ()
    key: Callable[[Any], str | None] | None = None
    version: Callable[[Any], str | None] | None = None

    def owner_of(self, request: Any, identity: str | None) -> str | None:
        """The owner of the entry, as a string; None: do not cache this request.

        Raises:
            TypeError: When ``key`` returned neither a string nor None.
        """
        if self.shared:
            return "shared"
        if self.key is None:
            return None if identity is None else f"identity:{identity}"
        own = _text("key", self.key(request))
        return None if own is None else f"key:{own}"

    def version_of(self, request: Any) -> str | None:
        """The data's version, as a string; None: do not cache this request.

        Raises:
            TypeError: When ``version`` returned neither a string nor None.
        """
        if self.version is None:
            return ""
        own = _text("version", self.version(request))
        return None if own is None else f"version:{own}"


def _text(argument: str, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise TypeError(f"cached_for({argument}=...) returned {value!r:.80}. Return a string, or None.")


class Scope:
    """What all keys of one request depend on. Create it in the request's thread, before loaders.

    Args:
        request: DRF's request, or Django's.
        view_class: The class of the view, or None for a loader that has none.
        identity: The identity that the data belongs to.
        path: The path of the walk.
        protocol: Names of the protocol's query parameters, which are no part of the key.
    """

    def __init__(
        self,
        request: Any,
        view_class: type | None,
        *,
        identity: str | None,
        path: str,
        protocol: Collection[str] = (),
    ) -> None:
        self.request = request
        self.identity = identity
        self._view_class = view_class
        self._path = path
        self._protocol = protocol
        version = getattr(request, "version", None)
        self._presentation = (
            _FORMAT,
            None if version is None else str(version),
            translation.get_language(),
            str(timezone.get_current_timezone()),
        )

    @property
    def _django_request(self) -> HttpRequest:
        found: HttpRequest = getattr(self.request, "_request", self.request)
        return found

    @cached_property
    def _common(self) -> bytes:
        view_class = self._view_class
        query = application_query(dict(self._django_request.GET.lists()), self._protocol)
        return joined(
            (
                *self._presentation,
                None if view_class is None else view_class.__module__,
                None if view_class is None else view_class.__qualname__,
                self._django_request.scheme,
                host_of(self._django_request),
                self._path,
                joined(query).decode("utf-8", "surrogatepass"),
            )
        )

    def walk_prefix(self, walk: str) -> str:
        """The prefix of a walk's keys; a part's name follows it."""
        values = joined((*self._presentation, self.identity, walk))
        return f"partstream.walk.{sha256(values).hexdigest()}."

    def part_key(
        self,
        caching: Caching,
        subject: str,
        serializer: str | None = None,
        dependencies: Iterable[tuple[str, bytes]] = (),
    ) -> str | None:
        """The key of a loader's data across walks; None: do not cache this request.

        Args:
            caching: The arguments of `cached_for`.
            subject: The part, or the loader.
            serializer: The name of the part's serializer.
            dependencies: The name and fragment of each dependency.
        """
        owner = caching.owner_of(self.request, self.identity)
        version = None if owner is None else caching.version_of(self.request)
        if version is None:
            return None
        meta = self._django_request.META
        headers = (meta.get(_meta_name(header)) for header in caching.vary)
        digest = sha256(self._common)
        digest.update(
            joined(
                ("part", subject, serializer, owner, version, str(len(caching.vary)), *caching.vary)
            )
        )
        digest.update(joined(headers))
        for name, fragment in dependencies:
            digest.update(joined((name, str(len(fragment)))))
            digest.update(fragment)
        return f"partstream.part.{digest.hexdigest()}"


def _meta_name(header: str) -> str:
    """The name of a header in ``request.META``."""
    name = header.upper().replace("-", "_")
    return name if name in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{name}"
