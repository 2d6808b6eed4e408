"""Users of two databases, in a project that has both."""

from __future__ import annotations

import json

from tests.support.processes import run_python


def test_identity__user_7_of_two_databases_are_two(tmp_path):
    said = json.loads(
        run_python(
            "from tests.integration.processes import two_databases; two_databases.main()",
            tmp_path,
            DJANGO_SETTINGS_MODULE="tests.integration.processes.two_databases",
        )
    )
    assert said == {
        "mail of blue": ["ada@blue.example", 1],
        "mail of red": ["ada@red.example", 2],
        "blue with the cursor of blue": 200,
        "blue with the cursor of red": 400,
        "red with the cursor of blue": 400,
        "red with the cursor of red": 200,
        # Of six: a walk, and an invalid cursor, were counted before.
        "blue is admitted": 4,
        "red is admitted": 4,
    }
