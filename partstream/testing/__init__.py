"""Helpers for your project's tests: they request every part of a view as a client would."""

from __future__ import annotations

from .collecting import CollectedParts as CollectedParts
from .collecting import collect as collect
from .records import aread_records as aread_records
from .records import read_records as read_records
from .threads import close_connections as close_connections
from .threads import inline as inline

__all__ = [
    "CollectedParts",
    "aread_records",
    "close_connections",
    "collect",
    "inline",
    "read_records",
]
