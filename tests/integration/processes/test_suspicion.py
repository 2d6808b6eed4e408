"""The refusals of clients, after a fork."""

from __future__ import annotations

from tests.support.processes import run_python


def test_fork__a_child_counts_for_itself(tmp_path):
    code = """
import os, signal
import django
django.setup()
from partstream.security.suspicion import THRESHOLD, watch

def refuse(times):
    return [watch.count("ada", "throttled") for _ in range(times)]

refuse(THRESHOLD - 1)
with watch._lock:  # As another thread might hold it just now.
    child = os.fork()
if child == 0:
    signal.alarm(30)
    print(refuse(THRESHOLD - 1) == [None] * (THRESHOLD - 1), *refuse(1), flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(*refuse(1))
"""
    shown = run_python(code, tmp_path, PYTHONWARNINGS="ignore")
    assert shown.splitlines() == ["True {'throttled': 30}", "{'throttled': 30}"]
