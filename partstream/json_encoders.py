"""Reusable JSON encoders: for a small value, making an encoder costs more than using it."""

from __future__ import annotations

import json
from collections.abc import Callable
from json import encoder as _json
from typing import Any


def keep(encoder: json.JSONEncoder) -> Callable[[Any], str]:
    """A function that does what ``encoder.encode`` does, with the C encoder made only once.

    ``JSONEncoder.encode`` makes the C encoder again at each call. A reused one cannot detect
    cycles: it raises RecursionError where ``encode`` raises ValueError. Where Python has no C
    encoder, this is ``encode`` itself.

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
