"""Atomic blocks: which databases have one, and a savepoint for each part inside it."""

from __future__ import annotations

import threading
from asyncio import _get_running_loop
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from django.conf import settings as django_settings
from django.db import connections, transaction


def atomic_aliases() -> list[str]:
    """Aliases of the databases that are in an atomic block, in this thread.

    ``connections.all(initialized_only=True)`` asks asgiref's ``Local`` twice about each database,
    and that raises and catches an exception each time, unless an event loop runs in this thread.
    What it asks for is in a ``threading.local``, which is read here at once.
    """
    storage = getattr(getattr(connections, "_connections", None), "_storage", None)
    found: Iterable[Any]
    if type(storage) is threading.local and _get_running_loop() is None:
        held = vars(storage)
        found = [held[alias] for alias in connections if alias in held]
    else:
        found = connections.all(initialized_only=True)
    return [connection.alias for connection in found if connection.in_atomic_block]


def request_transactions(view: Any) -> list[str]:
    """Aliases of the databases where Django opens a transaction for each request to this view.

    Args:
        view: What the URLconf names, with what ``non_atomic_requests`` has set on it.
    """
    exempt = getattr(view, "_non_atomic_requests", ())
    return [
        alias
        for alias, database in django_settings.DATABASES.items()
        if database.get("ATOMIC_REQUESTS") and alias not in exempt
    ]


@contextmanager
def savepoints(aliases: Sequence[str]) -> Iterator[None]:
    """A savepoint in each of these databases: an exception rolls back to it, and no further."""
    with ExitStack() as stack:
        for alias in aliases:
            stack.enter_context(transaction.atomic(using=alias))
        yield
