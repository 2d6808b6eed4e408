"""What clients see of errors: codes, texts and statuses of failed parts and refused requests."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from rest_framework.exceptions import APIException

from partstream.exceptions import (
    AddressDenied,
    CursorExpired,
    InvalidCursor,
    InvalidKeys,
    InvalidRequest,
    PartstreamError,
    StaleCursor,
    StoreUnavailable,
    StreamsFull,
    UnknownPart,
)

#: Code of a part's error -> its default text.
PART_ERRORS: Final[Mapping[str, str]] = {
    "part_failed": "This part could not be loaded.",
    "part_timeout": "This part took too long to load.",
    "part_forbidden": "You do not have permission to see this part.",
    "part_not_found": "What this part shows does not exist.",
    "part_invalid": "This part cannot be loaded with these parameters.",
    "part_throttled": "This part was asked for too often. Try again later.",
    "part_unknown": "There is no such part.",
    "dependency_failed": "Another part that this one needs could not be loaded.",
    "not_serializable": "This part's data could not be written as JSON.",
    "capacity": "The server is too busy to load this part. Try again in a moment.",
}

#: Class of a refused request -> status, code, default text (None: the error's own).
REQUEST_ERRORS: Final[Mapping[type[PartstreamError], tuple[int, str, str | None]]] = {
    InvalidCursor: (
        400,
        "cursor_invalid",
        "This cursor is not valid here. Start again without a cursor.",
    ),
    CursorExpired: (
        410,
        "cursor_expired",
        "This cursor has expired. Start again without a cursor.",
    ),
    StaleCursor: (
        409,
        "cursor_stale",
        "The parts have changed since this walk began. Start again without a cursor.",
    ),
    InvalidKeys: (400, "keys_invalid", None),
    UnknownPart: (400, "part_unknown", None),
    InvalidRequest: (400, "request_invalid", None),
    AddressDenied: (403, "ip_denied", "Requests from your address are not allowed."),
    StoreUnavailable: (
        503,
        "store_unavailable",
        "The server cannot count requests right now. Try again in a moment.",
    ),
    StreamsFull: (
        503,
        "capacity",
        "The server cannot stream this now. Walk by cursor, or try again in a moment.",
    ),
}

#: The code and the text of a stream that the server had to end.
STREAM_FAILED: Final = (
    "stream_failed",
    "The server ended this stream. Resume it with its cursor.",
)


def to_api_exception(error: PartstreamError) -> Exception:
    """The DRF exception for a refused request; any other error is returned unchanged."""
    for kind in type(error).__mro__:
        if kind in REQUEST_ERRORS:
            status, code, detail = REQUEST_ERRORS[kind]
            answer = APIException(detail if detail is not None else str(error), code)
            answer.status_code = status
            if isinstance(error, (StoreUnavailable, StreamsFull)):
                answer.wait = math.ceil(error.wait)  # type: ignore[attr-defined]
            return answer
    return error


def with_code(data: Any, retry_after: int | None = None) -> Any:
    """The body of an error with its ``code`` added, if it is DRF's plain ``{"detail": ...}``.

    Args:
        data: The body.
        retry_after: Whole seconds to wait, for clients that cannot read the header.
    """
    if isinstance(data, dict) and data.keys() == {"detail"}:
        code = getattr(data["detail"], "code", None)
        if code is not None:
            data = {**data, "code": code}
            if retry_after is not None:
                data["retry_after"] = retry_after
    return data


def is_error_body(data: Any) -> bool:
    """Whether the body of an error is the protocol's, as `with_code` writes it."""
    return (
        isinstance(data, dict)
        and "code" in data
        and data.keys() <= {"detail", "code", "retry_after"}
    )
