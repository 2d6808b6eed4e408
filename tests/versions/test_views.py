"""The ready views, and how they are mounted."""

from __future__ import annotations

import functools
import itertools

import pytest
from django.test import Client
from django.urls import NoReverseMatch, include, path, reverse

from partstream import HybridProgressiveView, ProgressiveView, lazy
from partstream.exceptions import Misuse
from tests.example.views import DashboardView, WalkView
from tests.support.walk_client import at, first_cursor, get_json, merged, names, walk

PARTS = [("a", 1), ("b", lazy("get_b")), ("c", 3)]


class Board(HybridProgressiveView):
    """A hybrid view with three parts."""

    parts = PARTS

    def get_b(self, request):
        return self.kwargs.get("year")


# The example application


def test_example__walk(client):
    url = reverse("walk")
    envelopes = walk(client, url)
    assert merged(envelopes) == {
        "meta": {"version": 1},
        "orders": [1, 2],
        "rates": [],
        "news": "quiet",
    }
    (error,) = envelopes[1]["errors"]
    assert error == {
        "part": "stock",
        "code": "warehouse_closed",
        "detail": "The warehouse is closed.",
        "retryable": True,
        "retry_cursor": error["retry_cursor"],
    }


def test_example__dashboard_of_an_anonymous_visitor(client):
    envelopes = walk(client, reverse("dashboard"))
    assert merged(envelopes) == {"meta": {"user": ""}, "orders": [""], "year": None}


@pytest.mark.django_db
def test_example__dashboard_of_staff(client, staff):
    client.force_login(staff)
    assert merged(walk(client, reverse("dashboard"))) == {
        "meta": {"user": "grace"},
        "orders": ["grace"],
        "margins": {"margin": 0.4},
        "forecast": 0.8,
        "year": None,
    }


# Mounting


def test_urls__have_names():
    assert reverse("dashboard") == "/dashboard/"
    assert reverse("dashboard-parts") == "/dashboard/parts/"
    assert reverse("dashboard-manifest") == "/dashboard/manifest/"


def test_urls__in_a_namespace(client):
    assert reverse("ns:dashboard") == "/spaced/"
    assert reverse("ns:dashboard-parts") == "/spaced/parts/"
    assert reverse("ns:dashboard-manifest") == "/spaced/manifest/"
    assert get_json(client, "/spaced/")["meta"]["manifest_url"] == "/spaced/manifest/"
    assert get_json(client, "/spaced/manifest/")["links"] == {
        "walk": "/spaced/",
        "parts": "/spaced/parts/",
        "stream": "/spaced/",
    }


def test_urls__under_url_arguments(client):
    assert reverse("year", args=[2026]) == "/years/2026/"
    assert reverse("year-parts", kwargs={"year": 2026}) == "/years/2026/parts/"
    envelopes = walk(client, "/years/2026/")
    assert merged(envelopes)["year"] == 2026
    assert envelopes[0]["meta"]["manifest_url"] == "/years/2026/manifest/"
    assert get_json(client, "/years/2026/parts/?keys=year")["results"] == [{"year": 2026}]
    assert get_json(client, "/years/2026/manifest/")["links"]["parts"] == "/years/2026/parts/"


def test_urls__without_names(client, mount):
    mount(path("board/", include(Board.urls())))
    assert names(get_json(client, "/board/parts/?keys=c")) == ["c"]
    with pytest.raises(NoReverseMatch):
        reverse("None-parts")


def test_urls__take_what_as_view_takes(client, mount):
    mount(path("board/", include(Board.urls(name="board", chunk_size=1, max_keys_per_request=1))))
    assert names(get_json(client, "/board/")) == ["a"]
    assert client.get("/board/parts/?keys=a,b").status_code == 400


def test_urls__of_two_mounts_do_not_mix(client, mount):
    mount(
        path("one/", include(Board.urls(parts=[("a", 1), ("b", 2)], chunk_size=1))),
        path("two/", include(Board.urls(parts=[("a", 3)]))),
    )
    assert merged(walk(client, "/one/")) == {"a": 1, "b": 2}
    assert merged(walk(client, "/two/")) == {"a": 3}
    assert get_json(client, "/two/parts/?keys=a")["results"] == [{"a": 3}]


def test_as_view__alone_is_walked_and_nothing_else(client, mount):
    mount(path("alone/", Board.as_view()))
    envelopes = walk(client, "/alone/")
    assert merged(envelopes) == {"a": 1, "b": None, "c": 3}
    assert "manifest_url" not in envelopes[0]["meta"]
    assert client.get("/alone/parts/?keys=a").status_code == 404
    assert names(get_json(client, "/alone/?keys=c")) == ["a", "b"]


def test_as_view__alone_where_the_path_ends_like_a_route(client, mount):
    mount(path("manifest/", Board.as_view()), path("parts/", include(Board.urls())))
    assert "manifest_url" not in get_json(client, "/manifest/")["meta"]
    assert get_json(client, "/parts/")["meta"]["manifest_url"] == "/parts/manifest/"
    manifest = get_json(client, "/parts/manifest/")
    assert manifest["links"] == {
        "walk": "/parts/",
        "parts": "/parts/parts/",
        "stream": "/parts/",
    }
    keys = get_json(client, "/parts/parts/?keys=a")
    assert keys["meta"]["manifest_url"] == "/parts/manifest/"


def test_manifest_url__is_made_of_the_path_that_was_asked(mount):
    mount(path("<str:name>/", include(Board.urls())))
    client = Client()
    for asked, told in [
        ("/%C3%A9/", "/%C3%A9/manifest/"),
        ("/a%20b/", "/a%20b/manifest/"),
        ("/a%22b/", "/a%22b/manifest/"),
    ]:
        assert get_json(client, asked)["meta"]["manifest_url"] == told
        assert client.get(told).status_code == 200


def test_manifest_url__has_the_prefix_of_the_application(client, mount):
    mount(path("board/", include(Board.urls())))
    url = get_json(client, "/board/", SCRIPT_NAME="/app")["meta"]["manifest_url"]
    assert url == "/app/board/manifest/"


def test_views__of_one_request_keep_nothing_for_the_next(serve):
    seen = []

    def get_parts(self):
        seen.append(id(self.request))
        return [("who", self.request.META.get("HTTP_X_WHO")), ("b", 2), ("c", 3)]

    url = serve(get_parts=get_parts, chunk_size=1)
    for who in ("ada", "grace"):
        assert get_json(Client(), url, HTTP_X_WHO=who)["results"] == [{"who": who}]


def test_progressive_view__has_no_other_routes(client):
    assert "manifest_url" not in get_json(client, reverse("walk"))["meta"]


def test_views__leave_serializers_to_the_project():
    assert not hasattr(ProgressiveView, "get_serializer_class")
    assert not hasattr(DashboardView, "get_serializer_class")


def test_cursor__of_the_walk_goes_on_under_a_decorated_view(client, mount):
    from django.views.decorators.cache import never_cache

    mount(path("board/", never_cache(Board.as_view(chunk_size=1))))
    token = first_cursor(client, "/board/")
    assert names(get_json(client, at("/board/", token))) == ["b"]


# Mistakes


def test_urls__of_a_view_with_one_route_are_misuse():
    with pytest.raises(Misuse) as caught:
        WalkView.urls(name="walk")
    assert str(caught.value) == (
        "WalkView has one route, the walk. Write path(..., WalkView.as_view()), or make it a "
        "HybridProgressiveView."
    )


@pytest.mark.parametrize("view", [ProgressiveView, HybridProgressiveView])
def test_get_parts__that_takes_the_request_is_misuse_at_once(view):
    with pytest.raises(Misuse) as caught:
        type("Asking", (view,), {"get_parts": lambda self, request: []})
    assert str(caught.value) == (
        "Asking.get_parts() cannot be called as (self): missing a required argument: 'request'. "
        "Write def get_parts(self): the request is self.request, and the URL's arguments are in "
        "self.kwargs."
    )


def decorated(function):
    """A decorator that gives its function another argument."""

    @functools.wraps(function)
    def call(self):
        return function(self, self.request)

    return call


@pytest.mark.parametrize(
    "get_parts",
    [
        lambda self: [],
        lambda self, *args, **kwargs: [],
        lambda self, year=None: [],
        decorated(lambda self, request: []),
        staticmethod(lambda: []),
        classmethod(lambda cls: []),
        functools.partialmethod(lambda self, year: [], year=1),
    ],
    ids=itertools.count(),
)
def test_get_parts__of_another_signature_that_fits_is_taken(serve, client, get_parts):
    view = type("Fitting", (ProgressiveView,), {"get_parts": get_parts})
    assert get_json(client, serve(view))["results"] == []
