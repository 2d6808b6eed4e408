"""The wire format: outcomes become envelopes, errors become answers. Nothing else knows it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from rest_framework import serializers
from rest_framework.exceptions import APIException

from . import fragments
from .exceptions import (
    AddressDenied,
    CursorExpired,
    InvalidCursor,
    InvalidKeys,
    InvalidRequest,
    PartstreamError,
    StaleCursor,
    StoreUnavailable,
    UnknownPart,
)
from .outcomes import Outcome

#: Code of a part's error -> its standing text.
PART_ERRORS: Final[Mapping[str, str]] = {
    "part_failed": "This part could not be loaded.",
    "part_timeout": "This part took too long.",
    "part_forbidden": "This part is not for you.",
    "dependency_failed": "Another part that this one needs could not be loaded.",
    "not_serializable": "This part's data could not be written as JSON.",
    "capacity": "There was no room to load this part. Try again in a moment.",
}

#: Class of a refused request -> status, code, standing text (None: the error's own).
REQUEST_ERRORS: Final[Mapping[type[PartstreamError], tuple[int, str, str | None]]] = {
    InvalidCursor: (
        400,
        "cursor_invalid",
        "This cursor cannot be followed here. Start again without one.",
    ),
    CursorExpired: (410, "cursor_expired", "This cursor is too old. Start again without one."),
    StaleCursor: (
        409,
        "cursor_stale",
        "The parts have changed since this walk began. Start again without a cursor.",
    ),
    InvalidKeys: (400, "keys_invalid", None),
    UnknownPart: (400, "part_unknown", None),
    InvalidRequest: (400, "request_invalid", None),
    AddressDenied: (403, "ip_denied", "Your address is not admitted here."),
    StoreUnavailable: (
        503,
        "store_unavailable",
        "Requests cannot be counted just now. Try again in a moment.",
    ),
}


def to_api_exception(error: PartstreamError) -> Exception:
    """The DRF exception that answers a refused request; an error of another kind as it is."""
    for kind in type(error).__mro__:
        if kind in REQUEST_ERRORS:
            status, code, detail = REQUEST_ERRORS[kind]
            answer = APIException(detail if detail is not None else str(error), code)
            answer.status_code = status
            if isinstance(error, StoreUnavailable):
                answer.wait = math.ceil(error.wait)  # type: ignore[attr-defined]
            return answer
    return error


def with_code(data: Any, retry_after: int | None = None) -> Any:
    """The body of an error with its ``code``, if it is DRF's plain ``{"detail": ...}``.

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


def envelope(
    outcomes: Iterable[Outcome],
    *,
    total: int,
    current: int,
    cursor: str | None = None,
    retry_cursors: Mapping[str, str] | None = None,
    manifest_url: str | None = None,
    pending: bytes | None = None,
) -> bytes:
    """One response of a walk or by key.

    Args:
        outcomes: What became of its parts, in declared order.
        total: How many parts this user has in this walk.
        current: How many of them are behind the position.
        cursor: The token that leads on; None at the end.
        retry_cursors: Name -> token, for failed parts that may be retried.
        manifest_url: Path of the manifest, where the view has one.
        pending: The names still to come, as a JSON array.
    """
    results: list[bytes] = []
    errors: list[dict[str, Any]] = []
    for outcome in outcomes:
        if outcome.fragment is not None:
            # A name needs no escaping: letters, digits, underscores.
            results.append(b'{"%b":%b}' % (outcome.name.encode(), outcome.fragment))
        else:
            errors.append(_error(outcome, (retry_cursors or {}).get(outcome.name)))
    pieces = [b'{"results":[', b",".join(results), b"]"]
    if errors:
        pieces += [b',"errors":', fragments.encode(errors)]
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
        pieces += [b',"manifest_url":', fragments.encode(manifest_url)]
    if pending is not None:
        pieces += [b',"pending":', pending]
    pieces.append(b"}}")
    return b"".join(pieces)


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
    if failure.exception is not None:
        error["exception"] = failure.exception
    return error


def manifest(parts: Mapping[str, Mapping[str, Any]], links: Mapping[str, str]) -> bytes:
    """The manifest.

    Args:
        parts: Name -> what is known of the part, in declared order.
        links: Name of a delivery -> its path.

    Raises:
        NotSerializable: When ``get_parts_manifest()`` says something that is not JSON.
    """
    return fragments.encode({"parts": parts, "meta": {"total_parts": len(parts)}, "links": links})


class PartErrorSerializer(serializers.Serializer[Any]):
    """A failed part, for schemas."""

    part = serializers.CharField()
    code = serializers.CharField()
    detail = serializers.CharField()
    retryable = serializers.BooleanField()
    retry_cursor = serializers.CharField(required=False)


class EnvelopeMetaSerializer(serializers.Serializer[Any]):
    """The position of a walk, for schemas."""

    total_parts = serializers.IntegerField()
    current_part = serializers.IntegerField()
    has_more = serializers.BooleanField()
    manifest_url = serializers.CharField(required=False)
    pending = serializers.ListField(child=serializers.CharField(), required=False)


class EnvelopeSerializer(serializers.Serializer[Any]):
    """A response of a walk or by key, for schemas: what is in the parts is not said."""

    results = serializers.ListField(child=serializers.DictField())
    errors = PartErrorSerializer(many=True, required=False)  # type: ignore[assignment]
    cursor = serializers.CharField(allow_null=True)
    meta = EnvelopeMetaSerializer()


class ManifestMetaSerializer(serializers.Serializer[Any]):
    """How many parts there are, for schemas."""

    total_parts = serializers.IntegerField()


class ManifestSerializer(serializers.Serializer[Any]):
    """The manifest, for schemas."""

    parts = serializers.DictField(child=serializers.DictField())
    meta = ManifestMetaSerializer()
    links = serializers.DictField(child=serializers.CharField())
