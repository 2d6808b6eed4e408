"""Runs probes, each in a thread of its own, and gives up on those that hang."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from django.core.cache import caches

from partstream.backends.executors.daemon_threads import start_daemon
from partstream.exceptions import Misuse, NoThread
from partstream.isolation.connections import ThreadConnections
from partstream.logs import get_logger
from partstream.per_process import reset_after_fork
from partstream.setting_kinds import SECONDS

from .probes import Probe, ProbeResult, describe, get_probes

logger = get_logger("partstream.health")


class _Attempt:
    """One run of a probe in its own thread.

    Attributes:
        ended: Set when the thread is done, and its connections are closed.
    """

    def __init__(self, probe: Probe, clock: Callable[[], float]) -> None:
        self._probe = probe
        self._clock = clock
        self._began = clock()
        self._result: ProbeResult | None = None
        self.ended = threading.Event()

    def run(self) -> None:
        """Run the probe in this thread."""
        try:
            try:
                message = self._probe.run()
            finally:
                ThreadConnections().close()
                caches.close_all()
            if message is not None:
                self.record(True, message)
        except BaseException as error:
            self.record(False, describe(error))
            logger.debug("The probe of %s failed.", self._probe.name, exc_info=True)
        finally:
            self.ended.set()

    def record(self, ok: bool, message: str) -> None:
        """Keep a result."""
        self._result = ProbeResult(self._probe.name, ok, message, self._clock() - self._began)

    def result(self, asked: float, timeout: float) -> ProbeResult | None:
        """What was found by ``timeout`` seconds after it began; None: the project does not use it.

        So if it began for an earlier caller and hangs, it does not keep this one waiting as well.

        Args:
            asked: The time on the clock when this caller asked.
            timeout: Seconds.
        """
        if self.ended.wait(max(0.0, min(asked, self._began) + timeout - self._clock())):
            return self._result
        seconds = self._clock() - self._began
        message = f"no answer within {timeout:g} s"
        if self._began < asked:
            message = f"still no answer, {seconds:.1f} s after it was asked"
        return ProbeResult(self._probe.name, False, message, seconds)


class ProbeRunner:
    """Runs probes side by side. At most one thread for each name of a probe exists at a time.

    Args:
        clock: Returns seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Start again, with no threads."""
        self._lock = threading.Lock()
        self._attempts: dict[str, _Attempt] = {}

    def run(self, probes: Sequence[Probe], timeout: float) -> list[ProbeResult]:
        """The results of the probes, in their order; see `run_probes`."""
        asked = self._clock()
        attempts = [self._attempt(probe) for probe in probes]
        results = [attempt.result(asked, timeout) for attempt in attempts]
        return [result for result in results if result is not None]

    def _attempt(self, probe: Probe) -> _Attempt:
        """The attempt that runs already, or a new one."""
        with self._lock:
            attempt = self._attempts.get(probe.name)
            if attempt is not None and not attempt.ended.is_set():
                return attempt
            attempt = self._attempts[probe.name] = _Attempt(probe, self._clock)
            try:
                start_daemon(attempt.run, name="partstream-probe")
            except NoThread:
                attempt.record(False, "no thread could be started")
                attempt.ended.set()
            return attempt


_runner = ProbeRunner()


def run_probes(timeout: float = 5) -> list[ProbeResult]:
    """Try what the project uses, and say what works.

    Each probe runs in a daemon thread, so that a server that hangs delays neither the caller nor
    the exit of the process. As long as a probe hangs, it is not started again: the result says
    for how long it has had no answer.

    Args:
        timeout: Seconds for all probes together, above 0.

    Returns:
        The results of the settings and of each backend in use.

    Raises:
        Misuse: When the timeout is not a number of seconds above 0.

    Example:
        ``all(result.ok for result in run_probes(timeout=2))``
    """
    check_timeout("run_probes(timeout)", timeout)
    return _runner.run(get_probes(), timeout)


def check_timeout(where: str, timeout: object) -> None:
    """Refuse what is not a number of seconds.

    Raises:
        Misuse: When it is not one above 0.
    """
    if not SECONDS.accepts(timeout):
        raise Misuse(f"{where} is {timeout!r:.80}. Write seconds above 0, for example 2.")
