"""Timeouts that the database enforces: in a worker, and in a transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from partstream.exceptions import PartTimeout
from partstream.logs import get_logger

from .statement_timeout import can_stop_statements, is_statement_timeout, statement_timeout

logger = get_logger("partstream.parts")

#: Seconds after the timeout at which the database ends the abandoned statement.
_GRACE = 0.25


def in_worker(seconds: float) -> AbstractContextManager[None]:
    """Let the database end this worker's statements shortly after the timeout."""
    return statement_timeout(seconds, grace=_GRACE)


@contextmanager
def in_transaction(seconds: float, aliases: Sequence[str], subject: str) -> Iterator[None]:
    """Let these databases, if they can, end the statements of work that must stay in its thread.

    Raises:
        PartTimeout: When a database ended a statement.
    """
    if not any(map(can_stop_statements, aliases)):
        logger.warning(
            "%s has a timeout that cannot be kept: in an atomic block it stays in the request's "
            "thread, and this database cannot end a statement by itself.",
            subject,
        )
    try:
        with statement_timeout(seconds):
            yield
    except Exception as error:
        if is_statement_timeout(error):
            raise PartTimeout("the database ended its statement") from error
        raise
