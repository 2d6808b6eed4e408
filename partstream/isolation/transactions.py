"""Atomic blocks: which databases have one, and a savepoint for each part inside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from django.db import connections, transaction


def atomic_aliases() -> list[str]:
    """Aliases of the databases that are in an atomic block, in this thread."""
    return [
        connection.alias
        for connection in connections.all(initialized_only=True)
        if connection.in_atomic_block
    ]


@contextmanager
def savepoints(aliases: Sequence[str]) -> Iterator[None]:
    """A savepoint in each of these databases: an exception rolls back to it, and no further."""
    with ExitStack() as stack:
        for alias in aliases:
            stack.enter_context(transaction.atomic(using=alias))
        yield
