"""JSON encoders that are kept: for a small value, making one costs more than using it."""

from __future__ import annotations

import json
from collections.abc import Callable
from json import encoder as _json
from typing import Any


def keep(encoder: json.JSONEncoder) -> Callable[[Any], str]:
    """What ``encoder.encode`` does, made once.

    ``JSONEncoder.encode`` makes the C encoder anew at each call. A kept one cannot look for
    cycles by itself: it raises RecursionError where ``encode`` raises ValueError. Where Python
    has no C encoder, this is ``encode`` itself.

    Args:
        encoder: An encoder without ``indent``, ``sort_keys`` and ``skipkeys``.
    """
    make = getattr(_json, "c_make_encoder", None)
    if make is None:
        return encoder.encode
    pieces = make(
        None,
        encoder.default,
        _json.encode_basestring_ascii if encoder.ensure_ascii else _json.encode_basestring,
        None,
        encoder.key_separator,
        encoder.item_separator,
        False,
        False,
        encoder.allow_nan,
    )
    join = "".join
    return lambda value: join(pieces(value, 0))
