"""The request that a thread or task works for, as the log names it: by its id."""

from __future__ import annotations

from contextvars import ContextVar

#: The id of the request that this thread or task works for. Restore the old value after setting it.
current: ContextVar[str | None] = ContextVar("partstream_request_id", default=None)


def current_request_id() -> str | None:
    """The id of the request that this thread or task works for, if it is one of partstream's."""
    return current.get()
