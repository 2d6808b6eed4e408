"""What a loader's exception means: a denial, a missing object, a bug, or a timeout.

The boundary, fallbacks and flights all ask this module, so they agree. An exception group means
what one of its members means.
"""

from __future__ import annotations

import asyncio
import builtins
import concurrent.futures
import math
import sys
from dataclasses import dataclass
from typing import Any, Final

from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.http import Http404
from rest_framework.exceptions import APIException, Throttled

from partstream.backends.executors.daemon_threads import is_out_of_threads
from partstream.exceptions import (
    EndpointFailed,
    HookFailed,
    Misuse,
    NoCapacity,
    PartError,
    PartTimeout,
)

from .fragment import NotSerializable, decode, encode
from .outcome import Failure

#: Both classes of cancelled calls.
CANCELLED: Final = (asyncio.CancelledError, concurrent.futures.CancelledError)
_OWN: Final = (Exception, *CANCELLED)


@dataclass(frozen=True)
class Meaning:
    """What an exception means for its part.

    Attributes:
        code: The code that the client gets.
        rank: Which exception of a group decides: the one with the lowest rank.
        retryable: Whether a later request may succeed.
        is_covered: Whether a fallback may be delivered instead.
        is_refusal: Whether it answers this request alone. Other requests that wait for the same
            data do not get it.
        is_bug: Whether the log needs its traceback.
    """

    code: str
    rank: int
    retryable: bool = False
    is_covered: bool = True
    is_refusal: bool = False
    is_bug: bool = False


_FORBIDDEN: Final = Meaning("part_forbidden", 0, is_covered=False, is_refusal=True)
_NOT_FOUND: Final = Meaning("part_not_found", 1, is_covered=False, is_refusal=True)
_FAILED: Final = Meaning("part_failed", 2, retryable=True, is_bug=True)
#: After a failed hook, no code of the project may run.
_HOOK_FAILED: Final = Meaning("part_failed", 2, retryable=True, is_covered=False, is_bug=True)
#: Only a change of the code helps.
_MISUSE: Final = Meaning("part_failed", 2, is_bug=True)
_NOT_SERIALIZABLE: Final = Meaning("not_serializable", 2, is_bug=True)
_INVALID: Final = Meaning("part_invalid", 3, is_refusal=True)
_THROTTLED: Final = Meaning("part_throttled", 5, retryable=True, is_refusal=True)
_TIMEOUT: Final = Meaning("part_timeout", 7, retryable=True)
_CAPACITY: Final = Meaning("capacity", 8, retryable=True)
#: Last: a group's other calls are cancelled because one failed.
_CANCELLED: Final = Meaning("part_failed", 9, retryable=True, is_covered=False, is_bug=True)


def meaning_of(error: BaseException) -> Meaning:
    """What an exception means; see `decisive` for a group.

    ============================================================  ==================================
    ``PartError``                                                 its own code
    Django's or DRF's ``PermissionDenied``, status 401 or 403     ``part_forbidden``
    ``Http404``, status 404 or 410                                ``part_not_found``
    status 429 (``Throttled``)                                    ``part_throttled``
    other statuses from 400 to 499 (DRF's ``ValidationError``),   ``part_invalid``
    ``BadRequest``, ``SuspiciousOperation``
    `PartTimeout`                                                 ``part_timeout``
    `NoCapacity`, or no more threads                              ``capacity``
    data that is not JSON                                         ``not_serializable``
    everything else                                               ``part_failed``
    ============================================================  ==================================

    The status is that of an ``APIException``, or of the response of an endpoint.
    """
    error = decisive(error)
    return _meaning_of_one(error)


def _meaning_of_one(error: BaseException) -> Meaning:
    if isinstance(error, PartError):
        return Meaning(error.code, 6 if error.retryable else 4, retryable=error.retryable)
    for kind, meaning in _MEANINGS:
        if isinstance(error, kind):
            return meaning
    if isinstance(error, APIException):
        return _meaning_of_status(error.status_code)
    if isinstance(error, EndpointFailed):
        return _meaning_of_status(error.status)
    return _CAPACITY if is_out_of_threads(error) else _FAILED


_MEANINGS: Final[tuple[tuple[Any, Meaning], ...]] = (
    (PermissionDenied, _FORBIDDEN),
    (Http404, _NOT_FOUND),
    ((BadRequest, SuspiciousOperation), _INVALID),
    (PartTimeout, _TIMEOUT),
    (NoCapacity, _CAPACITY),
    (HookFailed, _HOOK_FAILED),
    (Misuse, _MISUSE),
    (NotSerializable, _NOT_SERIALIZABLE),
    (CANCELLED, _CANCELLED),
)


def _meaning_of_status(status: Any) -> Meaning:
    if not isinstance(status, int):
        return _FAILED
    if status in (401, 403):
        return _FORBIDDEN
    if status in (404, 410):
        return _NOT_FOUND
    if status == 429:
        return _THROTTLED
    return _INVALID if 400 <= status < 500 else _FAILED


def failure_of(error: BaseException) -> Failure:
    """The failure that the client sees of an exception.

    Only a `PartError` says something in its own words. What an endpoint answered to an invalid
    request is in ``problems``, since the client could have asked the endpoint for it.
    """
    error = decisive(error)
    meaning = _meaning_of_one(error)
    return Failure(
        meaning.code,
        encodable(str(error.detail)) if isinstance(error, PartError) else None,
        meaning.retryable,
        retry_after=_seconds_to_wait(error),
        problems=_problems_of(error) if meaning is _INVALID else None,
    )


def _seconds_to_wait(error: BaseException) -> int | None:
    """The whole seconds after which a retry may succeed, if the exception says so."""
    wait = error.retry_after if isinstance(error, EndpointFailed) else getattr(error, "wait", None)
    if not isinstance(error, (EndpointFailed, Throttled)) or not isinstance(wait, (int, float)):
        return None
    return math.ceil(wait) if math.isfinite(wait) and wait >= 0 else None


def _problems_of(error: BaseException) -> Any:
    """The body of an endpoint's response, as JSON data; None: there is none."""
    if not isinstance(error, EndpointFailed) or error.data is None:
        return None
    try:
        return decode(encode(error.data))
    except NotSerializable:
        return None


def decisive(error: BaseException) -> BaseException:
    """The exception that decides what ``error`` means: itself, unless it is a group.

    In a group it is the first of these, at any depth: a denial, a missing object, a bug, an invalid
    request, a `PartError` that is not retryable, the longest wait of a throttle, another
    `PartError`, a timeout, no capacity, a cancelled call. Of two of the same kind, the first in the
    group's order decides.

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
    while waiting and best > _FIRST:
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


def is_refusal(error: object) -> bool:
    """Whether it answers this request alone: a denial, a missing object, a throttle, bad input."""
    return isinstance(error, BaseException) and meaning_of(error).is_refusal


def is_covered(error: BaseException) -> bool:
    """Whether a fallback may be delivered instead of this exception."""
    return isinstance(error, Exception) and meaning_of(error).is_covered


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


_FIRST: Final = (0, 0)
_LAST: Final = (10, 0)


def _rank(error: BaseException) -> tuple[int, int]:
    """The exception's rank within its group; the lowest rank decides."""
    return _meaning_of_one(error).rank, -(_seconds_to_wait(error) or 0)


def encodable(text: str) -> str:
    """The text without lone surrogates, which JSON in UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode()
