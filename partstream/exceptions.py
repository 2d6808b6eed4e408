"""What partstream raises.

- PartstreamError

  - PartError: a loader says, in its own words, why its part cannot be had
  - PartTimeout: a loader took longer than it may
  - NoCapacity: there was no room to run a loader

    - NoThread: the system had no thread to give

  - HookFailed: an executor's ``before_call()`` failed, so no loader was run

  - CursorError: a token that cannot be followed

    - InvalidCursor: not a cursor of this walk, whatever the reason
    - CursorExpired: older than its time to live
    - StaleCursor: the declared parts changed since the walk began

  - InvalidRequest: a request that breaks the grammar of the protocol's parameters

    - InvalidKeys: the ``keys`` parameter
    - UnknownPart: a key that does not exist for this user

  - AddressDenied: a client whose address is not admitted
  - StoreUnavailable: a request that cannot be counted, and may not pass uncounted

- Misuse (an ``ImproperlyConfigured``): a declaration that the developer has to mend

None of them knows of DRF: ``partstream.envelopes`` says which answer each becomes.
"""

from __future__ import annotations

import re
from typing import ClassVar

from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import Promise

_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")


class PartstreamError(Exception):
    """The base of what partstream raises while it answers a request."""


class PartError(PartstreamError):
    """Raised in a loader: the only text of a loader that reaches a client.

    Args:
        detail: What a person reads; a lazy translation is fine.
        code: What a program reads: lower case, digits, underscores, up to 64 characters.
        retryable: Whether asking again later may help.

    Raises:
        Misuse: When an argument is not of that form.

    Example:
        ``raise PartError("The warehouse is closed.", code="warehouse_closed", retryable=False)``
    """

    def __init__(self, detail: str, *, code: str = "part_failed", retryable: bool = True) -> None:
        if not isinstance(detail, (str, Promise)) or type(retryable) is not bool:
            raise Misuse(
                "PartError(detail, code=..., retryable=...): a text, a code, True or False."
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
    """A loader took longer than its timeout. A fallback function may get it."""


class NoCapacity(PartstreamError):
    """There was no room to run a loader: too many run already. A fallback function may get it."""


class NoThread(NoCapacity):
    """The system had no thread to give, and no thread that is there will come to the loader."""


class HookFailed(PartstreamError):
    """An executor's ``before_call()`` failed, so that no code of the project's may run.

    No fallback covers it: that would run without what the hook sets. Its ``__cause__`` is what
    the hook raised.
    """


class CursorError(PartstreamError):
    """A token that cannot be followed.

    Its message is the true reason. It is for logs: a client gets one answer a class.
    """

    #: What was given, as far as that is known.
    token: str | None = None


class InvalidCursor(CursorError):
    """The token is not a cursor of this walk: malformed, tampered with, or bound elsewhere."""


class CursorExpired(CursorError):
    """The token is older than its time to live."""


class StaleCursor(CursorError):
    """The parts that the walk began with are no longer declared in that order."""


class InvalidRequest(PartstreamError):
    """A protocol parameter breaks its grammar. The message is meant for the client."""


class InvalidKeys(InvalidRequest):
    """The ``keys`` parameter is absent, too long, malformed or repeated."""


class UnknownPart(InvalidRequest):
    """A key that does not exist, or that this user may not see: one answer for both."""

    message: ClassVar[str] = "At least one of the keys is not a part of this view."

    def __init__(self) -> None:
        super().__init__(self.message)


class AddressDenied(PartstreamError):
    """The client's address is blocked, or not among those that are allowed."""


class StoreUnavailable(PartstreamError):
    """The rate-limit store is down, and ``RATE_LIMIT_ON_STORE_ERROR`` is ``"closed"``.

    Args:
        wait: Seconds after which it is tried again.
    """

    def __init__(self, wait: float) -> None:
        super().__init__("the rate-limit store cannot be asked")
        self.wait = wait


class Misuse(ImproperlyConfigured):
    """A declaration or setting that cannot work. The message says what to write instead."""
