"""What a test needs of the machine: packages that only one environment of tox has."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest


def demand(*modules):
    """Skip the test where a module is missing; fail where CI is set and tox demands all of them."""
    missing = [name for name in modules if not _is_installed(name)]
    if missing:
        is_demanded = os.environ.get("CI") and os.environ.get("PARTSTREAM_TEST_PACKAGES")
        (pytest.fail if is_demanded else pytest.skip)(f"Not installed: {', '.join(missing)}.")


def _is_installed(name):
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # Its package is missing.
        return False
