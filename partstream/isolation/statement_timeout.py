"""The database's own timeout of a statement: PostgreSQL's ``statement_timeout``.

It is set through psycopg 3 or psycopg2. Other databases have none, and their statements run on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from math import ceil
from time import monotonic
from typing import Any, Final

from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend

from partstream.exceptions import PartTimeout
from partstream.logs import get_logger

from .connections import is_pooled

logger = get_logger("partstream.connections")

#: The SQLSTATE ``query_canceled``.
_CANCELED: Final = "57014"
#: libpq's transaction states, which both drivers return unchanged.
_IDLE: Final = 0
_ABORTED: Final = 3
#: Milliseconds. The timeout also applies to the statement that removes it, and to the rollback to
#: a savepoint, and must never end them.
_LEAST: Final = 10
#: Milliseconds; PostgreSQL's own bound.
_MOST: Final = 2**31 - 1
#: Statements that need no time and must never be refused. No query may come before SET TRANSACTION.
#: After those of the group, the timeout in force has to be read again.
_CONTROL: Final = re.compile(
    r"\s*(?:(ROLLBACK|ABORT|COMMIT|END|SET)|SAVEPOINT|RELEASE)\b", re.IGNORECASE
)

# Columns are computed from left to right: the first is the previous value. The second is NULL if
# that value is stricter and stays in force.
_LIMIT: Final = """\
SELECT current_setting('statement_timeout'),
CASE WHEN current_setting('statement_timeout') = '0'
OR current_setting('statement_timeout')::interval > '{milliseconds}ms'
THEN set_config('statement_timeout', '{milliseconds}', {local}) END"""
_RESTORE: Final = "SET {scope} statement_timeout = '{value}'"


@contextmanager
def statement_timeout(seconds: float, *, grace: float = 0.0) -> Iterator[None]:
    """Let PostgreSQL end the statements that this thread runs in the block, ``seconds`` from now.

    A statement that is ended raises an ``OperationalError``, which `is_statement_timeout`
    recognizes. A stricter ``statement_timeout`` of the session stays in force. After the block the
    session has its own value again, however the block ended.

    The first statement costs one more round trip, and so does the end of the block. A later
    statement keeps the timeout that was set before until less than half of it is left, so the last
    of many statements may end late, by half of ``seconds`` at most.

    It does not cover statements that do not go through this thread's ``execute()``: those of other
    threads, of the asynchronous ORM (unless an ``async_to_sync()`` of this thread runs them),
    ``callproc()`` and ``COPY``. Each fetch of a server-side cursor (``iterator()``) has as much
    time as the statement had. Behind a pooler that shares sessions between statements
    (``DISABLE_SERVER_SIDE_CURSORS``), it covers transactions only: other clients of the session
    would get the timeout, too.

    Args:
        seconds: The time for all statements together.
        grace: Seconds that a running statement gets beyond that. No statement starts in them.

    Raises:
        PartTimeout: When a statement would start with no time left; it is not run.

    Example:
        ``with statement_timeout(2), transaction.atomic(): ...``
    """
    aliases = [
        alias
        for alias, options in connections.settings.items()
        if _is_postgresql(options["ENGINE"])
    ]
    if not aliases:
        yield
        return
    deadline = monotonic() + seconds
    with ExitStack() as stack:
        for alias in aliases:
            connection = connections[alias]  # An object only: no session is opened.
            limit = _Limit(connection, deadline, grace)
            stack.callback(limit.restore)
            stack.enter_context(connection.execute_wrapper(limit))
        yield


def is_statement_timeout(error: BaseException) -> bool:
    """Whether a statement was ended by its timeout, or by an administrator, and caused this."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        # psycopg 3 has the first, psycopg2 the second.
        if _CANCELED in (getattr(cause, "sqlstate", None), getattr(cause, "pgcode", None)):
            return True
        seen.add(id(cause))
        cause = cause.__cause__
    return False


def can_stop_statements(alias: str) -> bool:
    """Whether `statement_timeout` ends statements of this database."""
    return connections[alias].vendor == "postgresql"


@cache
def _is_postgresql(engine: str) -> bool:
    return bool(load_backend(engine).DatabaseWrapper.vendor == "postgresql")


class _Limit:
    """An execute wrapper that keeps the statements of one connection to a deadline.

    Inside a transaction it sets the timeout for the transaction, whose end removes it; outside, for
    the session.
    """

    def __init__(self, connection: BaseDatabaseWrapper, deadline: float, grace: float) -> None:
        self.connection = connection
        self.deadline = deadline
        self.grace = grace
        self.is_pooled = is_pooled(connection.settings_dict)
        self._forget(None)

    def _forget(self, session: Any) -> None:
        #: The driver's connection that the values below belong to.
        self._session = session
        #: Milliseconds: at most this timeout is in force. None: not known.
        self._in_force: int | None = None
        #: Previous values of the session and of the transaction; None: not changed.
        self._of_session: str | None = None
        self._of_transaction: str | None = None
        #: Whether they were read inside a transaction, and are void after its end.
        self._is_local = False

    def __call__(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any
    ) -> Any:
        session = self.connection.connection
        if session is not self._session:
            self._forget(session)
        state = session.info.transaction_status
        if state == _IDLE and self._is_local:
            self._in_force, self._of_transaction, self._is_local = None, None, False
        control = _CONTROL.match(sql) if isinstance(sql, str) else None
        if control is None:
            self._apply(state)
        elif control[1]:
            self._in_force = None
        try:
            return execute(sql, params, many, context)
        finally:
            if self._of_session is not None and self.is_pooled:
                # The block may close it, which returns a pooled session to others unchanged.
                self.restore()

    def _apply(self, state: int) -> None:
        left = self.deadline - monotonic()
        if left <= 0:
            raise PartTimeout("no time is left for this statement")
        local = state != _IDLE or not self._session.autocommit
        if not local and self.connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"):
            return
        milliseconds = ceil(min(max((left + self.grace) * 1000, _LEAST), _MOST))
        if self._in_force is not None and milliseconds * 2 >= self._in_force:
            return
        before, changed = self._execute(_LIMIT.format(milliseconds=milliseconds, local=local))
        self._in_force, self._is_local = milliseconds, local
        if changed and local:
            self._of_transaction = self._of_transaction or before
        elif changed:
            self._of_session = self._of_session or before

    def restore(self) -> None:
        """Restore the connection's own timeout."""
        session, of_session, of_transaction = self._session, self._of_session, self._of_transaction
        self._forget(None)
        if session is None or session is not self.connection.connection or session.closed:
            return
        state = session.info.transaction_status
        value = of_session if state == _IDLE else of_session or of_transaction
        if value is None or state == _ABORTED:  # The rollback undoes the change.
            return
        try:
            scope = "SESSION" if of_session else "LOCAL"
            self._execute(_RESTORE.format(scope=scope, value=value))
        except Error:
            if state != _IDLE:
                raise  # The transaction is lost, and must not look committed.
            logger.warning(
                "The statement timeout of database %r was not restored; its session is closed.",
                self.connection.alias,
                exc_info=True,
            )
            session.close()
            self.connection.close()

    def _execute(self, sql: str) -> Any:
        """The row of a query that bypasses Django's cursor, its wrappers and the query log."""
        with self.connection.wrap_database_errors, self.connection.connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone() if cursor.description else None
