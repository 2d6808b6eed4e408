"""Outcomes: the results of parts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Failure:
    """Why a part has no data, as the client sees it.

    Attributes:
        code: A code for programs.
        detail: A text for people; None: the default text of the code.
        retryable: Whether a later request may succeed.
        exception: Class and text of the exception, under ``settings.DEBUG`` only.
        retry_after: Whole seconds after which a retry may succeed; None: not known.
        problems: What an endpoint says about an invalid request, as JSON data.
    """

    code: str
    detail: str | None = None
    retryable: bool = True
    exception: str | None = None
    retry_after: int | None = None
    problems: Any = None


@dataclass
class Outcome:
    """The result of one part: its fragment, or its failure. Treat it as read-only.

    Each part creates one; a frozen dataclass or a named tuple takes twice as long to create.

    Attributes:
        name: The part.
        fragment: The data as JSON bytes; None when it failed.
        failure: Why it failed; None when it succeeded.
        duration: Seconds for loader, serializer and encoding together.
        source: ``"immediate"``, ``"loader"``, ``"fallback"``, ``"cache"``, or ``"joined"``: the
            loader ran for another caller.
        error: The exception of the loader, so that other callers waiting for it can use their own
            fallbacks.
    """

    name: str
    fragment: bytes | None
    failure: Failure | None
    duration: float
    source: str
    error: BaseException | None = None


@dataclass
class SentOutcome(Outcome):
    """An outcome whose fragment was sent, and that nothing needs any more.

    Attributes:
        bytes_sent: The length of its fragment.
    """

    bytes_sent: int = 0


def sent(outcome: Outcome) -> Outcome:
    """The outcome without its fragment."""
    if outcome.fragment is None:
        return outcome
    size = len(outcome.fragment)
    return SentOutcome(**{**vars(outcome), "fragment": b""}, bytes_sent=size)


def size_of(outcome: Outcome) -> int:
    """The length of an outcome's fragment in bytes, sent or not."""
    if isinstance(outcome, SentOutcome):
        return outcome.bytes_sent
    return 0 if outcome.fragment is None else len(outcome.fragment)


def worth_keeping(outcome: Outcome) -> bytes | None:
    """The fragment, if a loader made it: errors and fallbacks are never cached."""
    return outcome.fragment if outcome.source in ("loader", "joined") else None


def joined(outcome: Outcome) -> Outcome:
    """The outcome of another caller's loader, as a caller has it that waited for it."""
    source = "joined" if outcome.source == "loader" else outcome.source
    return replace(outcome, source=source)
