"""The cursor: the position of a walk, and its binding. A plain value that codecs turn into a token.

Format of the payload, a JSON array with a closed schema (version 1)::

    [version, walk, next, done, count, digest, binding]

``done`` is a bitmap in lower-case hexadecimal without leading zeros, ``""`` for none: its bit *i*
says that the part at ``next + 1 + i`` has been delivered.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from os import urandom
from typing import Any

from partstream.exceptions import InvalidCursor
from partstream.parts.layout import MAX_PARTS

VERSION = 1

_TYPES = [int, str, int, str, int, str, str]
#: Walk, digest, binding and bitmap, none of which can contain a space.
_TEXTS = re.compile(r"[\w-]{16} [\w-]{16} [\w-]{22} (?:[1-9a-f][0-9a-f]*)?", re.ASCII)


def new_walk() -> str:
    """A random walk id: 64 bits in 16 hexadecimal characters."""
    return urandom(8).hex()


@dataclass(unsafe_hash=True)
class Cursor:
    """A position over the *declared* parts of a view, hidden ones included. Treat it as read-only.

    A frozen dataclass takes five times as long to create.

    Attributes:
        walk: The id of the walk; a retry cursor keeps it.
        next: Index of the first part that was not delivered; ``count`` at the end.
        done: Bitmap of the parts delivered beyond ``next``: bit 0 is the part after ``next``.
        count: The number of parts declared when the walk began.
        digest: Keyed digest of their names.
        binding: Keyed digest of what the walk is bound to, see ``Binding``.
    """

    walk: str
    next: int
    done: int
    count: int
    digest: str
    binding: str

    def indices(self) -> Sequence[int]:
        """The indices still to be delivered, in declared order."""
        if not self.done:
            return range(self.next, self.count)
        first, done = self.next, self.done
        return [
            index
            for index in range(first, self.count)
            if index == first or not done >> (index - first - 1) & 1
        ]

    def payload(self) -> list[Any]:
        """The payload that a codec turns into a token."""
        return [
            VERSION,
            self.walk,
            self.next,
            format(self.done, "x") if self.done else "",
            self.count,
            self.digest,
            self.binding,
        ]

    @classmethod
    def from_payload(cls, payload: Any) -> Cursor:
        """The cursor of a decoded payload.

        Raises:
            InvalidCursor: When the payload does not match the closed schema exactly.
        """
        if type(payload) is not list or [type(value) for value in payload] != _TYPES:
            raise InvalidCursor("the payload does not match the schema")
        version, walk, next_, done, count, digest, binding = payload
        if version != VERSION:
            raise InvalidCursor("the payload is of another version")
        if not _TEXTS.fullmatch(f"{walk} {digest} {binding} {done}"):
            raise InvalidCursor("a text in the payload is malformed")
        if not 0 <= count <= MAX_PARTS:
            raise InvalidCursor("the count is out of range")
        if not 0 <= next_ <= count:
            raise InvalidCursor("the position is out of range")
        bits = int(done[: MAX_PARTS // 4 + 1] or "0", 16)
        if bits.bit_length() > max(0, count - next_ - 1):
            raise InvalidCursor("the bitmap does not fit the count")
        return cls(walk, next_, bits, count, digest, binding)


def position(remaining: Sequence[int], count: int) -> tuple[int, int]:
    """``next`` and ``done`` of the cursor for which only these ascending indices remain.

    Example:
        ``position([2, 5], 6) == (2, 0b011)``: 3 and 4 are done, 5 is not.
    """
    if not remaining:
        return count, 0
    first = remaining[0]
    if len(remaining) == count - first:
        return first, 0
    done = (1 << (count - first - 1)) - 1
    for index in remaining[1:]:
        done ^= 1 << (index - first - 1)
    return first, done
