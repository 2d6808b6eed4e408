"""What is raised, or refused, before content negotiation."""

from __future__ import annotations

import pytest
from django.test import Client
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import AdminRenderer, BrowsableAPIRenderer, JSONRenderer

from partstream import HybridProgressiveView

from .test_middleware import DJANGO, OURS

RENDERERS = {
    "JSON": [JSONRenderer],
    "JSON, browsable": [JSONRenderer, BrowsableAPIRenderer],
    "browsable, JSON": [BrowsableAPIRenderer, JSONRenderer],
    "admin": [AdminRenderer],
}


class Broken(Exception):
    pass


def broken(*args, **kwargs):
    raise Broken("of the project")


class BrokenNegotiation(BaseContentNegotiation):
    select_renderer = broken


BEFORE = {
    "get_renderers": {"get_renderers": broken},
    "get_cursor_query_param": {"get_cursor_query_param": broken},
    "get_format_suffix": {"get_format_suffix": broken},
    "perform_content_negotiation": {"perform_content_negotiation": broken},
    "content_negotiation_class": {"content_negotiation_class": BrokenNegotiation},
    "initial": {"initial": broken},
}


@pytest.fixture
def page(serve, settings):
    """The page that a developer sees of a view with these attributes."""

    def page(debug, query="?cursor=x", middleware=(), headers=None, **attributes):
        settings.DEBUG = debug
        settings.MIDDLEWARE = [*middleware, *DJANGO]
        url = serve(base=HybridProgressiveView, parts=[("a", 1)], **attributes)
        return Client(raise_request_exception=False).get(url + query, headers=headers or {})

    return page


@pytest.mark.parametrize("accept", ["*/*", "text/html", "application/json"])
@pytest.mark.parametrize("middleware", OURS.values(), ids=OURS)
def test_raised__a_wrong_setting_is_shown(page, settings, middleware, accept):
    settings.DJANGO_PARTSTREAM = {"IP_BLOCKLIST": ["nonsense"]}
    answer = page(True, middleware=middleware, headers={"Accept": accept})
    assert answer.status_code == 500
    assert "which is not a network" in answer.content.decode()
    assert "has no attribute" not in answer.content.decode()


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("hook", BEFORE)
def test_raised__by_a_hook_before_negotiation_is_itself(page, hook, debug):
    answer = page(debug, **BEFORE[hook])
    assert answer.status_code == 500
    assert answer.exc_info[0] is Broken
    assert answer.exc_info[1].__context__ is None
    assert ("of the project" in answer.content.decode()) is debug


@pytest.mark.parametrize("debug", [True, False])
def test_raised__in_the_view_is_itself(page, debug):
    answer = page(debug, query="", get_parts=broken)
    assert answer.exc_info[0] is Broken
    assert answer.exc_info[1].__context__ is None


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("accept", ["application/json", "text/html", "*/*", ""])
@pytest.mark.parametrize("middleware", OURS.values(), ids=OURS)
@pytest.mark.parametrize("renderers", RENDERERS)
def test_refused__before_negotiation_is_answered(
    page, settings, renderers, middleware, accept, debug
):
    settings.DJANGO_PARTSTREAM = {"IP_BLOCKLIST": ["127.0.0.1"]}
    attributes = {"renderer_classes": RENDERERS[renderers]}
    answer = page(debug, middleware=middleware, headers={"Accept": accept}, **attributes)
    assert answer.status_code == 403
    assert "ip_denied" in answer.content.decode()


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("/", 406),
        ("json", 406),
        ("application/json;", 200),
        ("application/json; q=", 200),
        (";;,,;,", 406),
        ("\xff/*", 406),
        ("application/" + "x" * 5000, 406),
    ],
)
def test_refused__a_malformed_accept_is_no_fault_of_ours(page, accept, status, debug):
    answer = page(debug, query="", headers={"Accept": accept})
    assert answer.status_code == status
