"""The entries of the cache store in which workers publish: their keys and their format.

A slot is the number of a worker, see `publication`. It has three kinds of entries: the claim, with
the token of the worker that has it; the totals, a table; and for each `SLICE_SECONDS` a slice, what
was measured in that time, with the worker's gauges. Tables are JSON, compressed with zlib: 2,000
sets of labels with 57 buckets each, which is about 1 MB, take a third of that.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from partstream.logs import get_logger

from .samples import Table

logger = get_logger("partstream.stores")

#: Seconds of one slice.
SLICE_SECONDS: Final = 15

#: With the version of the format: workers of two versions do not read each other's entries.
_PREFIX: Final = "partstream:performance:1:"


class Slice(NamedTuple):
    """What a worker measured in one slice, and its state when it last published."""

    table: Table
    gauges: Mapping[str, int]


def claim_key(slot: int) -> str:
    """The key of a claim."""
    return f"{_PREFIX}claim:{slot}"


def totals_key(slot: int) -> str:
    """The key of a slot's totals."""
    return f"{_PREFIX}totals:{slot}"


def slice_key(slot: int, number: int) -> str:
    """The key of one of a slot's slices."""
    return f"{_PREFIX}slice:{slot}:{number}"


def slice_number(now: float) -> int:
    """The number of the slice of a moment, in seconds since 1970."""
    return int(now // SLICE_SECONDS)


def encode_totals(table: Table) -> bytes:
    """The entry of a slot's totals."""
    return _encode(table.payload())


def encode_slice(table: Table, gauges: Mapping[str, int]) -> bytes:
    """The entry of a slice."""
    return _encode({"table": table.payload(), "gauges": gauges})


def decode_totals(key: str, entry: bytes | None) -> Table:
    """The totals of an entry; an empty table if there is none, or if it is malformed."""
    try:
        return Table() if entry is None else Table.from_payload(_decode(entry))
    except _MALFORMED:
        _tell(key)
        return Table()


def decode_slice(key: str, entry: bytes | None) -> Slice:
    """The slice of an entry; an empty one if there is none, or if it is malformed."""
    try:
        if entry is None:
            return Slice(Table(), {})
        body = _decode(entry)
        return Slice(Table.from_payload(body["table"]), dict(body["gauges"]))
    except _MALFORMED:
        _tell(key)
        return Slice(Table(), {})


#: What the decoding of malformed content raises.
_MALFORMED = (ValueError, TypeError, LookupError, zlib.error)


def _encode(value: Any) -> bytes:
    # Level 1: a higher one takes several times longer, and saves a quarter.
    return zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 1)


def _decode(entry: bytes) -> Any:
    return json.loads(zlib.decompress(entry))


def _tell(key: str) -> None:
    logger.warning("The cache's entry %r is not used: its content is malformed.", key)
