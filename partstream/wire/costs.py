"""What each part of a response cost, for developers: ``meta.debug`` and ``Server-Timing``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from partstream.parts.fragment import encode
from partstream.parts.outcome import Outcome

#: The query that asks for ``meta.debug``.
PARAMETER: Final = "debug"
#: The header (https://www.w3.org/TR/server-timing/).
HEADER: Final = "Server-Timing"

#: Returns the number of a part's queries; None: they are not known.
CountOf = Callable[[str], int | None]


def debug_json(outcomes: Iterable[Outcome], pending: Iterable[str], count_of: CountOf) -> bytes:
    """``meta.debug``: name -> duration in milliseconds, source, and number of queries.

    Args:
        outcomes: The parts of the response, and those that they depend on.
        pending: Parts that were left to a later chunk; they have no duration yet.
        count_of: See `CountOf`.
    """
    entries: dict[str, dict[str, Any]] = {
        outcome.name: {
            "duration": _milliseconds(outcome),
            "source": outcome.source,
            "queries": count_of(outcome.name),
        }
        for outcome in outcomes
    }
    for name in pending:
        entries[name] = {"duration": None, "source": "pending", "queries": None}
    return encode(entries)


def server_timing(outcomes: Iterable[Outcome], count_of: CountOf, most: int) -> str:
    """The value of ``Server-Timing``: the slowest parts first, as many as fit.

    Args:
        outcomes: The parts of the response, and those that they depend on.
        count_of: See `CountOf`.
        most: The maximum length in characters.

    Example:
        ``orders;dur=41.2;desc="loader, 3 queries", meta;dur=0.1;desc="immediate"``
    """
    entries: list[str] = []
    room = most
    for outcome in sorted(outcomes, key=_milliseconds, reverse=True):
        count = count_of(outcome.name)
        queries = "" if count is None else ", 1 query" if count == 1 else f", {count} queries"
        entry = f'{outcome.name};dur={_milliseconds(outcome)};desc="{outcome.source}{queries}"'
        room -= len(entry) + 2
        if room < 0:
            break
        entries.append(entry)
    return ", ".join(entries)


def _milliseconds(outcome: Outcome) -> float:
    return round(outcome.duration * 1000, 1)
