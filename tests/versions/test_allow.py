"""``Allow`` and the other headers that DRF gives to each response: kept per class, and as DRF's."""

from __future__ import annotations

import pytest
from django.urls import path
from rest_framework.exceptions import ValidationError
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from partstream import HybridProgressiveView, ProgressiveView
from partstream.mixins import ChunkMixin, CursorMixin, KeyAccessMixin

PARTS = [("a", 1), ("b", 2)]


def answer(self, request, *args, **kwargs):
    if "fail" in request.query_params:
        raise ValidationError("no")
    return Response({})


REQUESTS = [
    ("get", ""),
    ("get", "?fail=1"),
    ("get", "?format=unknown"),
    ("head", ""),
    ("options", ""),
    ("post", ""),
    ("delete", ""),
    ("put", "?fail=1"),
    ("trace", ""),
]


class Mixed(CursorMixin, ChunkMixin, APIView):
    parts = PARTS
    get = answer


def of_drf(**attributes):
    """DRF's own view and ours, with the same attributes."""
    attributes = {"__module__": __name__, "get": answer, **attributes}
    return (
        type("Own", (APIView,), attributes),
        type("Ours", (CursorMixin, ChunkMixin, APIView), {**attributes, "parts": PARTS}),
    )


VIEWS = {
    "get": {},
    "get and post": {"post": answer},
    "post alone": {"get": None, "post": answer},
    "some methods": {"post": answer, "http_method_names": ["get", "options"]},
    "in another order": {"put": answer, "http_method_names": ["put", "options", "get", "head"]},
    "one renderer": {"renderer_classes": [JSONRenderer]},
    "no options": {"http_method_names": ["get"]},
    "own head": {"head": lambda self, request: Response({}, headers={"X-Head": "1"})},
}


def without_own(response):
    """The headers that DRF and Django set."""
    return {
        name: value
        for name, value in response.headers.items()
        if name not in {"Cache-Control", "Vary", "X-Request-ID"}
    }


@pytest.mark.parametrize("attributes", VIEWS.values(), ids=VIEWS)
def test_headers__are_those_of_drf(client, mount, attributes):
    drf, ours = of_drf(**{name: value for name, value in attributes.items() if value})
    if "get" in attributes:
        del drf.get, ours.get
    mount(path("drf/", drf.as_view()), path("ours/", ours.as_view()))
    for _ in range(2):
        for method, query in REQUESTS:
            expected = getattr(client, method)("/drf/" + query)
            found = getattr(client, method)("/ours/" + query)
            assert found.status_code == expected.status_code
            expected, found = without_own(expected), without_own(found)
            if method == "options":  # The names of the views are in it.
                expected.pop("Content-Length", None), found.pop("Content-Length", None)
            assert found == expected
            assert list(found) == list(expected)


def test_headers__of_a_response_from_the_mixins_have_allow(client, serve):
    url = serve(HybridProgressiveView, parts=PARTS, chunk_size=1)
    etag = client.get(url + "manifest/")["ETag"]
    for _ in range(2):
        for response in (
            client.get(url),
            client.get(url + "?cursor=junk"),
            client.get(url + "parts/?keys=a"),
            client.get(url + "manifest/"),
            client.get(url + "manifest/", headers={"if-none-match": etag}),
            client.post(url),
            client.options(url),
            client.get(url, headers={"accept": "text/html"}),
            client.get(url, headers={"accept": "x/y"}),
        ):
            assert response["Allow"] == "GET, HEAD, OPTIONS"
            assert response["Vary"] == "Accept, Authorization, Cookie"


# Mounts


@pytest.mark.parametrize("restricted_first", [True, False])
def test_mounts__of_one_class_may_allow_different_methods(client, mount, restricted_first):
    class View(Mixed):
        post = answer

    mount(
        path("all/", View.as_view()),
        path("some/", View.as_view(http_method_names=["get", "head", "options"])),
        path("post/", View.as_view(http_method_names=["post"])),
    )
    expected = {
        "/all/": "GET, POST, HEAD, OPTIONS",
        "/some/": "GET, HEAD, OPTIONS",
        "/post/": "POST",
    }
    urls = list(expected) if not restricted_first else list(expected)[::-1]
    for _ in range(2):
        for url in urls:
            assert client.delete(url)["Allow"] == expected[url]
            assert client.post(url).status_code == (405 if url == "/some/" else 200)


def test_mounts__of_a_view_set_have_their_own_methods(client, mount):
    class View(CursorMixin, ChunkMixin, KeyAccessMixin, ViewSet):
        parts = PARTS
        list = create = some = answer

    mount(
        path("list/", View.as_view({"get": "list"})),
        path("create/", View.as_view({"post": "create"})),
        path("both/", View.as_view({"get": "list", "post": "create"})),
        path("some/", View.as_view({"put": "some", "patch": "some"})),
    )
    for _ in range(2):
        for url, allowed in {
            "/list/": "GET, HEAD, OPTIONS",
            "/create/": "POST, OPTIONS",
            "/both/": "GET, POST, HEAD, OPTIONS",
            "/some/": "PUT, PATCH, OPTIONS",
        }.items():
            assert client.delete(url)["Allow"] == allowed
            assert client.options(url)["Allow"] == allowed


def test_mounts__with_other_renderers_do_not_mix(client, mount):
    mount(
        path("one/", Mixed.as_view(renderer_classes=[JSONRenderer])),
        path("two/", Mixed.as_view(renderer_classes=[JSONRenderer, BrowsableAPIRenderer])),
    )
    for _ in range(2):
        for url in ("/one/", "/two/"):
            response = client.get(url)
            assert response["Allow"] == "GET, HEAD, OPTIONS"
            assert response["Vary"] == "Accept, Authorization, Cookie"


# Classes


def test_classes__do_not_share(client, mount):
    class Post(Mixed):
        post = answer

    class Put(Post):
        put = answer

    class Less(Put):
        http_method_names = ["get", "put"]

    expected = {
        Mixed: "GET, HEAD, OPTIONS",
        Post: "GET, POST, HEAD, OPTIONS",
        Put: "GET, POST, PUT, HEAD, OPTIONS",
        Less: "GET, PUT",
    }
    mount(*(path(f"{view.__name__}/", view.as_view()) for view in expected))
    for views in (expected, reversed(expected), expected):
        for view in views:
            assert client.delete(f"/{view.__name__}/")["Allow"] == expected[view]


def test_override__of_default_response_headers_above_the_mixins(client, serve):
    class View(ProgressiveView):
        @property
        def default_response_headers(self):
            query = self.request.META["QUERY_STRING"]
            return {**super().default_response_headers, "X-Query": query}

    url = serve(View, parts=PARTS)
    for query in ("a=1", "a=2", "a=1"):
        response = client.get(f"{url}?{query}")
        assert (response["X-Query"], response["Allow"]) == (query, "GET, HEAD, OPTIONS")


def test_override__that_changes_the_headers_changes_them_once(client, serve):
    class View(ProgressiveView):
        @property
        def default_response_headers(self):
            headers = super().default_response_headers
            assert "X-One" not in headers
            headers["X-One"] = "1"
            del headers["Allow"]
            return headers

    url = serve(View, parts=PARTS)
    for _ in range(3):
        response = client.get(url)
        assert response["X-One"] == "1"
        assert "Allow" not in response.headers


def test_override__of_default_response_headers_below_the_mixins(client, mount):
    class Below(APIView):
        @property
        def default_response_headers(self):
            return {
                **super().default_response_headers,
                "X-Query": self.request.META["QUERY_STRING"],
                "Vary": "X-Query",
            }

    class View(CursorMixin, ChunkMixin, Below):
        parts = PARTS
        get = answer

    mount(path("view/", View.as_view()))
    for query in ("a=1", "a=2", "a=1"):
        response = client.get(f"/view/?{query}")
        assert response["X-Query"] == query
        assert response["Vary"] == "X-Query, Accept, Authorization, Cookie"


def by_query(self):
    return ["GET"] if self.request.META["QUERY_STRING"] else ["GET", "X"]


@pytest.mark.parametrize("where", ["above", "below"])
@pytest.mark.parametrize(
    "attributes",
    [
        {"allowed_methods": property(by_query)},
        {"_allowed_methods": by_query},
    ],
    ids=["allowed_methods", "_allowed_methods"],
)
def test_override__of_the_methods_is_asked_each_time(client, mount, where, attributes):
    attributes = {**attributes, "__module__": __name__}
    if where == "above":
        view = type("View", (Mixed,), attributes)
    else:
        below = type("Below", (APIView,), attributes)
        view = type("View", (CursorMixin, ChunkMixin, below), {"get": answer, "parts": PARTS})
    mount(path("view/", view.as_view()))
    for query, expected in (("", {"GET", "X"}), ("?a=1", {"GET"}), ("", {"GET", "X"})):
        assert set(client.get(f"/view/{query}")["Allow"].split(", ")) == expected


def test_override__of_what_an_instance_has_in_setup(client, serve):
    class View(ProgressiveView):
        def setup(self, request, *args, **kwargs):
            super().setup(request, *args, **kwargs)
            if "post" in request.GET:
                self.post = answer

    url = serve(View, parts=PARTS)
    for query, allowed in [
        ("", "GET, HEAD, OPTIONS"),
        ("?post", "GET, POST, HEAD, OPTIONS"),
        ("", "GET, HEAD, OPTIONS"),
    ]:
        assert client.options(url + query)["Allow"] == allowed


@pytest.mark.parametrize("first", ["", "?change"])
def test_headers__that_a_view_changes_are_those_of_one_request(client, serve, first):
    class View(ProgressiveView):
        def get(self, request):
            assert "X-Changed" not in self.headers
            if "change" in request.query_params:
                self.headers["X-Changed"] = "1"
                self.headers["Allow"] = "NONE"
            return super().get(request)

    url = serve(View, parts=PARTS)
    for query in (first, "?change", "", "?change", ""):
        response = client.get(url + query)
        assert ("X-Changed" in response.headers) is (query == "?change")
        assert response["Allow"] == ("NONE" if query else "GET, HEAD, OPTIONS")
