"""Outcomes: what became of a part."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """Why a part has no data, as far as a client may know.

    Attributes:
        code: What a program reads.
        detail: What a person reads; None for the standing text of the code.
        retryable: Whether asking again later may help.
        exception: Class and text of what was raised, under ``settings.DEBUG`` only.
    """

    code: str
    detail: str | None = None
    retryable: bool = True
    exception: str | None = None


@dataclass
class Outcome:
    """What became of one part: its fragment, or its failure. Treat it as read-only.

    Each part makes one, and a frozen dataclass, or a named tuple, takes twice as long to make.

    Attributes:
        name: The part.
        fragment: The data as JSON bytes; None when it failed.
        failure: Why it failed; None when it did not.
        duration: Seconds that loader, serializer and encoding took together.
        source: ``"immediate"``, ``"loader"``, ``"fallback"`` or ``"cache"``.
        error: What the loader raised: others who waited for it recover from it by themselves.
    """

    name: str
    fragment: bytes | None
    failure: Failure | None
    duration: float
    source: str
    error: BaseException | None = None


def worth_keeping(outcome: Outcome) -> bytes | None:
    """The fragment, if a loader made it: errors and fallbacks are never kept."""
    return outcome.fragment if outcome.source == "loader" else None
