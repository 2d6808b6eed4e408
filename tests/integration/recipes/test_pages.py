"""The pages of the documentation, rendered by Django, in Chromium."""

from __future__ import annotations

import django
import pytest
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage
from django.core.management import call_command
from django.http import HttpResponse
from django.urls import include, path, re_path
from django.views.static import serve as serve_file
from rest_framework.permissions import AllowAny, BasePermission, IsAuthenticated
from rest_framework.throttling import BaseThrottle

from partstream import HybridProgressiveView, PartError, lazy
from tests.docs.markdown import DOCS, README

from .documentation import block

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

DASHBOARD = block("templates/dashboard.html")
IMPORT_MAP = block("templates/base.html")
ELEMENTS = '<p id="orders">…</p><p id="forecast">…</p>'
WITH_MAP = IMPORT_MAP + DASHBOARD.replace(
    "{% static 'partstream/partstream.js' %}", "django-partstream"
)
STATIC = "/static/partstream/partstream.js"
#: What the examples call: `calls` has what they said.
STUBS = """
<script>
  const calls = [];
  for (const name of ["show", "showFailure", "render", "tell"])
    globalThis[name] = (...given) => calls.push([name, ...structuredClone(given)]);
</script>
"""


@pytest.fixture
def open_page(publish, start_site, tab):
    """Opens a page of Django beside this view; the value is the site."""

    def open_page(page, view, *patterns, **options):
        publish(page, view, *patterns, **options)
        site = start_site()
        tab.open(site.url)
        return site

    return open_page


def script(name, source):
    """A file of JavaScript, as a route."""
    return path(name, lambda request: HttpResponse(source, content_type="text/javascript"))


def failing(request):
    raise PartError("The shop is closed.", code="shop_closed")


class FailingView(HybridProgressiveView):
    permission_classes = (AllowAny,)
    parts = (("orders", lazy(failing)), ("forecast", 23))


# Whole pages


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(DASHBOARD, id="client"),
        pytest.param(ELEMENTS + block("django-partstream", README, "html"), id="readme"),
    ],
)
def test_page__shows_each_part_when_it_comes(open_page, tab, dashboard, page):
    site = open_page(page, dashboard.view)
    tab.shows("#forecast", "…")
    dashboard.orders.wait_until_begun()
    dashboard.forecast.release()
    tab.shows("#forecast", "23")
    tab.shows("#orders", "…")
    dashboard.orders.release()
    tab.shows("#orders", "17")
    [request] = site.asked()
    assert request.is_stream


def test_page__shows_the_error_of_a_part(open_page, tab):
    open_page(DASHBOARD, FailingView)
    tab.shows("#orders", "The shop is closed.")
    tab.shows("#forecast", "23")


def test_page_of_streaming__calls_show(open_page, tab, dashboard):
    page = STUBS + block("In a browser", DOCS / "streaming.md", "html")
    dashboard.orders.release()
    open_page(page, None, path("api/board/", include(dashboard.view.urls(name="board"))))
    tab.until("calls.length === 1")
    dashboard.forecast.release()
    tab.until("calls.length === 2")
    assert tab.evaluate("calls") == [["show", "orders", 17], ["show", "forecast", 23]]


class ModulesStorage(ManifestStaticFilesStorage):
    """Also renames what modules import: one of ours names the file of its types."""

    support_js_module_import_aggregation = True


@pytest.mark.parametrize("storage", [ManifestStaticFilesStorage, ModulesStorage])
def test_import_map__has_the_hashed_name(publish, start_site, tab, settings, tmp_path, storage):
    backend = f"{storage.__module__}.{storage.__name__}"
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": backend}}
    settings.STATIC_ROOT = tmp_path
    call_command("collectstatic", verbosity=0, interactive=False)
    files = re_path(r"^static/(?P<path>.*)$", serve_file, {"document_root": tmp_path})
    publish(WITH_MAP, FailingView, files)
    site = start_site(serves_static=False)
    tab.open(site.url)
    tab.shows("#forecast", "23")
    [module] = [request.path for request in site.seen if request.path.startswith("/static/")]
    assert module not in ("/static/partstream/partstream.js", "/static/partstream/partstream.d.ts")


# A content security policy, as Django sends it


@pytest.fixture
def policy(settings):
    if django.VERSION < (6, 0):
        pytest.skip("This Django has no policy of its own.")
    from django.utils.csp import CSP

    middleware = "django.middleware.csp.ContentSecurityPolicyMiddleware"
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, middleware]
    settings.SECURE_CSP = {
        "default-src": [CSP.NONE],
        "script-src": [CSP.SELF, CSP.NONCE],
        "connect-src": [CSP.SELF],
    }
    [engine] = settings.TEMPLATES
    processors = ["django.template.context_processors.csp"]
    settings.TEMPLATES = [{**engine, "OPTIONS": {"context_processors": processors}}]


def test_policy__allows_inline_scripts_with_a_nonce(open_page, tab, policy):
    open_page(WITH_MAP.replace("<script", '<script nonce="{{ csp_nonce }}"'), FailingView)
    tab.shows("#forecast", "23")


def test_policy__allows_modules_in_files(open_page, tab, policy):
    source = block("A page", language="js").replace('"django-partstream"', f'"{STATIC}"')
    source += "document.title = 'done';"
    stubs = "globalThis.show = globalThis.showFailure = () => {};"
    files = [script("main.js", source), script("stubs.js", stubs)]
    page = '<script src="/stubs.js"></script><script type="module" src="/main.js"></script>'
    open_page(page + "{{ csp_nonce }}", FailingView, *files)
    tab.until("document.title === 'done'")


def test_policy__refuses_inline_scripts_without_one(open_page, tab, policy):
    open_page(DASHBOARD + "{{ csp_nonce }}", FailingView)
    [refused] = tab.hear(1)
    assert "Content Security Policy" in refused
    assert tab.page.text_content("#forecast") == "…"


# Modules in files of their own


@pytest.fixture
def open_module(open_page):
    """Opens a page with an import map and this module; the value is the site."""

    def open_module(source, view, *patterns):
        page = f'{IMPORT_MAP}{STUBS}<script type="module" src="/main.js"></script>'
        return open_page(page, view, script("main.js", source), *patterns)

    return open_module


def test_loop__brings_data_and_errors(open_module, tab):
    open_module(block("A page", language="js"), FailingView)
    tab.until("calls.length === 2")
    assert sorted(tab.evaluate("calls")) == [
        ["show", "forecast", 23],
        ["showFailure", "orders", "The shop is closed."],
    ]


class HasToken(BasePermission):
    def has_permission(self, request, view):
        return request.headers.get("Authorization") == "Bearer of-this-hour"


class TokenView(FailingView):
    permission_classes = (HasToken,)


def test_token__is_sent(open_module, tab):
    token = "globalThis.getToken = async () => 'of-this-hour';\n"
    open_module(token + block("With a token"), TokenView)
    tab.until("calls.length === 2")
    assert {name for name, _ in tab.evaluate("calls")} == {"show"}


def test_store__has_what_a_page_draws(open_module, tab, dashboard):
    site = open_module(block("A store"), dashboard.view)
    tab.until("calls.at(-1)?.[4].length === 2")
    last = ["render", "loading", {}, {}, ["orders", "forecast"]]
    assert tab.evaluate("calls.at(-1)") == last
    dashboard.forecast.release()
    tab.until("calls.at(-1)[4].length === 1")
    last = ["render", "loading", {"forecast": 23}, {}, ["orders"]]
    assert tab.evaluate("calls.at(-1)") == last
    dashboard.orders.release()
    tab.until("calls.at(-1)[1] === 'complete'")
    last = ["render", "complete", {"forecast": 23, "orders": 17}, {}, []]
    assert tab.evaluate("calls.at(-1)") == last
    assert len(site.asked()) == 1


class Patient(BaseThrottle):
    """Asks a client to wait for longer than it does."""

    def allow_request(self, request, view):
        return False

    def wait(self):
        return 300


class AnonymousView(FailingView):
    permission_classes = (IsAuthenticated,)


class ThrottledView(FailingView):
    throttle_classes = (Patient,)


def test_failure__of_a_visitor_leads_to_the_login(open_module, tab):
    login = path("login/", lambda request: HttpResponse("<h1>Who are you?</h1>"))
    open_module(block("When a load fails"), AnonymousView, login)
    tab.shows("h1", "Who are you?")
    [refused] = tab.hear(1)
    assert "403" in refused


def test_failure__of_a_throttled_client_says_how_long(open_module, tab):
    open_module(block("When a load fails"), ThrottledView)
    tab.until("calls.length === 1")
    assert tab.evaluate("calls") == [["tell", "Try again in 300 s."]]
    [refused] = tab.hear(1)
    assert "429" in refused


def test_failure__of_another_kind_says_what_happened(open_module, tab):
    open_module(block("When a load fails").replace("/api/dashboard/", "/nowhere/"), FailingView)
    tab.until("calls.length === 1")
    assert tab.evaluate("calls") == [["tell", "The server answered 404."]]
    [refused] = tab.hear(1)
    assert "404" in refused


def test_failure__of_the_page_itself_is_thrown(open_module, tab):
    source = block("When a load fails").replace("show(part)", "nobodyHasThis(part)")
    open_module(source, FailingView)
    [thrown] = tab.hear(1)
    assert "nobodyHasThis" in thrown
    assert tab.evaluate("calls") == []
