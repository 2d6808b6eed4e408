"""What an exception of a loader means: a denial, something that does not exist, a bug, a timeout.

An exception group means what one of its exceptions means. The boundary, fallbacks and flights all
ask here, so they agree.
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

#: These say "not for you".
DENIED: Final = (PermissionDenied, drf.PermissionDenied, drf.NotAuthenticated)
#: These say "it does not exist".
NOT_FOUND: Final = (Http404, drf.NotFound)
#: Neither is a failure: no fallback hides them, and nobody else gets them.
DENIALS: Final = (*DENIED, *NOT_FOUND)
#: Both classes that say a call was cancelled.
CANCELLED: Final = (asyncio.CancelledError, concurrent.futures.CancelledError)
_OWN: Final = (Exception, *CANCELLED)


def decisive(error: BaseException) -> BaseException:
    """The exception that decides what ``error`` means: itself, unless it is a group.

    Of a group it is the first of these, at whatever depth: a denial, something that does not
    exist, a bug, a `PartError` that is not retryable, one that is, a timeout, no capacity, a
    cancelled call. Where two are of one kind, the first in the group's order decides.

    Args:
        error: What was raised. ``exceptiongroup``'s classes are groups too, before Python 3.11.

    Example:
        ``decisive(ExceptionGroup("", [ValueError(), Http404()]))`` is the ``Http404``.
    """
    kind, found = _group_class(), error
    if kind is None or not isinstance(error, kind):
        return error
    # A stack of our own: a group may be nested more deeply than Python's goes. A group that stands
    # in several places is looked into once.
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
    """Whether it says "not for you", or "it does not exist", to whoever asked."""
    return isinstance(error, BaseException) and isinstance(decisive(error), DENIALS)


def is_failure(error: BaseException) -> bool:
    """Whether it is a part's own failure: an exception, a cancelled call, a group of only these.

    Others, such as ``SystemExit``, are for the process.
    """
    if isinstance(error, _OWN):
        return True
    kind = _group_class()
    return kind is not None and isinstance(error, kind) and error.split(_OWN)[1] is None


def _group_class() -> Any:
    """``BaseExceptionGroup``: Python's, or the backport's if anybody has imported it."""
    backport = sys.modules.get("exceptiongroup")
    return getattr(builtins, "BaseExceptionGroup", getattr(backport, "BaseExceptionGroup", None))


_BUG: Final = 2
_LAST: Final = 8


def _rank(error: BaseException) -> int:
    """How early an exception decides for its group; 0 is the first."""
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
