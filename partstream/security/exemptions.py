"""Requests that the library's own throttle does not count: those of its test helpers."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

#: Whether the requests of this context are neither counted nor limited. `testing.collect` sets it.
is_exempt: Final[ContextVar[bool]] = ContextVar("partstream_is_exempt", default=False)
