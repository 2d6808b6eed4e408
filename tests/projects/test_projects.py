"""Two typical projects: the tests of each run on PostgreSQL, in a process with its settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.requirements import demand

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
NEEDED = {
    "repairs": ["djangorestframework_camel_case"],
    "library": ["django_filters", "drf_spectacular", "rest_framework_simplejwt", "adrf"],
}
#: Not `python -m pytest`: that would put this tree before an installed partstream.
CODE = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"
PATIENCE = 300


@pytest.mark.parametrize("project", NEEDED)
def test_project__passes_its_own_tests(project, database, tmp_path):
    demand(*NEEDED[project])
    inherited = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith("PARTSTREAM_") or name.startswith("PARTSTREAM_TEST_")
    }
    done = subprocess.run(
        [
            *(sys.executable, "-c", CODE),
            *("-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT)),
            *("-n0", "-q", "--no-header", "--tb=short", "-p", "no:cacheprovider"),
            str(HERE / project),
        ],
        cwd=tmp_path,
        env={
            **inherited,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "DJANGO_SETTINGS_MODULE": f"tests.projects.{project}.settings",
            "PROJECT_DATABASE_URL": database.url,
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    if done.returncode != 0:
        pytest.fail(done.stdout + done.stderr, pytrace=False)
