"""A fresh Python, for what can only be seen at start-up."""

from __future__ import annotations

import os
import subprocess
import sys


def run_python(code, tmp_path, *, patience=60, **environment):
    """What a new process prints; it imports from where this one does."""
    inherited = {
        name: text for name, text in os.environ.items() if not name.startswith("PARTSTREAM")
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={
            **inherited,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=patience,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
