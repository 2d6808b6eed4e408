"""Fragments: a part's data as JSON bytes, exactly as DRF's JSONRenderer would write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from itertools import islice
from typing import Any, Final

from django.db.models import Model, QuerySet
from django.http.response import HttpResponseBase
from rest_framework.renderers import JSONRenderer

from partstream.json_encoders import keep

#: Values of a part in which a model instance is looked for.
_LOOKED_AT_AT_MOST: Final = 1000
_OF_MODELS: Final = (
    " (a model instance). Write lazy(..., serializer_class=...), with many=True for a list or a "
    "QuerySet, or return plain data, such as values()"
)
_OF_SERIALIZERS: Final = " (a serializer). Return serializer.data"
_OF_RESPONSES: Final = " (a response). Return the data, not a Response"


class NotSerializable(Exception):
    """The data cannot be encoded as JSON. The encoder's exception is the cause."""


@lru_cache(maxsize=4)
def _encoder(ascii_only: bool, strict: bool) -> Callable[[Any], str]:
    return keep(
        JSONRenderer.encoder_class(
            ensure_ascii=ascii_only, allow_nan=not strict, separators=(",", ":")
        )
    )


def encode(data: Any) -> bytes:
    """The data as compact JSON, in UTF-8.

    DRF's ``UNICODE_JSON`` and ``STRICT_JSON`` apply here too, and everything that DRF's encoder
    accepts is accepted: QuerySets, dates, decimals, UUIDs, lazy translations, generators.

    Raises:
        NotSerializable: When the data is not JSON: an unknown type, NaN, a cycle, a lone surrogate.
    """
    to_text = _encoder(JSONRenderer.ensure_ascii, JSONRenderer.strict)
    try:
        try:
            text = to_text(data)
        except TypeError as error:
            raise NotSerializable(f"{error}{_advice(data, str(error))}") from error
        del data  # It may be several times as large as its JSON.
        # As DRF does: these two characters end a line in JavaScript, but not in JSON.
        if "\u2028" in text or "\u2029" in text:
            text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
        return text.encode()
    except (ValueError, OverflowError, RecursionError) as error:
        raise NotSerializable(str(error)) from error


def _advice(data: Any, message: str) -> str:
    """What to write in place of the value that the encoder's message is about; empty: unknown.

    Args:
        data: The data. At most a thousand values of it are looked at.
        message: It names the type.
    """
    waiting, looked_at = [data], 0
    while waiting and looked_at < _LOOKED_AT_AT_MOST:
        value = waiting.pop()
        looked_at += 1
        if isinstance(value, (Model, QuerySet)):
            model = value.model if isinstance(value, QuerySet) else type(value)
            if f" {model.__name__} " in message:
                return _OF_MODELS
        elif isinstance(value, dict):
            waiting += islice(value.values(), _LOOKED_AT_AT_MOST)
        elif isinstance(value, (list, tuple, set, frozenset)):
            waiting += islice(value, _LOOKED_AT_AT_MOST)
        elif f" {type(value).__name__} " in message:
            if isinstance(value, HttpResponseBase):
                return _OF_RESPONSES
            if hasattr(value, "to_representation"):
                return _OF_SERIALIZERS
    return ""


#: JSON bytes -> the data that a client would see.
decode: Callable[[bytes], Any] = json.loads
