"""Responses that are copied: they are as Django makes them, and share nothing."""

from __future__ import annotations

import json
import pickle
from http.cookies import SimpleCookie

import pytest
from django.http import BadHeaderError, HttpResponse
from django.http.response import ResponseHeaders
from django.template.response import SimpleTemplateResponse
from rest_framework.renderers import JSONRenderer

from partstream import HybridProgressiveView
from partstream.backends.cursors.signed import SignedCursorCodec
from partstream.keys import get_key_ring
from partstream.wire import prototypes
from partstream.wire.prototypes import Prototype, put
from partstream.wire.responses import NOT_STORED, VARY, PartsResponse

HEADERS = {"Content-Type": "application/json", "Cache-Control": "private", "Vary": "Accept"}
#: Types whose values responses may share.
IMMUTABLE = (type(None), bool, int, str, bytes, type)


def comparable(value):
    """A value as data that can be compared."""
    if isinstance(value, ResponseHeaders):
        return [type(value), vars(value)]
    if isinstance(value, SimpleCookie):
        return [type(value), dict(value)]
    return [type(value), value]


def attributes_of(response):
    return {name: comparable(value) for name, value in vars(response).items()}


def made_by_django(headers):
    return SimpleTemplateResponse("", charset="utf-8", headers=headers)


def mutable_of(attributes):
    """The objects in these attributes that could be changed, by their place."""
    found = {name: value for name, value in attributes.items() if not isinstance(value, IMMUTABLE)}
    headers = attributes["headers"]
    return {**found, **{("headers", name): value for name, value in vars(headers).items()}}


def rendered(response):
    """The response after DRF and Django have finished it."""
    response.accepted_renderer, response.accepted_media_type = JSONRenderer(), "application/json"
    response.renderer_context = {}
    return response.render()


# As Django makes them


@pytest.mark.parametrize("headers", [HEADERS, {"X-One": "1"}, {}])
def test_prototype__has_all_that_djangos_constructor_sets(headers):
    prototype = Prototype(headers)
    made = made_by_django(headers)
    assert prototype.is_usable
    for _ in range(2):
        attributes = prototype.attributes()
        assert {name: comparable(value) for name, value in attributes.items()} == attributes_of(
            made
        )


def test_prototype__does_not_keep_the_headers_that_it_was_given():
    given = dict(HEADERS)
    prototype = Prototype(given)
    given["Vary"] = "changed"
    assert prototype.attributes()["headers"]["Vary"] == "Accept"


def test_response__is_that_of_djangos_constructor_and_its_own():
    response = PartsResponse(b'{"a": 1}')
    headers = {"Content-Type": "application/json", "Cache-Control": NOT_STORED, "Vary": VARY}
    expected = attributes_of(made_by_django(headers))
    found = attributes_of(response)
    own = {name: value for name, (_, value) in found.items() if name not in expected}
    assert {name: found[name] for name in expected} == expected
    assert own.keys() == {"exception", "content_type", "_body", "_data"}
    assert (own["exception"], own["content_type"], own["_body"]) == (False, None, b'{"a": 1}')


def test_response__has_its_own_cache_control():
    assert PartsResponse(cache_control="private, no-cache")["Cache-Control"] == "private, no-cache"
    assert PartsResponse()["Cache-Control"] == NOT_STORED


def test_response__rendered_is_as_djangos():
    response = rendered(PartsResponse(b'{"a": 1}'))
    django = HttpResponse(b'{"a": 1}', headers=dict(response.headers))
    assert (response.content, list(response)) == (b'{"a": 1}', [b'{"a": 1}'])
    assert response.serialize() == django.serialize()
    assert (response.status_code, response.reason_phrase) == (200, "OK")
    assert (response.charset, response.streaming, response.closed) == ("utf-8", False, False)
    assert list(response.items()) == list(django.items())


# They share nothing


@pytest.mark.parametrize("make", [Prototype(HEADERS).attributes, lambda: vars(PartsResponse())])
def test_copies__share_nothing_that_can_be_changed(make):
    first, second = mutable_of(make()), mutable_of(make())
    # Headers and what is in them, cookies, what is closed, what is called, the container.
    assert len(first) >= 6
    assert first.keys() == second.keys()
    shared = {name for name, value in first.items() if value is second[name]}
    # An enum: that there are no data yet.
    assert shared <= {"_data"}


CHANGES = {
    "header": lambda response: response.headers.__setitem__("X-New", "1"),
    "header of ours": lambda response: response.headers.__setitem__("Vary", "X"),
    "header by item": lambda response: response.__setitem__("X-New", "1"),
    "put": lambda response: put(response.headers, "X-New", "1"),
    "deleted header": lambda response: response.headers.__delitem__("Vary"),
    "deleted item": lambda response: response.__delitem__("Cache-Control"),
    "cookie": lambda response: response.set_cookie("name", "value"),
    "deleted cookie": lambda response: response.delete_cookie("name"),
    "callback": lambda response: response.add_post_render_callback(print),
    "closer": lambda response: response._resource_closers.append(print),
    "container": lambda response: response._container.append(b"more"),
    "content": lambda response: setattr(response, "content", b"other"),
    "data": lambda response: response.data.update(b=2),
    "status": lambda response: setattr(response, "status_code", 404),
    "reason": lambda response: setattr(response, "reason_phrase", "No"),
    "rendered": rendered,
}


@pytest.mark.parametrize("change", CHANGES)
def test_change__stays_in_its_response(change):
    before = attributes_of(PartsResponse(b"{}"))
    other = PartsResponse(b"{}")
    changed = PartsResponse(b"{}")
    CHANGES[change](changed)
    assert attributes_of(changed) != before
    assert attributes_of(other) == before
    assert attributes_of(PartsResponse(b"{}")) == before


def test_response__calls_back_once_and_alone():
    called = []
    first, second = PartsResponse(b"{}"), PartsResponse(b"{}")
    first.add_post_render_callback(lambda response: called.append(response))
    rendered(second)
    assert called == []
    rendered(first)
    assert called == [first]


def test_response__sends_its_cookies_and_no_others():
    first, second = PartsResponse(b"{}"), PartsResponse(b"{}")
    first.set_cookie("name", "value", httponly=True)
    assert first.cookies["name"].value == "value"
    assert b"Set-Cookie" not in second.serialize_headers()
    assert second.cookies == {}


def test_response__survives_pickling():
    response = PartsResponse(b'{"a": 1}')
    response.set_cookie("name", "value")
    response["X-One"] = "1"
    copy = pickle.loads(pickle.dumps(rendered(response)))
    assert (copy.content, copy.data) == (b'{"a": 1}', {"a": 1})
    assert dict(copy.headers) == dict(response.headers)
    assert copy.cookies["name"].value == "value"
    copy["X-One"] = "2"
    assert response["X-One"] == "1"
    assert "X-One" not in PartsResponse()


def leaking_middleware(get_response):
    """Writes the number of its call into all places of a response."""
    calls = []

    def middleware(request):
        response = get_response(request)
        calls.append(request)
        number = str(len(calls))
        assert "X-Number" not in response.headers
        assert response.cookies == {}
        response["X-Number"] = number
        response.set_cookie(f"number{number}", number)
        response["Vary"] += f", X-{number}"
        response._resource_closers.append(lambda: None)
        if request.GET.get("delete"):
            del response["Cache-Control"]
        return response

    return middleware


@pytest.mark.parametrize("route", ["", "manifest/", "parts/?keys=a", "?cursor=junk"])
def test_middleware__that_writes_to_a_response_writes_to_that_alone(client, serve, settings, route):
    settings.MIDDLEWARE = [f"{__name__}.leaking_middleware"]
    url = serve(HybridProgressiveView, parts=[("a", 1), ("b", 2)], chunk_size=1) + route
    client.get(url, {"delete": 1})
    for number in ("2", "3"):
        client.cookies.clear()
        response = client.get(url)
        assert response["X-Number"] == number
        assert list(response.cookies) == [f"number{number}"]
        assert response["Vary"] == f"{VARY}, X-{number}"
        assert response["Cache-Control"].startswith("private")
    assert "X-Number" not in PartsResponse()


def test_manifest__not_modified_is_a_response_of_its_own(client, serve):
    url = serve(HybridProgressiveView, parts=[("a", 1)]) + "manifest/"
    first = client.get(url)
    for _ in range(2):
        unchanged = client.get(url, headers={"if-none-match": first["ETag"]})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        assert "Content-Type" not in unchanged.headers
        again = client.get(url)
        assert (again.status_code, again["Content-Type"]) == (200, "application/json")
        assert json.loads(again.content) == first.json()


# put


def headers_put(name, value, begins=()):
    headers = ResponseHeaders(dict(begins))
    put(headers, name, value)
    return headers


@pytest.mark.parametrize("begins", [{}, {"X-Request-ID": "0"}, {"x-request-id": "0", "A": "b"}])
@pytest.mark.parametrize("name", ["X-Request-ID", "Link", "x-odd-CASE"])
def test_put__does_what_setting_does(name, begins):
    usual = ResponseHeaders(begins)
    usual[name] = "value"
    found = headers_put(name, "value", begins)
    assert vars(found) == vars(usual)
    assert (found[name.upper()], list(found.items())) == ("value", list(usual.items()))


def test_put__is_deleted_as_any_other():
    headers = headers_put("X-One", "1")
    del headers["x-one"]
    assert "X-One" not in headers


class Uppercase(ResponseHeaders):
    """Headers of a project's own."""

    def __setitem__(self, name, value):
        super().__setitem__(name.upper(), value)


@pytest.mark.parametrize(("kind", "name"), [(Uppercase, "X-ONE"), (dict, "X-One")])
def test_put__sets_where_headers_are_others(kind, name):
    headers = kind({})
    put(headers, "X-One", "1")
    assert list(headers.items()) == [(name, "1")]


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\r\nX-Two: 2"])
def test_put__refuses_line_breaks_as_django_does(value):
    with pytest.raises(BadHeaderError):
        headers_put("X-One", value)


@pytest.mark.parametrize("value", ["é", "☃"])
def test_put__encodes_other_characters_as_django_does(value):
    usual = ResponseHeaders({})
    usual["X-One"] = value
    assert vars(headers_put("X-One", value)) == vars(usual)


class Breaking(SignedCursorCodec):
    """A codec of a project's own, with a mistake: no token has such a character."""

    def seal(self, payload, *, issued, ttl):
        return super().seal(payload, issued=issued, ttl=ttl) + "\r\nX-Two: 2"


def test_link__a_token_of_a_wrong_codec_makes_no_header(client, serve):
    codec = Breaking(keys=get_key_ring())
    url = serve(parts=[("a", 1), ("b", 2)], chunk_size=1, get_cursor_codec=lambda self: codec)
    with pytest.raises(BadHeaderError):
        client.get(url)


# Where it cannot be copied


@pytest.mark.parametrize(
    "value",
    [[[]], {"a": 1}, SimpleCookie("a=b"), set(), object(), Uppercase({})],
    ids=["nested list", "full dict", "full cookies", "set", "object", "other headers"],
)
def test_prototype__lets_django_do_what_it_cannot_copy(monkeypatch, value):
    made = SimpleTemplateResponse.__init__

    def __init__(self, *args, **kwargs):
        made(self, *args, **kwargs)
        self.more = value

    monkeypatch.setattr(SimpleTemplateResponse, "__init__", __init__)
    prototype = Prototype(HEADERS)
    assert not prototype.is_usable
    first, second = (prototype.attributes() for _ in range(2))
    assert first["more"] is value
    assert first["headers"] == HEADERS
    assert first["headers"] is not second["headers"]


@pytest.mark.parametrize("kind", [list, dict])
def test_prototype__copies_what_is_new_if_it_can(monkeypatch, kind):
    made = SimpleTemplateResponse.__init__

    def __init__(self, *args, **kwargs):
        made(self, *args, **kwargs)
        self.more, self.number = kind(), 1

    monkeypatch.setattr(SimpleTemplateResponse, "__init__", __init__)
    prototype = Prototype(HEADERS)
    assert prototype.is_usable
    first, second = (prototype.attributes() for _ in range(2))
    assert (first["more"], first["number"]) == (second["more"], second["number"]) == (kind(), 1)
    assert first["more"] is not second["more"]


def test_headers__are_held_in_one_dictionary():
    assert prototypes._HELD_BY is not None
    assert prototypes._find_holder() == prototypes._HELD_BY
