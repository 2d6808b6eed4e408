"""That `python -m tests.fuzzing` works; its long run is `tox -e fuzz`."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

pytest.importorskip("gunicorn", reason="the dependency group fuzz is not installed")


def test_fuzzing__finds_each_answer_as_documented(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzzing", "--tokens=300", "--codec=signed"],
        # Nothing is there that could be taken for an installed package.
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\n *signed +off +300 ", done.stdout)
    assert re.search(r"\n *signed +on +30 ", done.stdout)
