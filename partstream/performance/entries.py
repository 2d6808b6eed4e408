"""The entries of the cache store in which workers publish: their keys and their format.

A slot is the number of a worker, see `publication`. It has three kinds of entries: the claim, with
the token of the worker that has it; the totals, with the worker's gauges; and for each
`SLICE_SECONDS` a slice, what was measured in that time. They are JSON, compressed with zlib: 2,000
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
#: What the decoding of malformed content raises.
_MALFORMED: Final = (ValueError, TypeError, LookupError, zlib.error)


class Totals(NamedTuple):
    """What was measured under a slot, and the state of its worker when it last published."""

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


def encode_totals(table: Table, gauges: Mapping[str, int]) -> bytes:
    """The entry of a slot's totals."""
    return _encode({"table": table.payload(), "gauges": gauges})


def encode_slice(table: Table) -> bytes:
    """The entry of a slice."""
    return _encode(table.payload())


def decode_totals(key: str, entry: bytes | None) -> Totals:
    """The totals of an entry; empty ones if there is none, or if it is malformed."""
    try:
        if entry is not None:
            body = _decode(entry)
            return Totals(Table.from_payload(body["table"]), dict(body["gauges"]))
    except _MALFORMED:
        _tell(key)
    return Totals(Table(), {})


def decode_slice(key: str, entry: bytes | None) -> Table:
    """The table of a slice; an empty one if there is none, or if it is malformed."""
    try:
        if entry is not None:
            return Table.from_payload(_decode(entry))
    except _MALFORMED:
        _tell(key)
    return Table()


def _encode(value: Any) -> bytes:
    # Level 1: a higher one takes several times longer, and saves a quarter.
    return zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 1)


def _decode(entry: bytes) -> Any:
    return json.loads(zlib.decompress(entry))


def _tell(key: str) -> None:
    logger.warning("The cache's entry %r is not used: its content is malformed.", key)
