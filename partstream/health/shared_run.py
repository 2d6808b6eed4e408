"""One run of the probes for all who ask at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from partstream.conf import SETTING
from partstream.logs import get_logger
from partstream.per_process import Kept, reset_after_fork

from .probes import ProbeResult
from .runner import run_probes

logger = get_logger("partstream.health")

#: Seconds for which a result is used again.
REUSED: Final = 1
#: The number of callers that wait for the run of another one. Under ASGI each of them has a thread.
MOST_WAITING: Final = 32

_NO_RESULT: Final = (ProbeResult("health_check", False, "there is no result yet", 0.0),)


class SharedRun:
    """Runs the probes in the thread of one caller, and gives the results to all others.

    A result is used again for a second. A caller beyond `MOST_WAITING` gets the previous results.

    Args:
        run: What runs the probes; its argument is the timeout.
        clock: Returns seconds that never go back.
    """

    def __init__(
        self,
        run: Callable[[float], Sequence[ProbeResult]] = run_probes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._clock = clock
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Start again, without a run or a result."""
        self._lock = threading.Lock()
        #: Set when the current run ends; None: there is none.
        self._current: threading.Event | None = None
        self._waiting = 0
        self._results: Sequence[ProbeResult] = _NO_RESULT
        self._ended = float("-inf")
        #: The names of the probes that failed last.
        self._failing: frozenset[str] = frozenset()

    def get(self, timeout: float) -> Sequence[ProbeResult]:
        """The results of all probes, at the latest after this number of seconds."""
        with self._lock:
            if self._clock() - self._ended < REUSED:
                return self._results
            current, is_mine = self._current, self._current is None
            if current is None:
                current = self._current = threading.Event()
            elif self._waiting >= MOST_WAITING:
                return self._results
            else:
                self._waiting += 1
        if is_mine:
            return self._run_now(current, timeout)
        try:
            return self._results if current.wait(timeout) else _NO_RESULT
        finally:
            with self._lock:
                self._waiting -= 1

    def _run_now(self, current: threading.Event, timeout: float) -> Sequence[ProbeResult]:
        results: Sequence[ProbeResult] = _NO_RESULT
        try:
            results = self._run(timeout)
        finally:
            with self._lock:
                self._results, self._ended, self._current = results, self._clock(), None
            current.set()
        self._log(results)
        return results

    def _log(self, results: Sequence[ProbeResult]) -> None:
        """Log what has changed since the last run."""
        failed = [result for result in results if not result.ok]
        before, self._failing = self._failing, frozenset(result.name for result in failed)
        if self._failing == before:
            return
        if failed:
            told = "; ".join(f"{result.name}: {result.message}" for result in failed)
            logger.warning("The health check fails: %s.", told)
        else:
            logger.info("The health check succeeds again.")


#: Returns the run that the process's callers share.
get_shared_run = Kept(SharedRun, SETTING, "CACHES", "SECRET_KEY", "SECRET_KEY_FALLBACKS").get
