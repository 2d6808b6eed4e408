"""The database connections of a thread: when they are checked, given back and closed.

Django does this around each request. Threads that partstream starts do it themselves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.core.cache import caches
from django.core.signals import request_finished, request_started
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from partstream.logs import get_logger

logger = get_logger("partstream.connections")


class _Thread(threading.local):
    #: Listing a thread's connections in Django takes longer than all other work around a call.
    has_connected = False
    #: Sets on a new connection the state that was lost with the one given back.
    renew: Callable[[], None] | None = None


_thread = _Thread()


def _note_connection(connection: BaseDatabaseWrapper, **_: Any) -> None:
    _thread.has_connected = True
    renew, _thread.renew = _thread.renew, None
    if renew is None:
        return
    try:
        # It is not called again for a connection that it opens itself.
        renew()
    except BaseException:
        # No query may use this connection. The next query opens another, and tries again.
        connection.close()
        raise
    finally:
        _thread.renew = renew


def forget_renewal(**_: Any) -> None:
    """Forget the ``renew`` of `give_back_pooled`: the thread works for another request now."""
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
        #: Connections that keep their session for the next call.
        self._open: list[BaseDatabaseWrapper] = []

    def __bool__(self) -> bool:
        """Whether a session is kept open."""
        return bool(self._open)

    def check(self) -> None:
        """Before a call: close connections that have aged or broken since the last one."""
        if self._open:
            self._open = _give_back(self._open)

    def give_back(self) -> None:
        """After a call: close connections that are no longer needed, and give back pooled ones."""
        if _thread.has_connected:
            self._open = _give_back(connections.all(initialized_only=True))

    def close(self) -> None:
        """Close them all."""
        self._open = []
        for connection in connections.all(initialized_only=True):
            try:
                connection.queries_log.clear()
                connection.close()
                _close_in_memory(connection)
            except Exception:
                logger.exception("The connection to %r could not be closed.", connection.alias)


def _close_in_memory(connection: BaseDatabaseWrapper) -> None:
    """Close the session of a SQLite database in memory, as tests have, which Django leaves open.

    Once its thread has ended it would wait for the garbage collector, which warns of it in whatever
    test runs then. Other threads that share the database keep it, with sessions of their own.
    """
    if connection.vendor == "sqlite" and not connection.allow_thread_sharing:
        session, connection.connection = connection.connection, None
        if session is not None:
            session.close()


def _give_back(held: Iterable[BaseDatabaseWrapper]) -> list[BaseDatabaseWrapper]:
    """Close connections that are no longer needed, as Django does; returns the others."""
    kept = []
    for connection in held:
        try:
            # Under DEBUG it grows with each query, and only the start of a request clears it.
            connection.queries_log.clear()
            if connection.in_atomic_block:
                logger.error("A loader left an atomic block open; its connection is closed.")
                session = connection.connection
                # Remove the wrapper, too: it would still count as being in the transaction.
                del connections[connection.alias]
                if session is not None:
                    session.close()
                continue
            connection.close_if_unusable_or_obsolete()
        except Exception:
            # A connection that cannot be closed must not end the thread, or fail the next call.
            logger.exception("A connection to %r could not be given back.", connection.alias)
        else:
            if connection.connection is not None:
                kept.append(connection)
    return kept


@contextmanager
def closing_new_connections() -> Iterator[None]:
    """Around work after the end of a request: what it opens is closed as after a request.

    Django has closed and given back the thread's connections, and closed its caches, before that.
    """
    before = {
        connection.alias: connection.connection
        for connection in connections.all(initialized_only=True)
    }
    try:
        yield
    finally:
        _give_back(
            connection
            for connection in connections.all(initialized_only=True)
            if connection.connection is not before.get(connection.alias)
        )
        caches.close_all()


def is_pooled(options: Mapping[str, Any]) -> bool:
    """Whether Django keeps the sessions of a database in a pool (5.1 and newer)."""
    return bool(options["OPTIONS"].get("pool"))


#: Whether the session has a named cursor, such as those of ``QuerySet.iterator()``.
_OPEN_CURSORS = "SELECT EXISTS (SELECT FROM pg_cursors WHERE name <> '')"


def _has_open_cursor(connection: BaseDatabaseWrapper) -> bool:
    """Whether a server-side cursor is open, as in a loop over ``iterator()``.

    Giving the session back would end the cursor; psycopg may even wait for its rows forever.
    """
    if connection.vendor != "postgresql":
        return False
    try:
        # Bypass Django's cursor, so that neither wrappers nor the query log see the query.
        with connection.connection.cursor() as cursor:
            cursor.execute(_OPEN_CURSORS)
            return bool(cursor.fetchone()[0])
    except Exception:
        logger.debug("A connection to %r does not answer.", connection.alias, exc_info=True)
        return False


def give_back_pooled(renew: Callable[[], None] | None = None) -> None:
    """Give the pooled sessions of this thread back to their pools.

    A thread calls this before it waits for other threads. If N threads held all N sessions while
    they wait for workers that need one, none of them would ever go on. A session that would lose a
    transaction (an atomic block, or autocommit off) or an open server-side cursor is kept.

    Args:
        renew: Called in this thread when it opens its next connection, before the connection is
            used, until the thread's next request begins. If it raises, the connection is closed and
            the query fails.
    """
    # The settings first: listing a thread's connections takes a hundred times longer.
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


def give_back_all() -> None:
    """Close all sessions of this thread that are in no transaction.

    ``CONN_MAX_AGE`` has no effect: a stream may be open for long, and must hold no session while it
    has nothing to ask.
    """
    if not _thread.has_connected:
        return
    for connection in connections.all(initialized_only=True):
        if connection.connection is None or connection.in_atomic_block:
            continue
        try:
            connection.queries_log.clear()
            connection.close()
        except Exception:
            # Its session is lost as well, and Django opens another one.
            logger.exception("A connection to %r could not be given back.", connection.alias)


@contextmanager
def sessions_for_a_moment(renew: Callable[[], None] | None) -> Iterator[None]:
    """Around a step of a stream: its thread holds no session before and after it.

    Args:
        renew: See `give_back_pooled`; only for connections that are opened within.
    """
    give_back_all()
    _thread.renew = renew
    try:
        yield
    finally:
        give_back_all()
        _thread.renew = None
