"""The recipe for another origin, with django-cors-headers, in Chromium."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.permissions import AllowAny, IsAuthenticated

from .documentation import block
from .site import PageServer

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

RECIPE = block("From another origin", language="js")
ADDRESS = "https://api.shop.example/api/dashboard/"
SHOW = """
store.subscribe(() => {
  const { status, parts, error } = store.getSnapshot();
  const text = Object.keys(parts).sort().map((name) => `${name}=${parts[name]}`).join(" ");
  document.body.textContent = `${text} ${error ? error.code : status}`;
});
"""


@pytest.fixture
def app():
    """The server of the page, at an origin of its own."""
    site = PageServer()
    yield site
    site.close()


@pytest.fixture
def with_cors(settings, app):
    """The settings of the recipe, for the origin of the page."""
    found = {"INSTALLED_APPS": settings.INSTALLED_APPS[:], "MIDDLEWARE": settings.MIDDLEWARE[:]}
    source = block("mysite/settings.py").replace("https://app.shop.example", app.url)
    exec(source, found)
    assert found["CORS_ALLOWED_ORIGINS"] == [app.url]
    for name, value in found.items():
        if name.isupper():
            setattr(settings, name, value)


@pytest.fixture
def open_page(app, publish, start_site, tab):
    """Opens the page that loads from the site, under another name of it if that is asked for."""

    def open_page(view, *, options='{ credentials: "include" }', host="127.0.0.1"):
        publish("", view)
        site = start_site()
        url = f"http://{host}:{site.port}"
        source = RECIPE.replace(ADDRESS, f"{url}/api/dashboard/")
        source = source.replace('{ credentials: "include" }', options)
        assert url in source
        assert options in source
        app.page = (
            block("templates/base.html")
            .replace("{% static 'partstream/partstream.js' %}", "/partstream.js")
            .replace("{% load static %}", "")
            + f'<body><script type="module">{source}{SHOW}</script>'
        )
        tab.open(app.url)
        return site

    return open_page


def test_page__loads_a_stream_without_a_preflight(open_page, with_cors, tab, dashboard):
    site = open_page(dashboard.view)
    dashboard.forecast.release()
    tab.shows("body", "forecast=23 loading")
    dashboard.orders.release()
    tab.shows("body", "forecast=23 orders=17 complete")
    [request] = site.asked()
    assert (request.method, request.is_stream) == ("GET", True)


@pytest.fixture
def user_view(dashboard):
    dashboard.orders.release()
    dashboard.forecast.release()
    dashboard.view.permission_classes = (IsAuthenticated,)
    return dashboard.view


@pytest.mark.parametrize(
    ("host", "shown", "is_sent"),
    [
        pytest.param("127.0.0.1", "forecast=23 orders=17 complete", True, id="same-site"),
        pytest.param("localhost", " not_authenticated", False, id="other-site"),
    ],
)
def test_page__sends_the_cookie_of_the_session_to_its_own_site(
    open_page, with_cors, tab, user_view, log_in, host, shown, is_sent
):
    user_view.authentication_classes = (SessionAuthentication,)
    log_in(host)
    site = open_page(user_view, host=host)
    tab.shows("body", shown)
    [request] = site.asked()
    assert ("sessionid=" in request.cookie) is is_sent
    if not is_sent:
        [refused] = tab.hear(1)
        assert "403" in refused


class ByToken(BaseAuthentication):
    def authenticate(self, request):
        if request.headers.get("Authorization") != "Token t0k3n":
            return None
        return User(pk=1, username="ada"), "t0k3n"


def test_page__sends_a_token_after_a_preflight(open_page, with_cors, tab, user_view):
    user_view.authentication_classes = (ByToken,)
    site = open_page(user_view, options='{ headers: { Authorization: "Token t0k3n" } }')
    tab.until("document.body.textContent.endsWith('complete')")
    assert [request.method for request in site.asked()] == ["OPTIONS", "GET"]


def test_page__fails_where_its_origin_is_not_allowed(open_page, tab, dashboard):
    dashboard.view.permission_classes = (AllowAny,)
    site = open_page(dashboard.view, options="{ attempts: 2, backoff: 1 }")
    tab.shows("body", " network")
    assert len(site.asked()) == 2
    said = " ".join(tab.hear(4))
    assert "CORS policy" in said
