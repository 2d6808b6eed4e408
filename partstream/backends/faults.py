"""Tells whose fault a store's exception is: the server's, or that of a single call."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from enum import Enum
from pickle import PickleError

from django.core.exceptions import SynchronousOnlyOperation
from django.db import DataError, IntegrityError, InternalError
from django.db.transaction import TransactionManagementError


class Fault(Enum):
    """What an exception means for the next call."""

    #: The server refused, hung, closed the connection, or cannot serve any client now.
    SERVICE = "service"
    #: The entry, or the operation on it, is at fault; the next call may succeed.
    CALL = "call"
    #: This process has no free connection, but will have one when another thread is done.
    NO_ROOM = "no room"
    #: The same after waiting; or the process cannot open a socket.
    STARVED = "starved"
    #: An exception of an unknown kind. It counts as the server's fault.
    UNKNOWN = "unknown"


class CallFault(Exception):
    """Raise it in a store: one call failed through its own fault, and the server works."""


class ServiceFault(Exception):
    """Raise it in a store: the server failed, although its client raised nothing."""


#: What Python raises for a wrong value or a bug.
_OF_THE_PROGRAM = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    NameError,
    NotImplementedError,
    PickleError,
    RecursionError,
    TypeError,
    ValueError,
    # From a cache in the database: a value that does not fit, or an already broken transaction.
    DataError,
    IntegrityError,
    SynchronousOnlyOperation,
    TransactionManagementError,
)
#: Resources that a process or its machine can run out of.
_ERRNOS_OF_THE_PROCESS = {errno.EADDRNOTAVAIL, errno.EMFILE, errno.ENFILE}

# The clients need not be installed, so their exceptions are recognised by name.
_REDIS = {"redis", "valkey"}
#: How a server's reply begins when it refuses all clients. Scripts of older servers prefix "-".
_REFUSES_EVERYBODY = re.compile(
    r"(?:^|[\s-])(?:BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|NOAUTH|NOPERM|NOREPLICAS|OOM"
    r"|READONLY|WRONGPASS)\b"
)
#: The replies of that kind for which redis-py has classes; it removes their first word.
_REFUSALS = {
    "AuthenticationWrongNumberOfArgsError",
    "ClusterDownError",
    "ExecAbortError",
    "NoPermissionError",
    "OutOfMemoryError",
    "ReadOnlyError",
}
_OF_PYLIBMC = {"BadKeyProvided", "ClientError", "InvalidArguments", "NotSupportedError", "TooBig"}


def fault_of(error: BaseException) -> Fault:
    """Whose fault an exception is.

    Its original cause decides, if it has one (``raise ... from ...``).

    Args:
        error: The exception of a client library or a store.
    """
    for each in reversed(list(_causes(error))):
        fault = _judge(each)
        if fault is not None:
            return fault
    return Fault.UNKNOWN


def _causes(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    for _ in range(10):
        if current is None:
            return
        yield current
        current = current.__cause__


def _judge(error: BaseException) -> Fault | None:
    """What an exception means by itself; None if that is unknown."""
    library = type(error).__module__.partition(".")[0]
    if isinstance(error, CallFault):
        return Fault.CALL
    if isinstance(error, ServiceFault):
        return Fault.SERVICE
    if library in _REDIS:
        return _of_redis(error, {kind.__name__ for kind in type(error).__mro__})
    if library == "pymemcache":
        return _of_pymemcache(error, {kind.__name__ for kind in type(error).__mro__})
    if library in {"pylibmc", "_pylibmc"}:
        return Fault.CALL if type(error).__name__ in _OF_PYLIBMC else Fault.SERVICE
    if library == "django_redis":  # Its other exception wraps that of redis-py.
        return Fault.CALL if type(error).__name__ == "CompressorError" else None
    # Checked before the others, because some network errors are ValueErrors as well.
    if isinstance(error, OSError):
        if error.errno == errno.ENAMETOOLONG:
            return Fault.CALL
        return Fault.STARVED if error.errno in _ERRNOS_OF_THE_PROCESS else Fault.SERVICE
    if isinstance(error, _OF_THE_PROGRAM):
        return Fault.CALL
    if isinstance(error, RuntimeError):
        if str(error).startswith("Too many objects"):  # The pool of pymemcache.
            return Fault.NO_ROOM
        return Fault.STARVED if "can't start new thread" in str(error) else None
    if isinstance(error, InternalError) and "transaction is aborted" in str(error):
        return Fault.CALL
    return None


def _of_redis(error: BaseException, names: set[str]) -> Fault:
    # A pipeline puts the command before the reply, and its arguments can be any text.
    text = str(error).rpartition("caused error: ")[2]
    if "ConnectionError" in names:
        if "MaxConnectionsError" in names or text == "Too many connections":
            return Fault.NO_ROOM
        if text == "No connection available.":
            return Fault.STARVED
        return _of_connect(error)
    if "DataError" in names:
        return Fault.CALL
    if "ResponseError" in names:
        refused = names & _REFUSALS or _REFUSES_EVERYBODY.search(text)
        return Fault.SERVICE if refused else Fault.CALL
    if "CrossSlotTransactionError" in names or "same key slot" in text:
        return Fault.CALL
    return Fault.SERVICE


def _of_connect(error: BaseException) -> Fault:
    """Whether this process could not open a socket; redis-py keeps the reason as the context."""
    reason = error.__context__
    if isinstance(reason, OSError) and reason.errno in _ERRNOS_OF_THE_PROCESS:
        return Fault.STARVED
    return Fault.SERVICE


def _of_pymemcache(error: BaseException, names: set[str]) -> Fault:
    if "MemcacheClientError" in names or "too large" in str(error):
        return Fault.CALL
    return Fault.SERVICE
