"""The mixins: each alone on a bare APIView, in other orders, and their hooks."""

from __future__ import annotations

import logging
from itertools import permutations

import pytest
from django.test import Client
from django.urls import path
from rest_framework.generics import GenericAPIView
from rest_framework.permissions import BasePermission
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from partstream import HybridProgressiveView, ProgressiveView, lazy
from partstream.backends.cursors.signed import SignedCursorCodec
from partstream.exceptions import Misuse
from partstream.keys import KeyRing
from partstream.mixins import ChunkMixin, CursorMixin, KeyAccessMixin, ManifestMixin
from tests.support.log_messages import message
from tests.support.walk_client import at, first_cursor, get_json, merged, names, walk

PARTS = [("first", 1), ("second", lazy("get_second")), ("third", 3)]
MIXINS = (CursorMixin, ChunkMixin, KeyAccessMixin, ManifestMixin)


class Parts:
    """What the views here have in common."""

    parts = PARTS

    def get_second(self, request):
        return 2


class Positions(Parts, CursorMixin, APIView):
    def get(self, request):
        cursor = self.read_cursor(request)
        remaining = cursor.indices() if cursor else range(3)
        return Response(
            {"here": remaining[0], "next": self.issue_cursor(request, list(remaining)[1:])}
            if remaining
            else {"here": None, "next": None}
        )


class Whole(Parts, ChunkMixin, APIView):
    def get(self, request):
        return self.walk_response(request)


class Pieces(Parts, KeyAccessMixin, APIView):
    def get(self, request):
        return self.keys_response(request)


class Contents(Parts, ManifestMixin, APIView):
    def get(self, request):
        return self.manifest_response(request)


@pytest.fixture
def get(mount, client):
    """The answer of a view, to one query."""

    def get(view, query="", **initkwargs):
        mount(path("view/", view.as_view(**initkwargs)))
        return client.get(f"/view/{query}")

    return get


# Alone


def test_cursor_mixin__alone(get, client):
    seen, token = [], get(Positions).json()["next"]
    while token is not None:
        answer = client.get(at("/view/", token)).json()
        seen.append(answer["here"])
        token = answer["next"]
    assert seen == [1, 2, None]
    refused = client.get("/view/?cursor=junk")
    assert (refused.status_code, refused.json()["code"]) == (400, "cursor_invalid")


def test_cursor_mixin__the_end_cursor_has_nothing_left(get, client):
    class Ends(Parts, CursorMixin, APIView):
        def get(self, request):
            cursor = self.read_cursor(request)
            left = None if cursor is None else list(cursor.indices())
            return Response({"left": left, "end": self.issue_cursor(request, [])})

    end = get(Ends).json()["end"]
    assert client.get(at("/view/", end)).json()["left"] == []


def test_cursor_mixin__issues_holes(get, client):
    class Holes(Parts, CursorMixin, APIView):
        def get(self, request):
            cursor = self.read_cursor(request)
            left = None if cursor is None else list(cursor.indices())
            return Response({"left": left, "next": self.issue_cursor(request, [0, 2])})

    token = get(Holes).json()["next"]
    assert client.get(at("/view/", token)).json()["left"] == [0, 2]


def test_chunk_mixin__alone_has_all_in_one_response(get):
    assert get(Whole).json() == {
        "results": [{"first": 1}, {"second": 2}, {"third": 3}],
        "cursor": None,
        "meta": {"total_parts": 3, "current_part": 3, "has_more": False, "pending": []},
    }


def test_chunk_mixin__alone_answers_head(mount, client, calls):
    mount(path("view/", Whole.as_view(parts=[("a", lazy(calls.loader("a")))])))
    response = client.head("/view/")
    assert (response.status_code, response.content, calls) == (200, b"", [])


def test_chunk_mixin__alone_does_not_know_cursors(get):
    assert get(Whole, "?cursor=junk").status_code == 200


def test_chunk_mixin__alone_has_no_retry_cursors(get):
    class Failing(Whole):
        def get_second(self, request):
            raise ValueError

    (error,) = get(Failing).json()["errors"]
    assert error["retryable"] is True
    assert "retry_cursor" not in error


def test_chunk_mixin__alone_refuses_a_chunk_size(get):
    with pytest.raises(Misuse, match="Whole has no CursorMixin, so all its 3 parts go into one"):
        get(Whole, chunk_size=2)


def test_chunk_mixin__alone_refuses_more_than_the_most(get, settings):
    settings.DJANGO_PARTSTREAM = {"MAX_PARTS_PER_REQUEST": 2}
    with pytest.raises(Misuse) as caught:
        get(Whole)
    assert "2 parts are the maximum (MAX_PARTS_PER_REQUEST)" in str(caught.value)
    assert "Write class Whole(CursorMixin, ChunkMixin, …)." in str(caught.value)


def test_key_access_mixin__alone(get, client):
    assert get(Pieces, "?keys=second").json() == {
        "results": [{"second": 2}],
        "cursor": None,
        "meta": {"total_parts": 3, "current_part": 1, "has_more": False},
    }
    assert client.get("/view/?keys=nothing").json()["code"] == "part_unknown"
    assert client.get("/view/").json()["code"] == "keys_invalid"


class Nobody(BasePermission):
    def has_permission(self, request, view):
        return False


def test_key_access_mixin__the_debug_log_names_an_unknown_key_and_the_answer_does_not(
    get, client, caplog
):
    hidden = [("a", 1), ("secret", lazy(lambda request: 2, permission_classes=[Nobody]))]
    get(Pieces, "?keys=a", parts=hidden)
    answers = []
    for level in (logging.INFO, logging.DEBUG):
        caplog.set_level(level, "partstream.requests")
        caplog.clear()
        for keys in ("a,lost", "a,secret", "secret,lost"):
            answers.append(client.get(f"/view/?keys={keys}"))
    assert len({(answer.status_code, answer.content) for answer in answers}) == 1
    found = [message(each) for each in caplog.records if each.name == "partstream.requests"]
    assert found == [
        "Pieces declares no part lost (asked for: a, lost).",
        "Pieces hides a part from this user (asked for: a, secret).",
        "Pieces declares no part lost (asked for: secret, lost).",
    ]


def test_manifest_mixin__alone(get):
    assert get(Contents).json() == {
        "parts": {
            "first": {"size": None, "dependencies": [], "lazy": False},
            "second": {"size": None, "dependencies": [], "lazy": True},
            "third": {"size": None, "dependencies": [], "lazy": False},
        },
        "meta": {"total_parts": 3},
        "links": {},
    }


@pytest.mark.parametrize("view", [Whole, Pieces, Contents, Positions])
def test_mixin__alone_validates_negotiates_and_protects(get, client, view):
    response = get(view, "?format=json&format=json&keys=first")
    assert (response.status_code, response.json()["code"]) == (400, "request_invalid")
    assert client.get("/view/?keys=first&format=xml").status_code == 404
    fine = client.get("/view/?keys=first")
    assert fine.status_code == 200
    assert fine.headers["Vary"] == "Accept, Authorization, Cookie"
    assert fine.headers["Cache-Control"] in ("private, no-store", "private, no-cache")


# Together


@pytest.mark.parametrize(
    "order",
    list(permutations(MIXINS)),
    ids=lambda order: " ".join(mixin.__name__.removesuffix("Mixin") for mixin in order),
)
def test_mixins__in_any_order(mount, client, order):
    def get(self, request):
        if "keys" in request.query_params:
            return self.keys_response(request)
        if "manifest" in request.query_params:
            return self.manifest_response(request)
        return self.walk_response(request)

    view = type("View", (Parts, *order, APIView), {"get": get, "chunk_size": 1})
    mount(path("view/", view.as_view()))
    assert merged(walk(client, "/view/")) == {"first": 1, "second": 2, "third": 3}
    assert names(get_json(client, "/view/?keys=third")) == ["third"]
    assert list(get_json(client, "/view/?manifest")["parts"]) == ["first", "second", "third"]
    assert client.get("/view/?cursor=junk").json()["code"] == "cursor_invalid"


@pytest.mark.parametrize("base", [APIView, GenericAPIView])
def test_mixins__on_other_views_of_drf(mount, client, base):
    class View(Parts, CursorMixin, ChunkMixin, base):
        def get(self, request):
            return self.walk_response(request)

    mount(path("view/", View.as_view()))
    assert list(merged(walk(client, "/view/"))) == ["first", "second", "third"]


def test_mixins__on_a_viewset(mount, client):
    class View(Parts, CursorMixin, ChunkMixin, KeyAccessMixin, ViewSet):
        def list(self, request):
            return self.walk_response(request)

        def some(self, request):
            return self.keys_response(request)

    mount(
        path("view/", View.as_view({"get": "list"})),
        path("some/", View.as_view({"get": "some"})),
    )
    assert list(merged(walk(client, "/view/"))) == ["first", "second", "third"]
    assert names(get_json(client, "/some/?keys=first")) == ["first"]


def test_mixins__with_post_of_the_views_own(mount, client):
    class View(Parts, CursorMixin, ChunkMixin, APIView):
        def get(self, request):
            return self.walk_response(request)

        def post(self, request):
            return Response({"got": request.data}, status=201)

    mount(path("view/", View.as_view()))
    response = client.post("/view/", {"a": 1}, content_type="application/json")
    assert (response.status_code, response.json()) == (201, {"got": {"a": 1}})
    assert response.headers["Cache-Control"] == "private, no-store"


# Attributes and hooks


def test_chunk_size__of_setting_attribute_mount_and_hook(serve, mount, client, settings):
    parts = [(f"p{number}", number) for number in range(12)]

    def size(url):
        return len(get_json(client, url)["results"])

    assert size(serve(parts=parts)) == 2
    settings.DJANGO_PARTSTREAM = {"DEFAULT_CHUNK_SIZE": 3}
    assert size(serve(parts=parts)) == 3
    assert size(serve(parts=parts, chunk_size=4)) == 4
    assert size(serve(parts=parts, chunk_size=4, get_chunk_size=lambda self: 5)) == 5
    mount(path("view/", ProgressiveView.as_view(parts=parts, chunk_size=6)))
    assert size("/view/") == 6
    settings.DJANGO_PARTSTREAM = {"MAX_PARTS_PER_REQUEST": 7}
    assert size(serve(parts=parts, chunk_size=100)) == 7


def test_max_keys__of_setting_attribute_and_hook(serve, client, settings):
    parts = [(f"p{number}", number) for number in range(12)]

    def most(url):
        keys = [f"p{number}" for number in range(12)]
        while client.get(f"{url}parts/?keys={','.join(keys)}").status_code == 400:
            keys.pop()
        return len(keys)

    base = HybridProgressiveView
    assert most(serve(base, parts=parts)) == 10
    settings.DJANGO_PARTSTREAM = {"MAX_KEYS_PER_REQUEST": 3}
    assert most(serve(base, parts=parts)) == 3
    assert most(serve(base, parts=parts, max_keys_per_request=4)) == 4
    assert most(serve(base, parts=parts, get_max_keys_per_request=lambda self: 5)) == 5


@pytest.mark.parametrize("attribute", ["chunk_size", "cursor_ttl", "max_keys_per_request"])
@pytest.mark.parametrize("value", [0, -1, "2", 2.0, True, []], ids=repr)
def test_attribute__of_a_wrong_kind_names_view_and_fix(serve, client, attribute, value):
    url = serve(
        HybridProgressiveView, parts=PARTS, get_second=Parts.get_second, **{attribute: value}
    )
    with pytest.raises(Misuse) as caught:
        client.get(f"{url}parts/?keys=first" if "keys" in attribute else url)
    assert str(caught.value) == (
        f"ServedView.{attribute} is {value!r}. Write a whole number of 1 or more, "
        "or None for the setting."
    )


def test_cursor_query_param__can_be_renamed(serve, client):
    url = serve(parts=[("a", 1), ("b", 2), ("c", 3)], cursor_query_param="after", chunk_size=1)
    response = client.get(f"{url}?cursor=the-applications-own")
    token = response.json()["cursor"]
    assert response.headers["Link"] == (f'<?cursor=the-applications-own&after={token}>; rel="next"')
    onward = client.get(f"{url}?after={token}&cursor=the-applications-own")
    assert names(onward.json()) == ["b"]
    assert client.get(f"{url}?after=junk").json()["code"] == "cursor_invalid"
    assert client.get(f"{url}?after={token}").json()["code"] == "cursor_invalid"


def test_get_cursor_query_param__is_asked(serve, client):
    url = serve(parts=[("a", 1), ("b", 2), ("c", 3)], get_cursor_query_param=lambda self: "page")
    token = first_cursor(client, url)
    assert names(get_json(client, f"{url}?page={token}")) == ["c"]


def test_get_cursor_codec__is_asked(serve, client):
    codec = SignedCursorCodec(keys=KeyRing([b"a secret of this view alone"]))
    parts = [("a", 1), ("b", 2), ("c", 3)]
    url = serve(parts=parts, get_cursor_codec=lambda self: codec)
    token = first_cursor(client, url)
    assert token.count(".") == 2
    assert codec.decode(token, 60)[2] == 2
    assert merged(walk(client, url)) == dict(parts)


def test_get_cursor_ttl__is_asked(serve, client):
    import time_machine

    url = serve(parts=[("a", 1), ("b", 2), ("c", 3)], get_cursor_ttl=lambda self: 5)
    with time_machine.travel(1_800_000_000, tick=False) as clock:
        token = first_cursor(client, url)
        clock.shift(6)
        assert client.get(at(url, token)).json()["code"] == "cursor_expired"


def test_get_links__is_asked(serve, client):
    url = serve(
        HybridProgressiveView,
        parts=PARTS,
        get_second=Parts.get_second,
        get_links=lambda self, request: {"manifest": "/elsewhere/", "walk": "/there/"},
    )
    assert get_json(client, url)["meta"]["manifest_url"] == "/elsewhere/"
    assert get_json(client, f"{url}manifest/")["links"] == {
        "walk": "/there/",
        "stream": "/there/",
    }


def test_get_protocol_parameters__may_name_more(serve, client):
    class View(ProgressiveView):
        def get_protocol_parameters(self):
            return super().get_protocol_parameters() | {"trace"}

    url = serve(View, parts=[("a", 1), ("b", 2), ("c", 3)])
    token = get_json(client, f"{url}?trace=1")["cursor"]
    assert get_json(client, f"{url}?cursor={token}&trace=2")


def test_get_parts__is_asked_once_a_request(serve, client, calls):
    def get_parts(self):
        calls.append("get_parts")
        return [("a", lazy(lambda request: 1)), ("b", lazy(lambda request, a: a, depends_on=["a"]))]

    url = serve(HybridProgressiveView, get_parts=get_parts, chunk_size=1)
    for route in ("", "parts/?keys=a,b", "manifest/"):
        calls.clear()
        client.get(url + route)
        assert calls == ["get_parts"]


# The manifest


def test_manifest__merges_what_the_view_says_more(serve, client):
    url = serve(
        HybridProgressiveView,
        parts=[
            ("meta", 1),
            ("orders", lazy(lambda request, meta: 1, depends_on=["meta"], size="small")),
            ("stock", lazy(lambda request: 1)),
        ],
        get_parts_manifest=lambda self: {
            "orders": {"size": "large", "label": "Orders", "dependencies": ["stock", "meta"]},
            "stock": {"lazy": "no"},
        },
    )
    assert get_json(client, f"{url}manifest/")["parts"] == {
        "meta": {"size": None, "dependencies": [], "lazy": False},
        "orders": {
            "size": "large",
            "label": "Orders",
            "dependencies": ["meta", "stock"],
            "lazy": True,
        },
        "stock": {"size": None, "dependencies": [], "lazy": True},
    }


@pytest.mark.parametrize(
    ("described", "says"),
    [
        ({"first": {"dependencies": ["lost"]}}, "part 'first' depends on 'lost', which is not a"),
        ({"first": {"dependencies": ["first"]}}, "in a circle: first -> first."),
        ({"first": {"dependencies": "third"}}, "get_parts_manifest()['first'] is {'dependencies'"),
        (
            {"first": "small"},
            "get_parts_manifest()['first'] is 'small'. Write {\"size\": \"small\"",
        ),
        ({"first": None}, 'get_parts_manifest()[\'first\'] is None. Write {"size": "small"'),
    ],
)
@pytest.mark.parametrize("route", ["", "parts/?keys=first", "manifest/"])
def test_manifest__misuse_names_view_part_and_fix(serve, client, route, described, says):
    url = serve(
        HybridProgressiveView,
        parts=PARTS,
        get_second=Parts.get_second,
        get_parts_manifest=lambda self: described,
    )
    with pytest.raises(Misuse) as caught:
        client.get(url + route)
    assert str(caught.value).startswith("ServedView: ")
    assert says in str(caught.value)


def test_manifest__a_name_that_is_not_declared_says_nothing(serve, client):
    url = serve(
        HybridProgressiveView,
        parts=[("a", 1)],
        get_parts_manifest=lambda self: {"lost": {"size": "large", "dependencies": ["too"]}},
    )
    assert list(get_json(client, f"{url}manifest/")["parts"]) == ["a"]
    assert get_json(client, url)["results"] == [{"a": 1}]


def test_manifest__that_is_not_json_names_view_and_fix(serve, client):
    url = serve(
        HybridProgressiveView,
        parts=[("a", 1)],
        get_parts_manifest=lambda self: {"a": {"size": object()}},
    )
    with pytest.raises(Misuse, match=r"ServedView: get_parts_manifest.* is not JSON"):
        client.get(f"{url}manifest/")
    assert Client().get(url).status_code == 200


def test_manifest__asks_the_view_once_a_request(serve, client):
    asked = []

    def describe(self):
        asked.append(1)
        return {"a": {"label": "A"}}

    url = serve(HybridProgressiveView, parts=[("a", 1)], get_parts_manifest=describe)
    assert get_json(client, url + "manifest/")["parts"]["a"]["label"] == "A"
    assert asked == [1]
