from __future__ import annotations

import os

import pytest

pytest.register_assert_rewrite("tests.projects.oracle")


def pytest_ignore_collect(collection_path):
    """Leave out the tests of a project whose settings this process does not have."""
    if (collection_path / "settings.py").exists():
        settings = f"tests.projects.{collection_path.name}.settings"
        return None if os.environ.get("DJANGO_SETTINGS_MODULE") == settings else True
    return None  # Others decide.
