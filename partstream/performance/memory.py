"""The memory of this process, as its system counts it."""

from __future__ import annotations

import os
import sys
from typing import Any

from partstream.per_process import reset_after_fork

# Windows has neither: there, no memory is measured.
resource: Any
try:
    import resource
except ImportError:
    resource = None

#: Bytes in one unit of ``ru_maxrss``: macOS counts bytes, other systems count kilobytes.
_UNIT = 1 if sys.platform == "darwin" else 1024


def peak_memory() -> int:
    """The peak of the resident memory in bytes; 0 where the system does not tell it."""
    if resource is None:
        return 0
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * _UNIT


class PeakGrowth:
    """Tells by how much the peak has grown since the last look."""

    #: Seconds between two looks. The system takes longer to answer than all else that is measured
    #: of a quick response.
    PAUSE = 0.01

    def __init__(self) -> None:
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Start again: the peak of a forked process is not that of its parent."""
        self._peak = peak_memory()
        self._looked_at = 0.0

    def take(self, now: float) -> int:
        """Bytes; 0 if the last look was a moment ago.

        Two threads that look at once may both be told of the same growth.

        Args:
            now: Seconds on the clock of ``time.perf_counter()``.
        """
        if now - self._looked_at < self.PAUSE:
            return 0
        self._looked_at = now
        peak, before = peak_memory(), self._peak
        self._peak = max(peak, before)
        return max(0, peak - before)


def resident_memory() -> int:
    """The resident memory in bytes; its peak where only Linux would tell (``/proc``, proc(5))."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return peak_memory()
