from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

ENVIRONMENT = {
    "DJANGO_SETTINGS_MODULE": "tests.integration.client.project.settings",
    "SHOP_EXCHANGE_RATES_URL": "http://127.0.0.1:9/latest",
}


@pytest.fixture(scope="session")
def client_files(packages):
    """A copy of this folder's JavaScript, where it can import the packages."""
    return packages.copy(HERE, "*.*s*")


@pytest.fixture(scope="session")
def site_url(tmp_path_factory):
    """The address of a server of the demo shop, with the views of `project/views.py` beside it."""
    directory = tmp_path_factory.mktemp("site")
    inherited = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("PARTSTREAM_", "SHOP_"))
    }
    log = directory / "log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.client.project"],
            cwd=directory,
            env={
                **inherited,
                **ENVIRONMENT,
                "DATABASE_URL": f"sqlite:///{directory / 'shop.sqlite3'}",
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        url = process.stdout.readline().strip()
        if not url:
            pytest.fail(f"The server did not start:\n{log.read_text(errors='replace')}")
        yield url
    finally:
        process.stdin.close()
        process.kill()
        process.wait()
        process.stdout.close()
