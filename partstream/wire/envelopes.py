"""The JSON of a response: an envelope of parts, or the manifest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from partstream.parts.fragment import encode
from partstream.parts.outcome import Outcome

from .errors import PART_ERRORS


def envelope(
    outcomes: Iterable[Outcome],
    *,
    total: int,
    current: int,
    cursor: str | None = None,
    retry_cursors: Mapping[str, str] | None = None,
    manifest_url: str | None = None,
    pending: bytes | None = None,
    debug: bytes | None = None,
    stream_error: tuple[str, str] | None = None,
) -> list[bytes]:
    """One response of a walk or by key, or one record of a stream.

    It is returned in pieces of its JSON, because a fragment may be large: join them once, or send
    one after another.

    Args:
        outcomes: The outcomes of its parts, in declared order.
        total: The number of parts that this user has in this walk.
        current: The number of parts before the current position.
        cursor: The token for the next chunk; None at the end.
        retry_cursors: Name -> token, for failed parts that can be retried.
        manifest_url: Path of the manifest, if the view has one.
        pending: The names of the parts still to come, as a JSON array.
        debug: What each part cost, as JSON.
        stream_error: The code and the text of a stream that the server had to end.
    """
    pieces: list[bytes] = []
    errors: list[dict[str, Any]] = []
    for outcome in outcomes:
        if outcome.fragment is not None:
            before = b',{"' if pieces else b'{"results":[{"'
            # A name needs no escaping: it has only letters, digits and underscores.
            pieces += (before, outcome.name.encode(), b'":', outcome.fragment, b"}")
        else:
            errors.append(_error(outcome, (retry_cursors or {}).get(outcome.name)))
    pieces.append(b"]" if pieces else b'{"results":[]')
    if errors:
        pieces += (b',"errors":', encode(errors))
    pieces.append(
        (
            f',"cursor":"{cursor}","meta":{{"total_parts":{total},"current_part":{current},'
            '"has_more":true'
            if cursor is not None
            else f',"cursor":null,"meta":{{"total_parts":{total},"current_part":{current},'
            '"has_more":false'
        ).encode()
    )
    if manifest_url is not None:
        pieces += (b',"manifest_url":', encode(manifest_url))
    if pending is not None:
        pieces += (b',"pending":', pending)
    if debug is not None:
        pieces += (b',"debug":', debug)
    pieces.append(b"}")
    if stream_error is not None:
        code, detail = stream_error
        pieces += (b',"stream_error":', encode({"code": code, "detail": detail}))
    pieces.append(b"}")
    return pieces


def _error(outcome: Outcome, retry_cursor: str | None) -> dict[str, Any]:
    failure = outcome.failure
    if failure is None:
        raise TypeError(f"the outcome of part {outcome.name!r} is neither data nor a failure")
    error: dict[str, Any] = {
        "part": outcome.name,
        "code": failure.code,
        "detail": failure.detail if failure.detail is not None else PART_ERRORS[failure.code],
        "retryable": failure.retryable,
    }
    if retry_cursor is not None:
        error["retry_cursor"] = retry_cursor
    if failure.retry_after is not None:
        error["retry_after"] = failure.retry_after
    if failure.problems is not None:
        error["problems"] = failure.problems
    if failure.exception is not None:
        error["exception"] = failure.exception
    return error


def manifest(parts: Mapping[str, Mapping[str, Any]], links: Mapping[str, str]) -> bytes:
    """The manifest.

    Args:
        parts: Name -> description of the part, in declared order.
        links: Name of a delivery -> its path.

    Raises:
        NotSerializable: When ``get_parts_manifest()`` returned something that is not JSON.
    """
    return encode({"parts": parts, "meta": {"total_parts": len(parts)}, "links": links})
