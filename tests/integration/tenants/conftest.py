from __future__ import annotations

import json

import pytest

from tests.support.processes import run_python

#: Kinds of parts in `views.py`.
KINDS = 23

CODE = """
import django
django.setup()
from tests.integration.tenants.request_loop import main
main({}, stops={})
"""


@pytest.fixture
def drive(database, tmp_path):
    """Asks a project so often, on a new database; the value is what it says then."""

    def drive(project, requests, *, stops=True, **environment):
        said = run_python(
            CODE.format(requests, stops),
            tmp_path,
            patience=300,
            DJANGO_SETTINGS_MODULE=f"tests.integration.tenants.{project}.settings",
            TENANTS_URL=database.url,
            **environment,
        )
        return json.loads(said.splitlines()[-1])

    return drive
