"""Limits counted in this process: exact sliding windows in bounded memory."""

from __future__ import annotations

import threading
import time
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence

from django.core.checks import CheckMessage, Warning

from partstream.exceptions import Misuse
from partstream.setting_kinds import COUNT

from .base import Decision, RateLimitStore, Window

#: The number of logs that keys beyond the bound share.
SHARED_LOGS = 1024
#: Stale logs that one request removes; more than it can add.
SWEPT = 2
SECOND = 1_000_000_000
NOTHING: array[int] = array("q")


class _Logs:
    """The times of each key's last admitted requests, for windows of one length.

    Args:
        seconds: The length.
        max_keys: The number of keys that have a log of their own.
    """

    def __init__(self, seconds: int, max_keys: int) -> None:
        self.length = seconds * SECOND
        self._max_keys = max_keys
        #: Key -> ascending nanoseconds, in the order of the last admission.
        self._own: OrderedDict[str, array[int]] = OrderedDict()
        self._shared: dict[int, array[int]] = {}

    def of(self, key: str, now: int) -> array[int]:
        """The log that counts the key now, without times outside the window. Read-only."""
        times = self._own.get(key)
        if times is None:
            self._sweep(now)
            # Outsiders cannot know which keys share a log: hashes differ between processes.
            times = self._shared.get(hash(key) % SHARED_LOGS, NOTHING)
        since = now - self.length
        if times and times[0] <= since:
            del times[: bisect_right(times, since)]
        return times

    def add(self, key: str, now: int) -> array[int]:
        """Count a request of a key that was just passed to `of`, and return the key's log."""
        times = self._own.get(key)
        if times is not None:
            self._own.move_to_end(key)
        else:
            place = hash(key) % SHARED_LOGS
            if len(self._own) < self._max_keys:
                # A client that was counted in a shared log keeps that count.
                times = self._own[key] = self._shared.get(place, NOTHING)[:]
            else:
                times = self._shared.setdefault(place, array("q"))
        times.append(now)
        return times

    def _sweep(self, now: int) -> None:
        """Delete the logs of keys that had no admitted request within the window."""
        since = now - self.length
        for _ in range(SWEPT):
            oldest = next(iter(self._own), None)
            if oldest is None:
                break
            times = self._own[oldest]
            if times and times[-1] > since:
                break
            del self._own[oldest]


class MemoryRateLimitStore(RateLimitStore):
    """Counts in this process: for one process, for tests, and while a shared store is down.

    It keeps the times of admitted requests (8 bytes each), so no window, wherever it begins, admits
    more than its limit. Its memory is bounded: while more than ``max_keys`` clients send requests
    within one window, as in a flood of forged addresses, new clients share 1,024 logs. So a client
    that has used up its limit stays limited, whatever comes after it, and only the new clients
    affect each other.

    Args:
        max_keys: The number of keys that have a log of their own, for each length of window.
        clock: Returns nanoseconds that never go back.

    Raises:
        Misuse: When ``max_keys`` is not a whole number of 1 or more.
    """

    shared = False
    exact = True

    def __init__(
        self, *, max_keys: int = 50_000, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        super().__init__()
        if not COUNT.accepts(max_keys):
            raise Misuse(f"max_keys is {max_keys!r}. Write a whole number of 1 or more.")
        self._max_keys = max_keys
        self._clock = clock
        self._lock = threading.Lock()
        self._logs: dict[int, _Logs] = {}

    def take(self, windows: Sequence[Window]) -> Decision:
        """See `RateLimitStore.take`; nothing can fail here, so every request is decided."""
        return self.consume(windows)

    def consume(self, windows: Sequence[Window]) -> Decision:
        """See `RateLimitStore.consume`."""
        with self._lock:
            now = self._clock()
            admitted = True
            read = []
            for window in windows:
                key, limit, seconds = window
                logs = self._logs.get(seconds) or self._of_length(seconds)
                times = logs.of(key, now)
                if len(times) >= limit:
                    admitted = False
                read.append((window, logs, times))
            remaining, resets, wait = [], [], 0.0
            for (key, limit, _), logs, times in read:
                if admitted:
                    times = logs.add(key, now)
                used = len(times)
                # The time that must leave the window before there is room for one more than now.
                reset = 0.0
                if used:
                    oldest = times[0 if used <= limit else used - limit]
                    reset = (oldest + logs.length - now) / SECOND
                if used >= limit and reset > wait:
                    wait = reset
                remaining.append(limit - used if used < limit else 0)
                resets.append(reset)
            return Decision(admitted, 0.0 if admitted else wait, tuple(remaining), tuple(resets))

    def probe(self) -> None:
        """Nothing: there is no service that could fail."""

    def _of_length(self, seconds: int) -> _Logs:
        logs = self._logs[seconds] = _Logs(seconds, self._max_keys)
        return logs

    def check_deploy(self) -> list[CheckMessage]:
        """A warning that several processes together admit more than the limits."""
        return [
            Warning(
                "Rate limits are counted in each process separately: with four processes a client "
                "can make four times as many requests as the limits allow.",
                hint="If you run more than one process, use a store that they share, such as "
                '"partstream.backends.rate_limits.redis.RedisRateLimitStore".',
                id="partstream.W008",
            )
        ]
