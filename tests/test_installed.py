"""That the tests test what a user installs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import partstream


def test_installed__partstream_is_the_one_in_site_packages():
    site_packages = os.environ.get("PARTSTREAM_TEST_INSTALLED")
    if not site_packages:
        pytest.skip("PARTSTREAM_TEST_INSTALLED is not set: these tests run on the tree.")
    assert Path(partstream.__file__).parent.parent == Path(site_packages)
