"""The types that a front end makes of the demo shop's schema."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from django.core.management import call_command

HERE = Path(__file__).parent
FILES = (".npmrc", "package.json", "package-lock.json", "tsconfig.json", "walk.ts")


def unavailable(reason):
    """Skip the test; fail where CI is set."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


@pytest.fixture
def tools(tmp_path):
    """Runs a command of npm's packages in the directory of the value's path."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        unavailable("node and npm are not on the path")
    for name in FILES:
        shutil.copy(HERE / name, tmp_path)
    options = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"]
    done = run([npm, "ci", *options], tmp_path)
    if done.returncode != 0:
        unavailable(f"npm ci: {done.stderr}")
    return tmp_path


def run(command, directory):
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=180)


def run_package(tools, name, *arguments):
    done = run([tools / "node_modules" / ".bin" / name, *arguments], tools)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def schema(tools, settings):
    """The file with the schema that `manage.py spectacular` makes of the shop."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "drf_spectacular"]
    settings.REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema"}
    settings.ROOT_URLCONF = "shop.urls"
    file = tools / "shop.yaml"
    call_command("spectacular", fail_on_warn=True, validate=True, file=str(file))
    return file


def test_typescript__checks_a_walk_of_the_shop(tools, schema):
    run_package(tools, "openapi-typescript", schema, "--output", tools / "shop.d.ts")
    run_package(tools, "tsc")


def test_lock_file__names_no_registry():
    text = (HERE / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in text
    assert '"integrity"' in text
