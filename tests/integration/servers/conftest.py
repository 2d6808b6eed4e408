from __future__ import annotations

import os

import pytest

from tests.support.processes import run_python

MIGRATE = """
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("createcachetable", verbosity=0)
"""


@pytest.fixture
def project(request, tmp_path):
    """The environment of a project with a database: PostgreSQL's, where the tests have that."""
    if os.environ.get("DATABASE_URL", "").startswith("postgres"):
        url = request.getfixturevalue("database").url
    else:
        url = f"sqlite:///{tmp_path / 'db.sqlite3'}"
    environment = {
        "SERVERS_URL": url,
        "DJANGO_SETTINGS_MODULE": "tests.integration.servers.settings",
    }
    run_python(MIGRATE, tmp_path, **environment)
    return environment


@pytest.fixture
def on_postgresql(database, tmp_path):
    """The same, on PostgreSQL in any case."""
    environment = {
        "SERVERS_URL": database.url,
        "DJANGO_SETTINGS_MODULE": "tests.integration.servers.settings",
    }
    run_python(MIGRATE, tmp_path, **environment)
    return environment
