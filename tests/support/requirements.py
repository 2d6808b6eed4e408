"""What a test needs of the machine: packages that only one environment of tox has."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest


def demand(*modules):
    """Skip the test where a module is missing; fail where CI is set and tox demands it.

    tox demands all of them in the environment of the servers, and elsewhere those that
    `PARTSTREAM_TEST_MODULES` names.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        named = os.environ.get("PARTSTREAM_TEST_MODULES", "").split()
        is_demanded = os.environ.get("CI") and (
            os.environ.get("PARTSTREAM_TEST_SERVERS") or set(named) & set(missing)
        )
        (pytest.fail if is_demanded else pytest.skip)(f"Not installed: {', '.join(missing)}.")
