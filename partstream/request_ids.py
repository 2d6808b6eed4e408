"""The id of a request: in its response, in the log, and in the audit trail."""

from __future__ import annotations

import re
from collections.abc import Callable
from os import urandom

from django.http import HttpRequest

from .conf import SETTING, get_settings, get_source
from .current_request import current, current_request_id
from .dotted_paths import import_function
from .logs import get_logger
from .per_process import Kept, Once

__all__ = ["HEADER", "current", "current_request_id", "get_request_id_function", "request_id"]

logger = get_logger("partstream.requests")

#: The header that brings an id from a proxy or a client, and returns it.
HEADER = "X-Request-ID"

_META = "HTTP_X_REQUEST_ID"
#: RFC 3986's unreserved characters: such an id cannot break a log line.
_ID = re.compile(r"[A-Za-z0-9._~-]{1,64}")

_refused = Once(SETTING)


def _import_function() -> Callable[[HttpRequest], object]:
    return import_function(get_settings().REQUEST_ID, get_source("REQUEST_ID"))


#: The function that ``REQUEST_ID`` names. Do not call it where the setting is None.
get_request_id_function = Kept(_import_function, SETTING).get


def request_id(request: HttpRequest) -> str:
    """The id of a request, which stays the same for the whole request.

    It is the first of these that exists: what the function of the setting ``REQUEST_ID`` returns
    for it; its ``X-Request-ID`` header; a random id of 128 bits, as 32 hexadecimal characters. A
    valid id has 1 to 64 letters, digits, ``.``, ``_``, ``~`` or ``-``; any other is ignored.

    Raises:
        Misuse: When the function that ``REQUEST_ID`` names cannot be used.
    """
    known: str | None = getattr(request, "_partstream_id", None)
    if known is None:
        given = request.META.get(_META)
        known = given if given is not None and _ID.fullmatch(given) else urandom(16).hex()
        # Kept first: if the project's function raises, the error page still has an id.
        request._partstream_id = known  # type: ignore[attr-defined]
        if get_settings().REQUEST_ID is not None:
            known = request._partstream_id = _own_id(request) or known  # type: ignore[attr-defined]
    return known


def _own_id(request: HttpRequest) -> str | None:
    """What the project's function returns; None if that is not a valid id."""
    own = get_request_id_function()(request)
    if own is None or (isinstance(own, str) and _ID.fullmatch(own)):
        return own
    if _refused.is_first():
        logger.warning(
            "%s = %r returned %.80r, which is not a valid request id, so it is ignored. Return a "
            "str of 1 to 64 letters, digits, '.', '_', '~' or '-', or None.",
            get_source("REQUEST_ID"),
            get_settings().REQUEST_ID,
            own,
        )
    return None
