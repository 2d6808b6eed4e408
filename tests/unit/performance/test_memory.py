from __future__ import annotations

import pytest

from partstream.performance.memory import PeakGrowth, peak_memory, resident_memory
from tests.support.processes import run_python

needs_peak = pytest.mark.skipif(not peak_memory(), reason="this system tells no peak")

IN_A_CHILD = """
import os, sys
from partstream.performance.memory import PeakGrowth, peak_memory

MIB = 1 << 20
growth = PeakGrowth()
# The peak at the start may be that of the process that started this one.
parents = b"x" * (peak_memory() + 120 * MIB)
assert growth.take(1.0) > 100 * MIB
del parents
child = os.fork()
if not child:
    own = b"x" * (50 * MIB)
    os._exit(growth.take(2.0) < 40 * MIB)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@needs_peak
def test_peak_growth__tells_new_peaks_alone(monkeypatch):
    monkeypatch.setattr("partstream.performance.memory.peak_memory", lambda: peaks.pop(0))
    peaks = [100, 150, 150, 140, 170]
    growth = PeakGrowth()
    assert [growth.take(now) for now in (1.0, 2.0, 3.0, 4.0)] == [50, 0, 0, 20]


@needs_peak
def test_peak_growth__does_not_look_twice_at_once():
    growth = PeakGrowth()
    growth._peak = 0
    assert growth.take(1.0) > 0
    growth._peak = 0
    assert growth.take(1.0 + PeakGrowth.PAUSE / 2) == 0
    assert growth.take(1.0 + PeakGrowth.PAUSE) > 0


@needs_peak
def test_peak_growth__of_a_forked_process_begins_anew(tmp_path):
    run_python(IN_A_CHILD, tmp_path)


def test_resident_memory__is_that_of_this_process():
    assert 1 << 20 < resident_memory() < 1 << 40
