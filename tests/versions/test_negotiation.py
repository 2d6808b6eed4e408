from __future__ import annotations

import itertools

import pytest
from django.http import Http404
from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import BaseContentNegotiation, DefaultContentNegotiation
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer, StaticHTMLRenderer
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from partstream.wire.negotiation import PartsContentNegotiation

RENDERERS = [JSONRenderer, BrowsableAPIRenderer]


class FirstRenderer(BaseContentNegotiation):
    """A project's own negotiation."""

    def select_parser(self, request, parsers):
        return parsers[0]

    def select_renderer(self, request, renderers, format_suffix=None):
        return renderers[0], "application/vnd.example+json"


def outcome(negotiation, renderers, accept, query="", suffix=None):
    """What a negotiation says: a renderer and its type, or what it raises."""
    extra = {} if accept is None else {"HTTP_ACCEPT": accept}
    request = Request(APIRequestFactory().get("/", QUERY_STRING=query, **extra))
    instances = [renderer() for renderer in renderers]
    try:
        renderer, media_type = negotiation().select_renderer(request, instances, suffix)
    except (NotAcceptable, Http404) as error:
        return type(error)
    return type(renderer), media_type


ACCEPTED = [
    *(None, "", "*/*", "application/json", "application/*", "text/html", "image/png"),
    *("application/json; indent=4", "application/json, text/html", "text/html, */*;q=0.8"),
    *("APPLICATION/JSON", "application/json;q=0", "nonsense", "*/*, */*"),
    *("application/json, text/plain, */*", "text/plain, */*"),
]
SUFFIXES = [None, "json", "api", "xml"]


@pytest.mark.parametrize("renderers", [RENDERERS, RENDERERS[::-1], [StaticHTMLRenderer]])
@pytest.mark.parametrize(
    "query", ["", "format=json", "format=api", "format=xml", "format=", "x=1", "form%61t=api"]
)
def test_negotiation__answers_as_drfs_does(renderers, query):
    for accept, suffix in itertools.product(ACCEPTED, SUFFIXES):
        ours = outcome(PartsContentNegotiation, renderers, accept, query, suffix)
        drfs = outcome(DefaultContentNegotiation, renderers, accept, query, suffix)
        assert ours == drfs, (accept, suffix)


def test_negotiation__follows_the_name_of_the_override(settings):
    settings.REST_FRAMEWORK = {"URL_FORMAT_OVERRIDE": "as"}
    ours = outcome(PartsContentNegotiation, RENDERERS, "*/*", "as=api")
    assert ours == (BrowsableAPIRenderer, "text/html")
    settings.REST_FRAMEWORK = {"URL_FORMAT_OVERRIDE": None}
    ours = outcome(PartsContentNegotiation, RENDERERS, "*/*", "format=api")
    assert ours == (JSONRenderer, "application/json")


def test_negotiation__of_the_project_is_kept(client, serve):
    url = serve(parts=[("a", 1)], content_negotiation_class=FirstRenderer)
    response = client.get(url, HTTP_ACCEPT="image/png")
    assert response.json()["results"] == [{"a": 1}]
    assert response.headers["Content-Type"] == "application/json"


def test_negotiation__that_inherits_drfs_is_kept(client, serve):
    class NeverHTML(DefaultContentNegotiation):
        def select_renderer(self, request, renderers, format_suffix=None):
            return super().select_renderer(request, renderers[:1], format_suffix)

    url = serve(parts=[("a", 1)], content_negotiation_class=NeverHTML)
    assert client.get(url, HTTP_ACCEPT="text/html").status_code == 406


def test_negotiation__with_the_override_renamed(client, serve, settings):
    settings.REST_FRAMEWORK = {"URL_FORMAT_OVERRIDE": "as"}
    url = serve(parts=[("a", 1), ("b", 2), ("c", 3)])
    token = client.get(f"{url}?as=json").json()["cursor"]
    # The override is the protocol's parameter now, and "format" is the application's.
    assert client.get(f"{url}?cursor={token}").status_code == 200
    assert client.get(f"{url}?format=x&format=y").status_code == 200
    assert client.get(f"{url}?as=json&as=json").status_code == 400
    assert client.get(f"{url}?format=x&cursor={token}").status_code == 400
