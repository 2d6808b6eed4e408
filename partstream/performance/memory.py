"""The memory of this process, as its system counts it."""

from __future__ import annotations

import os
import sys
from typing import Any

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


def resident_memory() -> int:
    """The resident memory in bytes; its peak where only Linux would tell (``/proc``, proc(5))."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return peak_memory()
