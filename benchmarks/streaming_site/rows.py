"""Data of a given size: rows as a serializer makes them, and long texts."""

from __future__ import annotations

import json
from collections.abc import Callable


def _row(number):
    return {
        "id": 10_000_000 + number,
        "customer": f"Customer {number:08}",
        "city": f"City {number % 97:02}",
        "total_cents": 100_000 + number % 800_000,
        "is_paid": True,
        "note": f"Order {number:08} was packed by the night shift and left in the morning.",
    }


def _text(number):
    return f"{number:08} " + "Lorem ipsum dolor sit amet. " * 36


def _of_size(make: Callable[[int], object], size: int) -> list[object]:
    # Each item is as long as any other, and has a comma.
    length = len(json.dumps(make(0), separators=(",", ":"))) + 1
    return [make(number) for number in range(max(1, size // length))]


def rows(size: int) -> list[object]:
    """Rows of six short fields whose JSON has that many bytes. As objects they are larger."""
    return _of_size(_row, size)


def texts(size: int) -> list[object]:
    """Texts of 1 kB whose JSON has that many bytes. As objects they are hardly larger."""
    return _of_size(_text, size)


SHAPES = {"rows": rows, "texts": texts}
