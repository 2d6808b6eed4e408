"""The database sessions of threads of ours: when they are killed, and when a test suite ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.support.processes import run_python

KILLING = """
import django
django.setup()
from tests.integration.servers.kill_sessions import main
main({!r})
"""


@pytest.fixture
def kill(on_postgresql, postgresql_url, tmp_path):
    """Kills the sessions of a worker, or of the keeper of locks; the value is what it saw."""

    def kill(subject, **environment):
        said = run_python(
            KILLING.format(subject),
            tmp_path,
            patience=120,
            ADMIN_URL=postgresql_url,
            **on_postgresql,
            **environment,
        )
        return json.loads(said.splitlines()[-1])

    return kill


def test_worker__whose_session_was_killed_opens_a_new_one(kill):
    # As Django does for a request with these settings.
    assert kill("worker", HEALTH_CHECKS="1") == {
        "timed-backend": ["answer"] * 4,
        "backend": ["answer"] * 4,
    }


def test_worker__whose_session_was_killed_fails_once_without_health_checks(kill):
    assert kill("worker") == {
        "timed-backend": ["answer", "part_failed"] * 2,
        "backend": ["answer", "part_failed"] * 2,
    }


def test_keeper__whose_session_was_killed_goes_on_renewing(kill):
    assert kill("keeper") == {"results": [{"part": "made"}], "runs": 1}


def run_suite(on_postgresql, tmp_path, **environment):
    """What ``manage.py test`` says of the project's tests."""
    return subprocess.run(
        [sys.executable, "-m", "django", "test", "tests.integration.servers.suite", "--noinput"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            **on_postgresql,
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=120,
    )


def databases_of(database):
    """Those of its role."""
    rows = database.query(
        "SELECT datname FROM pg_database JOIN pg_roles ON datdba = pg_roles.oid WHERE rolname = %s",
        database.name,
    )
    return {name for [name] in rows}


def test_manage_test__drops_its_database(database, on_postgresql, tmp_path):
    done = run_suite(on_postgresql, tmp_path, CLOSES="1")
    assert done.returncode == 0, done.stderr
    assert databases_of(database) == {database.name}


def test_manage_test__cannot_drop_it_when_workers_are_connected(database, on_postgresql, tmp_path):
    done = run_suite(on_postgresql, tmp_path)
    assert done.returncode != 0
    assert "is being accessed by other users" in done.stderr
    assert databases_of(database) == {database.name, f"test_{database.name}"}
