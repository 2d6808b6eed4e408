"""What a loader's exception means: a denial, a missing object, a bug, or a timeout.

An exception group means what one of its members means. The boundary, fallbacks and flights all
use this module, so they agree.
"""

from __future__ import annotations

import asyncio
import builtins
import concurrent.futures
import sys
from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions as drf

from partstream.exceptions import NoCapacity, PartError, PartTimeout

#: The user may not see the part.
DENIED: Final = (PermissionDenied, drf.PermissionDenied, drf.NotAuthenticated)
#: The object does not exist.
NOT_FOUND: Final = (Http404, drf.NotFound)
#: Neither is a failure: no fallback hides them, and they are not shared with other requests.
DENIALS: Final = (*DENIED, *NOT_FOUND)
#: Both classes of cancelled calls.
CANCELLED: Final = (asyncio.CancelledError, concurrent.futures.CancelledError)
_OWN: Final = (Exception, *CANCELLED)


def decisive(error: BaseException) -> BaseException:
    """The exception that decides what ``error`` means: itself, unless it is a group.

    In a group it is the first of these, at any depth: a denial, a missing object, a bug, a
    `PartError` that is not retryable, one that is, a timeout, no capacity, a cancelled call. Of
    two of the same kind, the first in the group's order decides.

    Args:
        error: The exception. Before Python 3.11, ``exceptiongroup``'s classes are groups too.

    Example:
        ``decisive(ExceptionGroup("", [ValueError(), Http404()]))`` is the ``Http404``.
    """
    kind, found = _group_class(), error
    if kind is None or not isinstance(error, kind):
        return error
    # An explicit stack, because a group may be nested more deeply than Python can recurse. A group
    # that occurs several times is searched once.
    best, seen = _LAST, {id(error)}
    waiting: list[Any] = [error]
    while waiting and best:
        current = waiting.pop()
        if isinstance(current, kind):
            fresh = [inner for inner in current.exceptions if id(inner) not in seen]
            seen.update(map(id, fresh))
            waiting += reversed(fresh)
            continue
        rank = _rank(current)
        if rank < best:
            found, best = current, rank
    return found


def is_denial(error: object) -> bool:
    """Whether it means that this user may not see the part, or that it does not exist."""
    return isinstance(error, BaseException) and isinstance(decisive(error), DENIALS)


def is_failure(error: BaseException) -> bool:
    """Whether it is the part's own failure: an exception, a cancelled call, a group of only these.

    Others, such as ``SystemExit``, concern the whole process.
    """
    if isinstance(error, _OWN):
        return True
    kind = _group_class()
    return kind is not None and isinstance(error, kind) and error.split(_OWN)[1] is None


def forget_tracebacks(error: BaseException) -> None:
    """Remove the tracebacks of an exception, of those that led to it, and of a group's members.

    A traceback refers to the variables of its functions, and they refer to the outcome that keeps
    the exception. Only the garbage collector would free such a cycle. Log the exception first.
    """
    kind, seen = _group_class(), set()
    waiting: list[Any] = [error]
    while waiting:
        current = waiting.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        current.__traceback__ = None
        waiting += (current.__cause__, current.__context__)
        if kind is not None and isinstance(current, kind):
            waiting += current.exceptions


def _group_class() -> Any:
    """``BaseExceptionGroup``: Python's, or the backport's if something has imported it."""
    backport = sys.modules.get("exceptiongroup")
    return getattr(builtins, "BaseExceptionGroup", getattr(backport, "BaseExceptionGroup", None))


_BUG: Final = 2
_LAST: Final = 8


def _rank(error: BaseException) -> int:
    """The exception's rank within its group; the lowest rank decides."""
    if isinstance(error, DENIED):
        return 0
    if isinstance(error, NOT_FOUND):
        return 1
    if isinstance(error, PartError):
        return 4 if error.retryable else 3
    if isinstance(error, PartTimeout):
        return 5
    if isinstance(error, NoCapacity):
        return 6
    # Last: a group's other calls are cancelled because one failed.
    return 7 if isinstance(error, CANCELLED) else _BUG
