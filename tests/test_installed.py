"""That the tests test what a user installs, on what their environment is named after."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import django
import pytest
import rest_framework

import partstream


def test_installed__partstream_is_the_one_in_site_packages():
    site_packages = os.environ.get("PARTSTREAM_TEST_INSTALLED")
    if not site_packages:
        pytest.skip("PARTSTREAM_TEST_INSTALLED is not set: these tests run on the tree.")
    assert Path(partstream.__file__).parent.parent == Path(site_packages)


def test_installed__the_versions_are_those_in_the_environments_name():
    environment = os.environ.get("TOX_ENV_NAME", "")
    named = dict(re.findall(r"(py|django|drf)(\d{2,})", environment))
    if not named:
        pytest.skip(f"{environment!r}, the environment's name (TOX_ENV_NAME), has no versions.")
    running = {"py": sys.version_info, "django": django.VERSION, "drf": release(rest_framework)}
    assert named == {name: "{}{}".format(*running[name]) for name in named}


def release(package):
    return package.__version__.split(".")
