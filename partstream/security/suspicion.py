"""Suspicious clients: those whose requests are refused again and again within a minute.

Only refused requests are counted, in this process, in bounded memory.
"""

from __future__ import annotations

import threading
import time
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from rest_framework import exceptions as drf
from rest_framework.request import Request

from partstream import signals
from partstream.exceptions import InvalidCursor, InvalidKeys, InvalidRequest, UnknownPart
from partstream.per_process import reset_after_fork

from .audit import fingerprint

#: A client with this number of refused requests within `SECONDS` is suspected.
THRESHOLD: Final = 30
#: The length of the window, and the seconds between two reports of one client.
SECONDS: Final = 60
#: The number of clients that are watched, and the number of those that have one refusal so far.
MAX_CLIENTS: Final = 10_000
#: Watched clients without a recent refusal that one refusal removes; more than it can add.
SWEPT: Final = 2

#: Exception class -> the reason to count. Other refusals are not suspicious: a deployment makes
#: cursors stale, and an open page goes on asking after its user's session or permission ended.
REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (InvalidCursor, "cursor_invalid"),
    (UnknownPart, "part_unknown"),
    (InvalidKeys, "keys_invalid"),
    (InvalidRequest, "request_invalid"),
    (drf.Throttled, "throttled"),
    (drf.AuthenticationFailed, "authentication_failed"),
)
_NAMES: Final = tuple(name for _, name in REASONS)


def reason_of(error: Exception) -> str | None:
    """The reason by which a refusal is counted; None: it is not counted."""
    return next((name for kind, name in REASONS if isinstance(error, kind)), None)


class _History:
    """One client's refusals.

    Attributes:
        times: Ascending seconds of the last refusals: `THRESHOLD` at most, none older than the
            window.
        reasons: The position of each one's reason in `_NAMES`.
        reported: When the client was last reported; None: not since it last paused for a window.
        counts: Refusals since then, by reason.
    """

    __slots__ = ("counts", "reasons", "reported", "times")

    def __init__(self) -> None:
        self.times = array("d")
        self.reasons = bytearray()
        self.reported: float | None = None
        self.counts: dict[int, int] = {}

    def is_recent(self, now: float) -> bool:
        """Whether there was a refusal within the window."""
        return bool(self.times) and self.times[-1] > now - SECONDS

    def add(self, reason: int, now: float, threshold: int) -> dict[int, int] | None:
        """Count a refusal; if the client is to be reported, return what to report."""
        times, reasons = self.times, self.reasons
        if not self.is_recent(now):
            self.reported = None
        outside = bisect_right(times, now - SECONDS)
        if outside == 0 and len(times) == threshold:
            outside = 1  # The newest are enough to decide.
        del times[:outside], reasons[:outside]
        times.append(now)
        reasons.append(reason)
        if self.reported is not None:
            self.counts[reason] = self.counts.get(reason, 0) + 1
            if now - self.reported < SECONDS:
                return None
        if len(times) < threshold:
            return None
        counts = self.counts
        if self.reported is None:
            counts = {each: reasons.count(each) for each in set(reasons)}
        self.reported, self.counts = now, {}
        return counts


class Watch:
    """Counts each client's refused requests, and says when a client is to be reported.

    A client is reported when ``threshold`` of its requests were refused within a minute, and then
    at most once a minute while that goes on. Clients with two refusals within a minute are
    watched: nothing evicts them until a minute has passed without another one. Clients with one
    refusal are kept apart from them, and there the one that was refused last is kept longest. If
    ``max_clients`` are watched, further clients are counted there, too, until there is room.

    Args:
        threshold: Refusals within a minute.
        max_clients: The maximum number of clients in each of the two places.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        *,
        threshold: int = THRESHOLD,
        max_clients: int = MAX_CLIENTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._threshold = threshold
        self._max_clients = max_clients
        self._clock = clock
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Forget all clients."""
        self._lock = threading.Lock()
        #: Both in the order of the last refusal.
        self._watched: OrderedDict[str, _History] = OrderedDict()
        self._new: OrderedDict[str, _History] = OrderedDict()

    def count(self, client: str, reason: str) -> dict[str, int] | None:
        """Count a refused request.

        Args:
            client: The client.
            reason: One of `REASONS`.

        Returns:
            The client's refusals by reason, if it is to be reported now: those of the last minute,
            or, if it was reported before, those since then. Otherwise None.
        """
        position = _NAMES.index(reason)
        with self._lock:
            now = self._clock()
            found = self._history(client, now).add(position, now, self._threshold)
        if found is None:
            return None
        return {name: found[each] for each, name in enumerate(_NAMES) if each in found}

    def _history(self, client: str, now: float) -> _History:
        """The client's history, put where this refusal belongs."""
        history = self._watched.get(client)
        if history is not None:
            self._watched.move_to_end(client)
            return history
        history = self._new.pop(client, None)
        if history is None or not history.is_recent(now):
            history = _History()
        else:
            self._sweep(now)
            if len(self._watched) < self._max_clients:
                self._watched[client] = history
                return history
        if len(self._new) >= self._max_clients:
            self._new.popitem(last=False)
        self._new[client] = history
        return history

    def _sweep(self, now: float) -> None:
        """Remove watched clients that had no refusal within the window."""
        for _ in range(SWEPT):
            oldest = next(iter(self._watched), None)
            if oldest is None or self._watched[oldest].is_recent(now):
                return
            del self._watched[oldest]


#: Watches the clients of this process.
watch: Final = Watch()


def note(
    view_class: type, request: Request, reason: str, client: str, identity: str | None
) -> None:
    """Count a refused request, and send ``client_suspected`` if its client is to be reported.

    Args:
        view_class: The sender.
        request: The request.
        reason: See `reason_of`.
        client: The client, as a keyed digest.
        identity: The identity that the client is counted by; None: it is counted by its address.
    """
    counts = watch.count(client, reason)
    if counts is not None:
        signals.send(
            signals.client_suspected,
            view_class,
            request=request._request,
            client=client,
            identity=fingerprint(identity) if identity is not None else None,
            counts=counts,
        )
