"""The database connections of a thread: when they are checked, given back and closed.

Django does that around each request, in the request's thread. Threads that partstream starts do it
themselves, with what stands here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django.core.signals import request_finished, request_started
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from partstream.logs import get_logger

logger = get_logger("partstream.connections")


class _Thread(threading.local):
    #: To ask Django whether a thread has any takes longer than all else that is done around a call.
    has_connected = False
    #: What sets on a new connection what was lost with one that was given back.
    renew: Callable[[], None] | None = None


_thread = _Thread()


def _note_connection(connection: BaseDatabaseWrapper, **_: Any) -> None:
    _thread.has_connected = True
    renew, _thread.renew = _thread.renew, None
    if renew is None:
        return
    try:
        # The connections that it opens itself are its own affair: none calls it again.
        renew()
    except BaseException:
        # Nobody may use it as it is. The next query opens another, and tries again.
        connection.close()
        raise
    finally:
        _thread.renew = renew


def forget_renewal(**_: Any) -> None:
    """Forget what `give_back_pooled` was told: from now on the thread works for somebody else."""
    _thread.renew = None


connection_created.connect(_note_connection)
request_started.connect(forget_renewal)
request_finished.connect(forget_renewal)


class ThreadConnections:
    """The connections of one thread that partstream has started. For use in that thread only.

    Example::

        held = ThreadConnections()
        while work := queue.get():
            held.check()
            work()
            held.give_back()
        held.close()
    """

    def __init__(self) -> None:
        #: Those that keep their session, for the next call.
        self._open: list[BaseDatabaseWrapper] = []

    def __bool__(self) -> bool:
        """Whether a session is kept open."""
        return bool(self._open)

    def check(self) -> None:
        """Before a call: close what has aged, or broke, while there was nothing to do."""
        if self._open:
            self._open = _give_back(self._open)

    def give_back(self) -> None:
        """After a call: close what serves nobody any more, and give back what is of a pool."""
        if _thread.has_connected:
            self._open = _give_back(connections.all(initialized_only=True))

    def close(self) -> None:
        """Close them all."""
        self._open = []
        for connection in connections.all(initialized_only=True):
            try:
                connection.queries_log.clear()
                connection.close()
            except Exception:
                logger.exception("The connection to %r could not be closed.", connection.alias)


def _give_back(held: Iterable[BaseDatabaseWrapper]) -> list[BaseDatabaseWrapper]:
    """Close those of this thread's connections that serve nobody any more; returns the others."""
    kept = []
    for connection in held:
        try:
            # Under DEBUG it grows by each query, and only a request's begin would empty it.
            connection.queries_log.clear()
            if connection.in_atomic_block:
                logger.error("A loader left an atomic block open; its connection is closed.")
                session = connection.connection
                # The wrapper goes too: it would go on believing in its transaction.
                del connections[connection.alias]
                if session is not None:
                    session.close()
                continue
            connection.close_if_unusable_or_obsolete()
        except Exception:
            # One that cannot even be closed must not take the thread, or the next call, along.
            logger.exception("A connection to %r could not be given back.", connection.alias)
        else:
            if connection.connection is not None:
                kept.append(connection)
    return kept


def is_pooled(options: Mapping[str, Any]) -> bool:
    """Whether a database's settings have Django keep its sessions in a pool (5.1 and newer)."""
    return bool(options["OPTIONS"].get("pool"))


#: The names that Django gives to the cursors of ``QuerySet.iterator()``, and all others.
_OPEN_CURSORS = "SELECT EXISTS (SELECT FROM pg_cursors WHERE name <> '')"


def _has_open_cursor(connection: BaseDatabaseWrapper) -> bool:
    """Whether somebody reads rows from the session, such as a loop over ``iterator()``.

    Giving the session back would cut that off; psycopg may even wait for rows for ever.
    """
    if connection.vendor != "postgresql":
        return False
    try:
        # Past Django's cursor, so that neither wrappers nor the query log see it.
        with connection.connection.cursor() as cursor:
            cursor.execute(_OPEN_CURSORS)
            return bool(cursor.fetchone()[0])
    except Exception:
        logger.debug("A connection to %r does not answer.", connection.alias, exc_info=True)
        return False


def give_back_pooled(renew: Callable[[], None] | None = None) -> None:
    """Give the sessions of this thread that are of a pool back to it.

    A thread that waits for others calls it first: if each of N threads held one of N sessions
    while it waits for a worker that needs another, none of them would ever go on. What is in an
    atomic block, or has autocommit off, is kept: it has a transaction to lose. So is one with an
    open cursor on the server.

    Args:
        renew: Called in this thread when it opens a connection after that, before anything else
            is done with the connection, until the thread's next request begins. What it raises
            closes the connection, and fails whatever wanted it.
    """
    # First the settings: to ask Django for a thread's connections takes a hundred times longer.
    if not any(map(is_pooled, connections.settings.values())):
        return
    for connection in connections.all(initialized_only=True):
        if (
            connection.connection is not None
            and is_pooled(connection.settings_dict)
            and connection.autocommit
            and not connection.in_atomic_block
            and not _has_open_cursor(connection)
        ):
            _thread.renew = renew
            try:
                connection.close()
            except Exception:
                # Its session is lost as well, and Django opens another one.
                logger.exception("A connection to %r could not be given back.", connection.alias)
