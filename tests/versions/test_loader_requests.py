"""The request that loaders see: the walk's own, without the protocol's parameters."""

from __future__ import annotations

import copy
import threading

import pytest
from django.contrib.auth.models import User
from django.core import checks
from django.core.cache import cache
from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.test import Client, RequestFactory
from django.urls import clear_script_prefix, include, path, set_script_prefix
from rest_framework import generics, pagination, serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView

from partstream import HybridProgressiveView, ProgressiveView, cached_for, lazy
from partstream.exceptions import Misuse
from partstream.mixins import KeyAccessMixin
from partstream.parts.loader_requests import LoaderRequest, readdressed
from tests.example.models import Note
from tests.support.marks import leaves_transaction
from tests.support.walk_client import at, first_cursor, get_json, merged

pytestmark = [pytest.mark.usefixtures("empty_cache"), leaves_transaction]

THREADS = "partstream.backends.executors.threads.ThreadExecutor"


class Pages(pagination.PageNumberPagination):
    page_size = 1


class Positions(pagination.CursorPagination):
    page_size = 1
    ordering = "id"
    cursor_query_param = "position"


class NoteSerializer(serializers.Serializer):
    text = serializers.CharField()


def described(view, request):
    """What a loader may look at."""
    django_request = request._request
    return {
        "parameters": sorted(request.query_params),
        "django's": sorted(django_request.GET),
        "query": django_request.META["QUERY_STRING"],
        "full path": request.get_full_path(),
        "absolute": request.build_absolute_uri(),
        "path": [request.path, request.path_info],
        "format": request.accepted_renderer.format,
        "user": str(request.user),
        "django's user": str(django_request.user),
        "is the view's": view.request is request,
        "version": request.version,
        "session": request.session is not None,
        "route": request.resolver_match.view_name,
    }


class Links(HybridProgressiveView, generics.GenericAPIView):
    permission_classes = [AllowAny]
    queryset = [{"text": text} for text in ("one", "two", "three")]
    serializer_class = NoteSerializer
    filter_backends = []
    pagination_class = Pages
    chunk_size = 1

    parts = [
        ("first", 1),
        ("page", lazy("get_page")),
        ("seen", lazy("get_seen")),
        ("kept", lazy(cached_for(60, shared=True)("get_seen"))),
        ("position", lazy("get_position")),
        ("dependent", lazy("get_dependent", depends_on=["seen"])),
    ]

    def get_page(self, request):
        page = self.paginate_queryset(self.filter_queryset(self.queryset))
        data = self.get_serializer(page, many=True).data
        return self.get_paginated_response(data).data

    def get_seen(self, request):
        return described(self, request)

    def get_position(self, request):
        paginator = Positions()
        paginator.paginate_queryset(Note.objects.all(), request, view=self)
        return paginator.get_next_link()

    def get_dependent(self, request, seen):
        return [seen == described(self, request), seen]


class Threaded(Links):
    executor = THREADS
    parts = [pair for pair in Links.parts if pair[0] != "position"]


class Asking(HybridProgressiveView):
    permission_classes = [AllowAny]
    parts = [("first", 1), ("token", lazy(lambda request: bool(get_token(request))))]
    chunk_size = 1


class Kinds(HybridProgressiveView):
    permission_classes = [AllowAny]
    parts = [
        ("first", lazy(lambda request: type(request).__name__)),
        ("second", lazy(lambda request: type(request).__name__)),
    ]
    chunk_size = 1


class Pieces(KeyAccessMixin, APIView):
    permission_classes = [AllowAny]
    parts = [("seen", lazy("get_seen"))]

    def get_seen(self, request):
        return described(self, request)

    def get(self, request):
        return self.keys_response(request)


urlpatterns = [
    path("links/", include(Links.urls(name="links"))),
    path("threaded/", include(Threaded.urls(name="threaded"))),
    path("parts/", include(Links.urls(name="parts"))),
    path("alone/", Links.as_view()),
    path("named/", include(Links.urls(cursor_query_param="walk"))),
    path("asking/", include(Asking.urls())),
    path("kinds/", include(Kinds.urls())),
    path("pieces/", Pieces.as_view()),
]


@pytest.fixture(autouse=True)
def urls(settings):
    settings.ROOT_URLCONF = __name__


@pytest.fixture
def notes(db):
    Note.objects.bulk_create([Note(text=text) for text in ("one", "two", "three")])


def by_key(client, url, query=""):
    """Every part of a view, requested alone."""
    manifest = get_json(client, f"{url}manifest/{query and '?' + query}")
    return merged(
        get_json(client, f"{url}parts/?{query and query + '&'}keys={name}")
        for name in manifest["parts"]
    )


def walked(client, url, query=""):
    """Every part of a view, by cursor, with the application's own query."""
    envelopes = [get_json(client, f"{url}{query and '?' + query}")]
    while envelopes[-1]["cursor"] is not None:
        token = envelopes[-1]["cursor"]
        envelopes.append(get_json(client, f"{url}?{query and query + '&'}cursor={token}"))
    return merged(envelopes)


@pytest.mark.parametrize("url", ["/links/", "/threaded/", "/parts/"])
@pytest.mark.parametrize("query", ["", "z=1", "z=1&z=2&page=1"])
def test_loader_request__is_the_same_in_each_delivery(client, notes, url, query):
    by_walk = walked(client, url, query)
    cache.clear()
    assert by_key(client, url, query) == by_walk
    seen = by_walk["seen"]
    names = sorted({pair.split("=")[0] for pair in query.split("&")} - {""})
    assert seen["parameters"] == seen["django's"] == names
    assert seen["full path"] == url + (query and f"?{query}")
    assert seen["absolute"] == "http://testserver" + seen["full path"]
    assert seen["path"] == [url, url]
    assert seen["query"] == query
    assert seen["route"] == {"/links/": "links", "/threaded/": "threaded", "/parts/": "parts"}[url]
    assert seen["is the view's"]
    assert by_walk["dependent"] == [True, seen]


@pytest.mark.parametrize("url", ["/links/", "/threaded/"])
def test_loader_request__its_links_can_be_followed(client, notes, url):
    for parts in (walked(client, url, "z=1"), by_key(client, url, "z=1")):
        assert parts["page"]["next"] == f"http://testserver{url}?page=2&z=1"
        followed = walked(client, url, parts["page"]["next"].partition("?")[2])
        assert followed["page"]["results"] == [{"text": "two"}]
        assert "cursor=" not in str(parts)


@pytest.mark.parametrize("name", ["first", "second"])
def test_loader_request__what_is_cached_has_no_token(client, notes, name):
    if name == "first":
        kept = walked(client, "/links/")["kept"]
        assert by_key(client, "/links/")["kept"] == kept
    else:
        kept = by_key(client, "/links/")["kept"]
        assert walked(client, "/links/")["kept"] == kept
    assert kept["full path"] == "/links/"


def test_loader_request__the_format_is_the_protocols_too(client, notes):
    plain = walked(client, "/links/")
    assert walked(client, "/links/", "format=json") == plain


def test_loader_request__of_a_view_mounted_alone(client, notes):
    parts = walked(client, "/alone/", "z=1")
    assert parts["seen"]["full path"] == "/alone/?z=1"


def test_loader_request__of_a_view_without_cursors(client):
    (result,) = get_json(client, "/pieces/?keys=seen&cursor=mine")["results"]
    assert result["seen"]["full path"] == "/pieces/?cursor=mine"


def test_loader_request__another_parameter_carries_the_token(client, notes):
    token = first_cursor(client, "/named/?cursor=mine")
    page = get_json(client, f"/named/?cursor=mine&walk={token}")["results"][0]["page"]
    assert page["next"] == "http://testserver/named/?cursor=mine&page=2"


def test_loader_request__has_the_prefix_of_the_script(client):
    set_script_prefix("/app/")
    try:
        seen = get_json(client, "/links/parts/?keys=seen", SCRIPT_NAME="/app")["results"][0]["seen"]
    finally:
        clear_script_prefix()
    assert seen["path"] == ["/app/links/", "/links/"]


def test_loader_request__the_user_is_known_once(client, django_user_model, notes):
    client.force_login(django_user_model.objects.create_user("ada"))
    parts = walked(client, "/links/")
    assert (parts["seen"]["user"], parts["seen"]["django's user"]) == ("ada", "ada")


def test_loader_request__is_the_original_where_nothing_is_removed(client):
    first = get_json(client, "/kinds/?z=1")
    assert first["results"] == [{"first": "Request"}]
    second = get_json(client, at("/kinds/", first["cursor"], z=1))
    assert second["results"] == [{"second": "LoaderRequest"}]
    assert merged([get_json(client, "/kinds/parts/?keys=first")]) == {"first": "LoaderRequest"}


def test_loader_request__a_csrf_token_reaches_the_middleware():
    client = Client(headers={"accept": "application/json"})
    response = client.get(at("/asking/", first_cursor(client, "/asking/")))
    assert response.json()["results"] == [{"token": True}]
    assert response.wsgi_request.META["CSRF_COOKIE_NEEDS_UPDATE"] is True
    assert response.wsgi_request.META["CSRF_COOKIE"]


def test_loader_request__middleware_and_renderer_see_the_clients_own(client, notes):
    url = at("/links/", first_cursor(client, "/links/"))
    response = client.get(url)
    assert response.wsgi_request.get_full_path() == url
    assert response.renderer_context["request"].get_full_path() == url


def test_loader_request__an_exception_handler_sees_the_clients_own(client, settings):
    seen = []

    def handle(exc, context):
        seen.append(context["request"].get_full_path())

    view = type("Refusing", (Asking,), {"get_exception_handler": lambda self: handle})
    settings.ROOT_URLCONF = type("URLs", (), {"urlpatterns": [path("x/", view.as_view())]})
    with pytest.raises(Exception, match="This cursor is not valid"):
        client.get("/x/?cursor=junk")
    assert seen == ["/x/?cursor=junk"]


def test_readdressed__shares_what_middleware_has_set():
    request = RequestFactory().get("/a/?x=1", headers={"accept": "text/html"})
    request.tenant, request.resolver_match, request.user = object(), object(), User()
    copied = readdressed(request, "/b/", "x=1", {"HTTP_ACCEPT": "application/json"})
    assert type(copied) is type(request)
    assert (copied.tenant, copied.resolver_match) == (request.tenant, request.resolver_match)
    assert copied.user is request.user
    assert (copied.path, copied.META["PATH_INFO"], copied.environ["PATH_INFO"]) == ("/b/",) * 3
    assert (copied.headers["accept"], request.headers["accept"]) == (
        "application/json",
        "text/html",
    )
    assert (request.path, request.META["PATH_INFO"]) == ("/a/", "/a/")


def test_loader_request__is_made_once_for_all_threads():
    request = Request(RequestFactory().get("/a/?cursor=x"))
    seen = LoaderRequest(request, "/a/", lambda: {"cursor"})
    barrier, found = threading.Barrier(4), []

    def look():
        barrier.wait(10)
        found.append(seen._request)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 4
    assert len({id(each) for each in found}) == 1


# Paginators that would read the token


def paginated(**attributes):
    made = type("Mine", (pagination.PageNumberPagination,), attributes)
    return type("Paged", (ProgressiveView, generics.GenericAPIView), {
        "permission_classes": [AllowAny], "parts": [("a", 1)], "pagination_class": made,
    })  # fmt: skip


@pytest.mark.parametrize("attribute", ["page_query_param", "page_size_query_param"])
def test_pagination__that_reads_the_token_is_refused(client, settings, attribute):
    view = paginated(**{attribute: "cursor"})
    settings.ROOT_URLCONF = type("URLs", (), {"urlpatterns": [path("x/", view.as_view())]})
    with pytest.raises(Misuse, match="cursor_query_param") as caught:
        client.get("/x/")
    assert f"Mine.{attribute}" in str(caught.value)
    (message,) = [each for each in checks.run_checks() if each.id == "partstream.E004"]
    assert message.msg == str(caught.value)


def test_pagination__drfs_own_cursors_are_refused(client, settings):
    view = type("Paged", (ProgressiveView, generics.GenericAPIView), {
        "permission_classes": [AllowAny], "parts": [("a", 1)],
        "pagination_class": pagination.CursorPagination,
    })  # fmt: skip
    settings.ROOT_URLCONF = type("URLs", (), {"urlpatterns": [path("x/", view.as_view())]})
    with pytest.raises(Misuse, match=r"CursorPagination.cursor_query_param"):
        client.get("/x/")


def test_pagination__with_another_parameter_is_fine(client, settings):
    view = paginated(page_query_param="page")
    settings.ROOT_URLCONF = type(
        "URLs", (), {"urlpatterns": [path("x/", view.as_view(cursor_query_param="token"))]}
    )
    assert get_json(client, "/x/")["results"] == [{"a": 1}]


def test_loader_request__can_be_copied(client, settings):
    def load(request):
        copied = copy.copy(request)
        copied._request = RequestFactory().get("/elsewhere/?y=2")
        return [copied.get_full_path(), request.get_full_path()]

    parts = [("first", 1), ("copied", lazy(load))]
    view = type("Copying", (HybridProgressiveView,), {"parts": parts, "chunk_size": 1})
    settings.ROOT_URLCONF = type("URLs", (), {"urlpatterns": [path("x/", include(view.urls()))]})
    (result,) = get_json(client, "/x/parts/?keys=copied")["results"]
    assert result == {"copied": ["/elsewhere/?y=2", "/x/"]}


def test_loader_request__another_thread_may_have_filled_it():
    request = Request(RequestFactory().get("/a/?cursor=x"))
    request.version = "7"
    seen = LoaderRequest(request, "/a/", lambda: {"cursor"})
    with pytest.raises(AttributeError):
        object.__getattribute__(seen, "version")
    assert seen.parsers == request.parsers  # As the other thread.
    assert LoaderRequest.__getattr__(seen, "version") == "7"


def test_readdressed__of_a_request_that_no_server_made():
    request = HttpRequest()
    request.META["HTTP_HOST"] = "testserver"
    copied = readdressed(request, "/b/", "x=1")
    assert (copied.GET.dict(), copied.get_full_path()) == ({"x": "1"}, "/b/?x=1")


def test_loader_request__a_user_that_a_loader_sets_is_the_clients():
    request = Request(RequestFactory().get("/a/?cursor=x"))
    seen = LoaderRequest(request, "/a/", lambda: {"cursor"})
    seen.user, seen.auth = User(username="ada"), "token"
    assert (request.user.username, request.auth) == ("ada", "token")
