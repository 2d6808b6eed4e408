"""The id of a request: in its response, in the log, and in the audit trail."""

from __future__ import annotations

import re
from contextvars import ContextVar
from os import urandom

from django.http import HttpRequest

#: The header that brings an id from a proxy or a client, and returns it.
HEADER = "X-Request-ID"

_META = "HTTP_X_REQUEST_ID"
#: RFC 3986's unreserved characters: such an id cannot break a log line.
_ID = re.compile(r"[A-Za-z0-9._~-]{1,64}")

#: The id of the request that this thread or task works for. Restore the old value after setting it.
current: ContextVar[str | None] = ContextVar("partstream_request_id", default=None)


def request_id(request: HttpRequest) -> str:
    """The id of a request: its ``X-Request-ID`` header if that is valid, otherwise a random id.

    A valid id has 1 to 64 letters, digits, ``.``, ``_``, ``~`` or ``-``; any other header value is
    ignored. A random id has 128 bits, as 32 hexadecimal characters. The id stays the same for the
    whole request.
    """
    known: str | None = getattr(request, "_partstream_id", None)
    if known is None:
        given = request.META.get(_META)
        known = given if given is not None and _ID.fullmatch(given) else urandom(16).hex()
        request._partstream_id = known  # type: ignore[attr-defined]
    return known


def current_request_id() -> str | None:
    """The id of the request that this thread or task works for, if it is one of partstream's."""
    return current.get()
