"""A real browser, for the tests that open a page in it."""

from __future__ import annotations

import os
import shutil

import pytest

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_browser() -> str:
    """The browser's path; without one the test is skipped, or fails where `CI` is set."""
    named = os.environ.get("PARTSTREAM_TEST_BROWSER")
    path = shutil.which(named) if named else None
    if not named:
        path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        say = pytest.fail if os.environ.get("CI") else pytest.skip
        say(f"There is no browser {named!r}." if named else "There is no chromium on PATH.")
    return path


@pytest.fixture(scope="module")
def browser():
    path = find_browser()
    from playwright.sync_api import sync_playwright  # only these tests need it

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()
