"""Reserved parameters: the protocol's, on the routes that have a use for them; all others count."""

from __future__ import annotations

import time
from itertools import count

import pytest
import time_machine
from django.test import Client
from django.urls import include, path
from django.views.decorators.cache import cache_control
from rest_framework.settings import api_settings
from rest_framework.views import APIView

from partstream import HybridProgressiveView, ProgressiveView, cached_for, lazy
from partstream.mixins import ChunkMixin, CursorMixin, KeyAccessMixin, ManifestMixin
from tests.support.walk_client import at, first_cursor, get_json, merged

SECURITY = "partstream.middleware.SecurityMiddleware"

pytestmark = pytest.mark.usefixtures("empty_cache")


class Filtered:
    """Parts that depend on the application's own parameters."""

    chunk_size = 1
    made = count(1)

    def get_parts(self):
        return [("rows", lazy(self.get_rows)), ("more", lazy(self.get_rows)), ("end", 1)]

    @cached_for(60, shared=True)
    def get_rows(self, request):
        given = {name: request.query_params.getlist(name) for name in ("keys", "debug", "cursor")}
        return {**given, "made": next(self.made)}


class Walked(Filtered, ProgressiveView):
    pass


class Hybrid(Filtered, HybridProgressiveView):
    pass


class Renamed(Filtered, HybridProgressiveView):
    cursor_query_param = "after"


class Hooked(Filtered, HybridProgressiveView):
    def get_cursor_query_param(self):
        return "after"


class Custom(Filtered, KeyAccessMixin, CursorMixin, ChunkMixin, APIView):
    """It decides by the query what it delivers."""

    def get(self, request):
        by_key = "keys" in request.query_params
        return self.keys_response(request) if by_key else self.walk_response(request)


class Contents(ManifestMixin, APIView):
    parts = [("a", 1)]

    def get(self, request):
        return self.manifest_response(request)


class Whole(ChunkMixin, APIView):
    parts = [("a", 1)]

    def get(self, request):
        return self.walk_response(request)


ROUTES = [
    (Walked, {}, {"format", "cursor"}),
    (Walked, {"cursor_query_param": "page"}, {"format", "page"}),
    (Hybrid, {}, {"format", "cursor"}),
    (Hybrid, {"delivery": "walk"}, {"format", "cursor"}),
    (Hybrid, {"delivery": "manifest"}, {"format", "cursor"}),
    (Hybrid, {"delivery": "parts"}, {"format", "cursor", "keys"}),
    (Renamed, {"delivery": "parts"}, {"format", "after", "keys"}),
    (Renamed, {"delivery": "parts", "cursor_query_param": "p"}, {"format", "p", "keys"}),
    (Custom, {}, {"format", "cursor", "keys"}),
    (Contents, {}, {"format"}),
    (Whole, {}, {"format"}),
]


@pytest.mark.parametrize(("view_class", "initkwargs", "reserved"), ROUTES)
def test_reserved__on_each_route(view_class, initkwargs, reserved):
    assert view_class.get_reserved_parameters(initkwargs) == reserved
    assert view_class(**initkwargs).get_protocol_parameters() == reserved


def test_reserved__the_hook_renames_the_cursor():
    assert Hooked(delivery="walk").get_protocol_parameters() == {"format", "after"}


@pytest.mark.parametrize("name", ["fmt", None])
def test_reserved__drfs_format_parameter_as_the_project_names_it(monkeypatch, name):
    monkeypatch.setattr(api_settings, "URL_FORMAT_OVERRIDE", name)
    assert Walked().get_protocol_parameters() == {"cursor"} | ({name} if name else set())


# The keys of caches


@pytest.mark.parametrize("view_class", [Walked, Hybrid, Renamed, Hooked])
@pytest.mark.parametrize("queries", [("keys=red", "keys=blue", ""), ("debug=1", "debug=2", "")])
def test_cache__the_applications_parameters_are_in_the_key(serve, client, view_class, queries):
    url = serve(view_class)
    rows = [merged([get_json(client, f"{url}?{query}")])["rows"] for query in queries]
    for query, row in zip(queries, rows, strict=True):
        name, _, value = query.partition("=")
        assert row["keys" if name == "keys" else "debug"] == ([value] if value else [])
        assert merged([get_json(client, f"{url}?{query}")])["rows"] == row
    assert len({row["made"] for row in rows}) == 3


@pytest.mark.parametrize("view_class", [Hybrid, Renamed, Hooked])
def test_cache__parts_by_key_share_the_entries_of_the_walk(serve, client, view_class):
    url = serve(view_class)
    for query in ("", "debug=1"):
        (walked,) = get_json(client, f"{url}?{query}")["results"]
        by_key = get_json(client, f"{url}parts/?keys=rows&{query}")["results"]
        again = get_json(client, f"{url}parts/?{query}&keys=rows,end&format=json")["results"]
        assert by_key == [walked] == again[:1]


def test_cache__keys_are_reserved_where_get_decides(serve, client):
    url = serve(Custom)
    (walked,) = get_json(client, url)["results"]
    assert get_json(client, f"{url}?keys=rows")["results"] == [walked]


@pytest.mark.parametrize("view_class", [Renamed, Hooked])
def test_cache__a_cursor_of_another_name_is_the_applications(serve, client, view_class):
    url = serve(view_class)
    rows = [
        merged([get_json(client, f"{url}{route}")])["rows"]
        for route in ("?cursor=a", "?cursor=b", "parts/?keys=rows&cursor=a")
    ]
    assert [row["cursor"] for row in rows] == [["a"], ["b"], ["a"]]
    assert rows[0] == rows[2]


# The binding of cursors


@pytest.mark.parametrize("view_class", [Walked, Hybrid])
@pytest.mark.parametrize("query", ["keys=red", "keys=a&keys=b", "debug=1", "keys="])
def test_binding__has_the_applications_parameters(serve, client, view_class, query):
    url = serve(view_class)
    bare, bound = first_cursor(client, url), first_cursor(client, f"{url}?{query}")
    assert get_json(client, f"{at(url, bound)}&{query}")
    assert client.get(at(url, bound)).json()["code"] == "cursor_invalid"
    assert client.get(f"{at(url, bound)}&{query}2").json()["code"] == "cursor_invalid"
    assert client.get(f"{at(url, bare)}&{query}").json()["code"] == "cursor_invalid"


# What is validated, by the view or by the middleware


@pytest.fixture(params=[[], [SECURITY]], ids=["view", "middleware"])
def checked(request, settings):
    """Who looks at the query first."""
    settings.MIDDLEWARE = request.param


class Unreserved(Filtered, HybridProgressiveView):
    """The format is this application's own parameter, too."""

    def get_protocol_parameters(self):
        return super().get_protocol_parameters() - {"format"}


class UnreservedClass(Filtered, HybridProgressiveView):
    @classmethod
    def get_reserved_parameters(cls, initkwargs):
        return super().get_reserved_parameters(initkwargs) - {"format"}


@pytest.mark.usefixtures("checked")
@pytest.mark.parametrize("view_class", [Walked, Hybrid, Hooked, Custom, Contents, Whole])
def test_validated__are_reserved_parameters_only(serve, client, view_class):
    url = serve(view_class)
    assert client.get(f"{url}?debug=%00&debug=1&x=%00").status_code == 200
    if view_class is not Custom:
        assert client.get(f"{url}?keys=%00&keys=1").status_code == 200
    for query in ("?format=json&format=json", "?format=%00"):
        assert client.get(url + query).json()["code"] == "request_invalid"


@pytest.mark.usefixtures("checked")
@pytest.mark.parametrize("view_class", [Unreserved, UnreservedClass])
def test_validated__is_what_the_view_says(serve, client, view_class):
    url = serve(view_class)
    for route in ("?format=json&format=json", "parts/?keys=end&format=json&format=json"):
        assert client.get(url + route).status_code == 200
    bound = first_cursor(client, f"{url}?format=json")
    assert client.get(at(url, bound)).json()["code"] == "cursor_invalid"


@pytest.mark.usefixtures("checked")
def test_validated__by_the_route_of_a_decorated_view(mount, client):
    urls = Hybrid.urls()
    mount(path("h/", include(urls)), path("w/", Walked.as_view(cursor_query_param="page")))
    assert client.get("/h/parts/?keys=end&keys=end").json()["code"] == "keys_invalid"
    assert client.get("/h/?keys=end&keys=end").status_code == 200
    assert client.get("/w/?page=1&page=2").json()["code"] == "cursor_invalid"
    assert client.get("/w/?cursor=1&cursor=2").status_code == 200


@pytest.mark.parametrize("hook", ["get_protocol_parameters", "get_cursor_query_param"])
def test_middleware__leaves_a_view_with_hooks_to_look_itself(serve, settings, hook):
    looked = []

    def hooked(self):
        looked.append(self.request.META["QUERY_STRING"])
        return getattr(super(view, self), hook)()

    view = type("HookedView", (Walked,), {hook: hooked})
    url = serve(view)
    settings.MIDDLEWARE = [SECURITY]
    assert Client().get(f"{url}?x=1").status_code == 200
    assert looked
    assert Client().get(f"{url}?format=a&format=b").json()["code"] == "request_invalid"


@pytest.mark.parametrize("view_class", [Unreserved, UnreservedClass])
def test_middleware__passes_no_decorator_over_for_what_is_not_refused(
    mount, settings, client, view_class
):
    mount(path("a/", cache_control(max_age=7)(view_class.as_view())))
    settings.MIDDLEWARE = [SECURITY]
    answer = client.get("/a/?format=json&format=json")
    assert (answer.status_code, "max-age=7" in answer.headers["Cache-Control"]) == (200, True)


def test_middleware__refuses_the_address_whatever_the_hooks(mount, settings):
    mount(path("a/", Unreserved.as_view()))
    settings.MIDDLEWARE = [SECURITY]
    settings.DJANGO_PARTSTREAM = {"IP_BLOCKLIST": ["127.0.0.1"]}
    answer = Client().get("/a/?format=json&format=json")
    assert answer.json()["code"] == "ip_denied"


# The burst


def test_burst__the_applications_keys_beside_a_cursor_begin_nothing(serve, client, settings):
    settings.DJANGO_PARTSTREAM = {"ENABLE_RATE_LIMITING": True, "BURST_LIMIT": 1}
    url = serve(Hybrid)
    # The clock stands still, so that no window ends between the requests.
    with time_machine.travel(time.time(), tick=False):
        token = first_cursor(client, f"{url}?keys=red")
        assert [client.get(f"{at(url, token)}&keys=red").status_code for _ in range(3)] == [200] * 3
        assert client.get(f"{url}parts/?keys=rows&cursor={token}").status_code == 200
        assert client.get(f"{url}?keys=red").status_code == 429


class Property(Filtered, ProgressiveView):
    @property
    def cursor_query_param(self):
        return "after"


def test_cursor__of_a_parameter_that_is_a_property_is_followed(client, mount):
    mount(path("served/", Property.as_view()))
    token = first_cursor(client, "/served/?year=1")
    assert get_json(client, f"/served/?year=1&after={token}")["results"]
    assert client.get(f"/served/?year=2&after={token}").status_code == 400
