"""The types that a front end makes of the demo shop's schema."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management import call_command

from tests.support.node import HERE as NODE

HERE = Path(__file__).parent


@pytest.fixture
def schema(packages, settings):
    """The file with the schema that `manage.py spectacular` makes of the shop."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "drf_spectacular"]
    settings.REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema"}
    settings.ROOT_URLCONF = "shop.urls"
    file = packages.copy(HERE, "*.*s*") / "shop.yaml"
    call_command("spectacular", fail_on_warn=True, validate=True, file=str(file))
    return file


def test_typescript__checks_a_walk_of_the_shop(packages, schema):
    types = schema.with_name("shop.d.ts")
    packages.run("openapi-typescript", schema, "--output", types)
    packages.run("tsc", directory=types.parent)


def test_lock_file__names_no_registry():
    text = (NODE / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in text
    assert '"integrity"' in text
