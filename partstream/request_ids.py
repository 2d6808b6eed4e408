"""The id of a request: in its answer, in the log, in the audit trail."""

from __future__ import annotations

import re
from contextvars import ContextVar
from os import urandom

from django.http import HttpRequest

#: The header that brings an id, from a proxy or a client, and takes it back.
HEADER = "X-Request-ID"

_META = "HTTP_X_REQUEST_ID"
#: RFC 3986's unreserved characters: an id that cannot spoil a line of a log.
_ID = re.compile(r"[A-Za-z0-9._~-]{1,64}")

_current: ContextVar[str | None] = ContextVar("partstream_request_id", default=None)


def request_id(request: HttpRequest) -> str:
    """The id of a request: that of its ``X-Request-ID``, where that is one, else a random one.

    An id has 1 to 64 letters, digits, ``.``, ``_``, ``~`` or ``-``; anything else in the header
    is passed over. A random one has 128 bits in 32 hexadecimal characters. It is the same
    whenever it is asked for.
    """
    known: str | None = getattr(request, "_partstream_id", None)
    if known is None:
        given = request.META.get(_META)
        known = given if given is not None and _ID.fullmatch(given) else urandom(16).hex()
        request._partstream_id = known  # type: ignore[attr-defined]
    return known


def current_request_id() -> str | None:
    """The id of the request that this thread or task works for, if it is one of partstream."""
    return _current.get()


def set_current(identifier: str | None) -> None:
    """Have `current_request_id` say this from now on: set it back to what it said before."""
    _current.set(identifier)
