"""Fragments: a part's data as JSON bytes, exactly as DRF's JSONRenderer would write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from rest_framework.renderers import JSONRenderer

from partstream.json_encoders import keep


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
        text = to_text(data)
        del data  # It may be several times as large as its JSON.
        # As DRF does: these two characters end a line in JavaScript, but not in JSON.
        if "\u2028" in text or "\u2029" in text:
            text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
        return text.encode()
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise NotSerializable(str(error)) from error


#: JSON bytes -> the data that a client would see.
decode: Callable[[bytes], Any] = json.loads
