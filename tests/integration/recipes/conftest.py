from __future__ import annotations

import secrets
from types import SimpleNamespace

import pytest
from django.http import HttpResponse
from django.template import engines
from django.urls import include, path, re_path
from django.views.static import serve as serve_file
from rest_framework.permissions import AllowAny

from partstream import HybridProgressiveView, lazy
from partstream.backends.executors.threads import ThreadExecutor
from partstream.streams.registry import count_open_streams
from tests.support.browser import browser
from tests.support.concurrency import wait_until

from .site import Site

__all__ = ["browser"]

WAIT = 60_000  # milliseconds for what will surely happen


@pytest.fixture
def start_site():
    """Starts a server of the project as it is set then."""
    sites = []

    def start_site(**options):
        sites.append(Site(**options))
        return sites[-1]

    yield start_site
    for site in sites:
        site.close()
    # A stream whose reader has left ends at its next heartbeat.
    wait_until(lambda: count_open_streams() == 0)


@pytest.fixture(autouse=True)
def project(settings):
    """Heartbeats that soon notice that a reader has left."""
    settings.DJANGO_PARTSTREAM = {"ENABLE_RATE_LIMITING": False, "STREAM_HEARTBEAT": 0.1}


@pytest.fixture
def dashboard(held, executors):
    """The view of the page's examples: `orders` and `forecast` wait until they are released."""
    orders, forecast = held(17), held(23)

    class DashboardView(HybridProgressiveView):
        permission_classes = (AllowAny,)
        executor = executors(ThreadExecutor)
        parts = (("orders", lazy(orders)), ("forecast", lazy(forecast)))

    return SimpleNamespace(view=DashboardView, orders=orders, forecast=forecast)


@pytest.fixture
def publish(mount):
    """Mounts a page that Django renders, the view, and files: the project's URLs.

    Args of the value:
        page: The page's template, or a view that answers instead.
        view: The view at `/api/dashboard/`.
        directory: What is served below `/assets/`.
    """

    def publish(page, view=None, *patterns, directory=None):
        def render(request):
            text = engines["django"].from_string(page).render({}, request)
            return HttpResponse(text)

        found = [path("", page if callable(page) else render), *patterns]
        found.append(path("favicon.ico", lambda request: HttpResponse(status=204)))
        if view is not None:
            found.append(path("api/dashboard/", include(view.urls(name="dashboard"))))
        if directory is not None:
            options = {"document_root": directory}
            found.append(re_path(r"^assets/(?P<path>.*)$", serve_file, options))
        mount(*found)

    return publish


class Tab:
    """A page in Chromium.

    Attributes:
        said: The warnings and errors in its console.
    """

    def __init__(self, context):
        self.context = context
        self.page = context.new_page()
        self.page.set_default_timeout(WAIT)
        self.said = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.said.append(str(error)))

    def _hear(self, message):
        if message.type in ("warning", "error"):
            self.said.append(message.text)

    def open(self, url):
        self.page.goto(url)

    def shows(self, selector, text):
        """Wait until an element has this text."""
        condition = "([selector, text]) => document.querySelector(selector)?.textContent === text"
        self.page.wait_for_function(condition, arg=[selector, text])

    def until(self, expression):
        """Wait until an expression of JavaScript is true."""
        self.page.wait_for_function(f"() => {expression}")

    def evaluate(self, expression):
        return self.page.evaluate(expression)

    def hear(self, count):
        """What the console says, when it has said so much; the test has expected it."""
        wait_until(lambda: len(self.said) >= count or self.evaluate("0"))
        said, self.said = self.said, []
        return said


@pytest.fixture
def tab(browser):
    """A page in Chromium; what is left in its console at the end fails the test."""
    context = browser.new_context()
    tab = Tab(context)
    yield tab
    tab.evaluate("0")  # What was said before this has been heard.
    context.close()
    assert tab.said == []


@pytest.fixture
def log_in(client, user, settings, tab):
    """Puts the cookie of a user's session into the browser, as Django would set it."""

    def log_in(host="127.0.0.1"):
        client.force_login(user)
        cookie = client.cookies[settings.SESSION_COOKIE_NAME]
        tab.context.add_cookies(
            [
                {
                    "name": cookie.key,
                    "value": cookie.value,
                    "domain": host,
                    "path": settings.SESSION_COOKIE_PATH,
                    "sameSite": settings.SESSION_COOKIE_SAMESITE,
                }
            ]
        )
        return cookie.value

    return log_in


class Workspace:
    """A folder of a front-end project, where npm's packages are installed."""

    def __init__(self, packages, directory):
        self.directory = directory
        self._packages = packages

    def write(self, name, text):
        file = self.directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def bundle(self, entry, output, *options):
        """One file of a module and all that it imports, in React's development build."""
        self.run(
            "esbuild",
            entry,
            "--bundle",
            "--format=esm",
            "--jsx=automatic",
            "--define:process.env.NODE_ENV='development'",
            f"--outfile={output}",
            *options,
        )

    def run(self, name, *arguments):
        return self._packages.run(name, *arguments, directory=self.directory)


@pytest.fixture
def workspace(packages):
    directory = packages.directory / f"project-{secrets.token_hex(4)}"
    directory.mkdir()
    return Workspace(packages, directory)
