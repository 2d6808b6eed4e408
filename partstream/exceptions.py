"""The exceptions that partstream raises.

- PartstreamError

  - PartError: a loader says in its own words why its part is unavailable
  - PartTimeout: a loader exceeded its timeout
  - NoCapacity: there was no free capacity to run a loader

    - NoThread: the system could not start a thread

  - HookFailed: an executor's ``before_call()`` failed, so no loader ran
  - EndpointFailed: the endpoint that a part is made from answered with an error

  - CursorError: a token that cannot be used

    - InvalidCursor: not a cursor of this walk, for whatever reason
    - CursorExpired: older than its time to live
    - StaleCursor: the declared parts have changed since the walk began

  - InvalidRequest: a protocol parameter is malformed

    - InvalidKeys: the ``keys`` parameter
    - UnknownPart: a key that does not exist for this user

  - AddressDenied: the client's address is not admitted
  - StoreUnavailable: the request cannot be counted, and uncounted requests are refused
  - ProbeFailed: a health check found that a backend does not work

- Misuse (an ``ImproperlyConfigured``): a declaration that the developer has to fix

These classes do not depend on DRF. ``partstream.wire.errors`` maps each to its response.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import Promise

_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")


class PartstreamError(Exception):
    """The base class of the errors that partstream raises while it handles a request."""


class PartError(PartstreamError):
    """Raise it in a loader: its text is the only text from a loader that reaches the client.

    Args:
        detail: A text for people; it can be a lazy translation.
        code: A code for programs: lower-case letters, digits and underscores, up to 64 characters.
        retryable: Whether a later request may succeed.

    Raises:
        Misuse: When an argument is invalid.

    Example:
        ``raise PartError("The warehouse is closed.", code="warehouse_closed", retryable=False)``
    """

    def __init__(self, detail: str, *, code: str = "part_failed", retryable: bool = True) -> None:
        if not isinstance(detail, (str, Promise)) or type(retryable) is not bool:
            raise Misuse(
                "PartError(detail, code=..., retryable=...): give text, a code, True or False."
            )
        if not _CODE.fullmatch(code):
            raise Misuse(
                f"PartError(code={code!r}): a code is lower-case letters, digits and underscores, "
                'for example "warehouse_closed".'
            )
        super().__init__(detail)
        self.detail = detail
        self.code = code
        self.retryable = retryable


class PartTimeout(PartstreamError, TimeoutError):
    """A loader exceeded its timeout. A fallback function may receive it."""


class Waitable(Protocol):
    """What calls back when there is room: `partstream.backends.executors.room.Room`."""

    def call_when_free(self, callback: Callable[[], None]) -> None:
        """See `partstream.backends.executors.room.Room.call_when_free`."""

    def forget(self, callback: Callable[[], None]) -> None:
        """See `partstream.backends.executors.room.Room.forget`."""


class NoCapacity(PartstreamError):
    """Too many loaders run already. A fallback function may receive it.

    Args:
        message: The reason, for logs.
        room: What calls back when there is room; None: waiting does not help.
    """

    def __init__(self, *message: object, room: Waitable | None = None) -> None:
        super().__init__(*message)
        self.room = room


class NoThread(NoCapacity):
    """The system could not start a thread, and no existing thread will take the loader."""


class HookFailed(PartstreamError):
    """An executor's ``before_call()`` failed, so no code of the project may run.

    No fallback covers it, because a fallback would run without the state that the hook sets. Its
    ``__cause__`` is the exception that the hook raised.
    """


class EndpointFailed(PartstreamError):
    """The endpoint of an `endpoint` part answered with an error.

    A fallback function may receive it.

    Args:
        status: The status of its response, 400 to 599.
        data: The body, as it was before rendering; None: it is not known.
        retry_after: Seconds after which a retry may succeed; None: not known.
    """

    def __init__(self, status: int, data: Any = None, retry_after: float | None = None) -> None:
        super().__init__(f"the endpoint answered {status}")
        self.status = status
        self.data = data
        self.retry_after = retry_after


class CursorError(PartstreamError):
    """A token that cannot be used.

    The message has the actual reason, for logs. Clients get one fixed text for each class.
    """

    #: The token that the client sent, if it is known.
    token: str | None = None


class InvalidCursor(CursorError):
    """The token is not a cursor of this walk: malformed, altered, or bound to something else."""


class CursorExpired(CursorError):
    """The token is older than its time to live."""


class StaleCursor(CursorError):
    """The parts that the walk began with are no longer declared in the same order."""


class InvalidRequest(PartstreamError):
    """A protocol parameter is malformed. The message is meant for the client."""


class InvalidKeys(InvalidRequest):
    """The ``keys`` parameter is absent, too long, malformed or repeated."""


class UnknownPart(InvalidRequest):
    """A key does not exist, or this user may not see its part. The response is the same."""

    message: ClassVar[str] = "At least one of the keys is not a part of this view."

    def __init__(self) -> None:
        super().__init__(self.message)


class AddressDenied(PartstreamError):
    """The client's address is blocked, or is not in the allowlist."""


class StoreUnavailable(PartstreamError):
    """The rate-limit store is down, and ``RATE_LIMIT_ON_STORE_ERROR`` is ``"closed"``.

    Args:
        wait: Seconds until the store is tried again.
    """

    def __init__(self, wait: float) -> None:
        super().__init__("the rate-limit store is unavailable")
        self.wait = wait


class StreamsFull(PartstreamError):
    """This process has ``MAX_STREAMS`` open streams, or streams are switched off.

    Args:
        wait: Seconds after which there may be room.
    """

    def __init__(self, wait: float) -> None:
        super().__init__("this process serves as many streams as it may")
        self.wait = wait


class ProbeFailed(PartstreamError):
    """Raise it in ``Backend.probe()``: health checks show its text, and of others only the type."""


class Misuse(ImproperlyConfigured):
    """A declaration or setting that cannot work. The message says what to write instead."""
