"""Timeouts: how long a function is waited for, and who ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from django.db import connections

from partstream.backends.executors.base import Executor
from partstream.backends.executors.calls import State
from partstream.backends.executors.hooks import CallHooks
from partstream.exceptions import NoCapacity, PartTimeout
from partstream.logs import get_logger

from .statement_timeout import can_stop_statements, is_statement_timeout, statement_timeout

logger = get_logger("partstream.parts")

#: Seconds after the timeout at which the database ends what nobody waits for any more.
_GRACE = 0.25


def atomic_aliases() -> list[str]:
    """Aliases of the databases that are in an atomic block, in this thread."""
    return [
        connection.alias
        for connection in connections.all(initialized_only=True)
        if connection.in_atomic_block
    ]


def wait_for(
    executor: Executor,
    function: Callable[[], Any],
    seconds: float,
    hooks: CallHooks | None = None,
) -> Any:
    """Call a function in another thread, and wait for it so long and no longer.

    Args:
        executor: Whose thread it is.
        function: What to call.
        seconds: The timeout.
        hooks: What is called around the function. The timeout does not end their statements: what
            one of them sets, the other has to take away.

    Raises:
        PartTimeout: When it did not end in time; it runs on.
        NoCapacity: When it could not be begun in time.
    """

    def limited() -> Any:
        with in_thread(seconds):
            return function()

    work = limited if hooks is None else partial(hooks.around, limited)
    with executor.pool.blocking():
        call = executor.pool.submit(work, seconds)
        done = threading.Event()
        call.on_done(lambda _: done.set())
        if not done.wait(seconds):
            refuse(call.give_up())
    if call.error is not None:
        raise call.error
    return call.result


def refuse(state: State) -> None:
    """What it means that a call was given up in this state.

    Raises:
        PartTimeout: It runs on, unwatched.
        NoCapacity: It never began.
    """
    if state is State.ABANDONED:
        raise PartTimeout("it took longer than its timeout")
    if state is State.CANCELLED:
        raise NoCapacity("it waited for a thread until its timeout")


def in_thread(seconds: float) -> AbstractContextManager[None]:
    """In a thread of a function's own: the database ends what nobody waits for any more."""
    return statement_timeout(seconds, grace=_GRACE)


@contextmanager
def in_database(seconds: float, aliases: list[str], subject: str) -> Iterator[None]:
    """Where no other thread can be asked: let the database end the statements, if it can.

    Args:
        seconds: The timeout.
        aliases: Databases that are in an atomic block.
        subject: What has the timeout, for the log.

    Raises:
        PartTimeout: When the database ended one.
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
