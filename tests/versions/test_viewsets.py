"""Progressive actions of viewsets, in DRF's routers."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import transaction
from django.test import Client
from django.test.utils import override_script_prefix
from django.urls import include, path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from rest_framework import routers, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.filters import SearchFilter
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.pagination import PageNumberPagination
from rest_framework.permissions import AllowAny, BasePermission, IsAdminUser
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle
from rest_framework.versioning import NamespaceVersioning
from rest_framework.views import APIView

from partstream import PartList, cached_for, lazy
from partstream.exceptions import Misuse
from partstream.mixins import GuardMixin
from partstream.performance import PerformanceMonitor
from partstream.testing import collect
from partstream.viewsets import ProgressiveViewSetMixin, progressive_action
from tests.example.models import Note
from tests.support.marks import with_suffixes
from tests.support.walk_client import at, first_cursor, get_json, merged, names, walk

pytestmark = [pytest.mark.django_db, with_suffixes]

DELIVERY = "partstream.middleware.ProgressiveDeliveryMiddleware"
SECURITY = "partstream.middleware.SecurityMiddleware"
PERFORMANCE = "partstream.middleware.PerformanceMiddleware"
DJANGO = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]


class NoteSerializer(serializers.ModelSerializer):
    class Meta:
        model = Note
        fields = ["id", "text"]


class Pages(PageNumberPagination):
    page_size = 2


class NoteViewSet(viewsets.ModelViewSet):
    """Notes, as a project has them before it has parts."""

    queryset = Note.objects.order_by("pk")
    serializer_class = NoteSerializer
    permission_classes = [AllowAny]
    pagination_class = Pages
    filter_backends = [SearchFilter]
    search_fields = ["text"]

    @action(detail=False, methods=["get", "post"])
    def summary(self, request):
        return Response({"action": self.action, "count": self.get_queryset().count()})

    @action(detail=False)
    def broken(self, request):
        raise NotFound("nothing here")

    @action(detail=False)
    def bug(self, request):
        raise RuntimeError("a bug")


class ProgressiveNoteViewSet(ProgressiveViewSetMixin, NoteViewSet):
    """Notes, as a project has them before it has parts."""

    @progressive_action(detail=False, chunk_size=2)
    def overview(self):
        """All notes at a glance."""
        return [
            ("action", [self.action, self.basename, self.detail]),
            ("page", lazy(self.get_page)),
            ("format", lazy("get_format")),
        ]

    @progressive_action(detail=True, url_path="dash", url_name="dashboard")
    def board(self):
        return [("note", lazy(lambda request: self.get_object().text)), ("pk", self.kwargs["pk"])]

    def get_page(self, request):
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_serializer(page, many=True).data

    def get_format(self, request):
        return self.get_serializer_context()["format"]


def routed(viewset=ProgressiveNoteViewSet, router=routers.DefaultRouter, **options):
    router = router(**options)
    router.register("notes", viewset, "note")
    return router.urls


@pytest.fixture
def notes():
    return Note.objects.bulk_create(Note(text=f"n{number}") for number in range(5))


@pytest.fixture(autouse=True)
def urls(mount):
    mount(
        path("api/", include(routed())),
        path("simple/", include((routed(router=routers.SimpleRouter), "a"), namespace="simple")),
        path(
            "<slug:shop>/bare/",
            include((routed(router=routers.SimpleRouter, trailing_slash=False), "b")),
        ),
        path("paths/", include((routed(use_regex_path=False), "c"))),
    )


def serve(mount, viewset, *patterns):
    mount(path("api/", include(routed(viewset))), *patterns)
    return "/api/notes/overview/"


# Routes

ROUTES = {
    "/api/notes/overview/": "/api/notes/overview/{}/",
    "/api/notes/overview.json": "/api/notes/overview/{}/",
    "/simple/notes/overview/": "/simple/notes/overview/{}/",
    "/bergen/bare/notes/overview": "/bergen/bare/notes/overview/{}",
    "/paths/notes/overview/": "/paths/notes/overview/{}/",
}


@pytest.mark.parametrize("url", ROUTES)
def test_routes__are_three_with_links_between_them(client, notes, url):
    envelopes = walk(client, url)
    assert [names(envelope) for envelope in envelopes] == [["action", "page"], ["format"]]
    data = merged(envelopes)
    assert data == {
        "action": ["overview", "note", False],
        "page": [{"id": note.pk, "text": note.text} for note in notes[:2]],
        "format": None,
    }
    manifest_url = envelopes[0]["meta"]["manifest_url"]
    assert manifest_url == ROUTES[url].format("manifest")
    manifest = get_json(client, manifest_url)
    assert list(manifest["parts"]) == list(data)
    assert manifest["links"] == {
        "walk": ROUTES[url].format("").replace("//", "/"),
        "parts": ROUTES[url].format("parts"),
        "stream": ROUTES[url].format("").replace("//", "/"),
    } or not url.endswith("/")
    assert get_json(client, manifest["links"]["walk"])["results"] == envelopes[0]["results"]
    by_key = get_json(client, f"{manifest['links']['parts']}?keys=page,action,format")
    assert merged([by_key]) == data


@pytest.mark.parametrize("url", ROUTES)
@pytest.mark.parametrize("mode", ["walk", "keys"])
def test_routes__are_collected(client, notes, url, mode):
    assert list(collect(client, url, mode=mode)) == ["action", "page", "format"]


@pytest.mark.parametrize("url", ["/api/notes/overview/", "/bergen/bare/notes/overview"])
@pytest.mark.parametrize("mode", ["walk", "keys"])
def test_routes__are_collected_behind_a_prefix(client, notes, settings, url, mode):
    settings.FORCE_SCRIPT_NAME = "/app"
    with override_script_prefix("/app/"):
        assert list(collect(client, url, mode=mode)) == ["action", "page", "format"]
        assert get_json(client, url)["meta"]["manifest_url"].startswith("/app" + url)


def test_collect__needs_links_where_there_is_no_trailing_slash(client, mount):
    actions = {"get": "overview"}
    mount(path("overview", ProgressiveNoteViewSet.as_view(actions, permission_classes=[AllowAny])))
    with pytest.raises(AssertionError, match="overview: its answer has no link to follow"):
        collect(client, "/overview", mode="keys")


@pytest.mark.parametrize("url", ["/api/notes/overview/", "/bergen/bare/notes/overview"])
def test_routes__are_walked_by_the_command(notes, url):
    output = StringIO()
    call_command("partstream_walk", url, stdout=output, stderr=StringIO())
    assert "2 requests" in output.getvalue().splitlines()[-1]


def test_routes__of_one_object(client, notes):
    pk = notes[1].pk
    assert reverse("note-dashboard", kwargs={"pk": pk}) == f"/api/notes/{pk}/dash/"
    assert reverse("note-dashboard-parts", kwargs={"pk": pk}) == f"/api/notes/{pk}/dash/parts/"
    manifest_url = reverse("simple:note-dashboard-manifest", kwargs={"pk": pk})
    assert collect(client, f"/api/notes/{pk}/dash/") == {"note": "n1", "pk": str(pk)}
    assert get_json(client, manifest_url)["links"]["parts"] == f"/simple/notes/{pk}/dash/parts/"


def test_routes__of_an_object_that_is_not_there(client, notes):
    found = collect(client, "/api/notes/0/dash/", allow_errors=True)
    assert list(found.errors) == ["note"]


def test_routes__under_versions(client, notes, mount):
    class Versioned(ProgressiveNoteViewSet):
        versioning_class = NamespaceVersioning

        @progressive_action(detail=False)
        def overview(self):
            return [("version", self.request.version)]

    mount(path("v1/", include((routed(Versioned), "a"), namespace="v1")))
    assert collect(client, "/v1/notes/overview/", mode="keys") == {"version": "v1"}
    meta = get_json(client, "/v1/notes/overview/?format=json")["meta"]
    assert meta["manifest_url"] == "/v1/notes/overview/manifest/"


def test_routes__with_a_path_of_their_own(client, mount):
    class Yearly(ProgressiveNoteViewSet):
        @progressive_action(detail=False, url_path=r"years/(?P<year>\d+)/overview")
        def overview(self):
            return [("year", self.kwargs["year"])]

    serve(mount, Yearly)
    assert collect(client, "/api/notes/years/2026/overview/", mode="keys") == {"year": "2026"}


def test_routes__whose_arguments_have_no_name(client, mount):
    from django.urls import re_path

    mount(re_path(r"^of/(\d+)/", include(routed(ProgressiveNoteViewSet, routers.SimpleRouter))))
    manifest_url = get_json(client, "/of/7/notes/overview/")["meta"]["manifest_url"]
    assert manifest_url == "/of/7/notes/overview/manifest/"


@pytest.mark.parametrize("kwargs", [{}, {"basename": "elsewhere"}])
def test_routes__of_no_router_have_no_links(client, notes, mount, kwargs):
    view = ProgressiveNoteViewSet.as_view({"get": "overview"}, **kwargs)
    mount(path("alone/", view), path("parts/", view))
    assert "manifest_url" not in get_json(client, "/alone/")["meta"]


def test_routes__of_no_url_have_no_links(rf):
    view = ProgressiveNoteViewSet.as_view({"get": "overview_manifest"}, basename="note")
    assert b'"links":{}' in view(rf.get("/")).render().content


def test_format_suffix__is_negotiated(client, notes):
    assert client.get("/api/notes/overview.xml").status_code == 404
    assert client.get("/api/notes.xml").status_code == 404
    assert client.get("/api/notes/overview.api")["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("suffix", ["", "parts/?keys=action", "manifest/"])
def test_browsable_api__shows_the_routes(client, notes, suffix):
    response = client.get(f"/api/notes/overview/{suffix}", headers={"accept": "text/html"})
    assert response.status_code == 200
    content = response.content.decode()
    assert "All notes at a glance." in content
    for title in ("Overview", "Overview parts", "Overview manifest"):
        assert f">{title}</a>" in content


@pytest.mark.parametrize("suffix", ["", "parts/?keys=action", "manifest/"])
def test_methods__are_those_of_other_views(client, notes, suffix):
    url = f"/api/notes/overview/{suffix}"
    assert client.head(url).status_code == 200
    assert client.head(url).content == b""
    options = client.options(url)
    assert options.status_code == 200
    assert options.json()["description"] == "All notes at a glance."
    refused = client.post(url)
    assert (refused.status_code, refused["Allow"]) == (405, "GET, HEAD, OPTIONS")
    assert refused.json()["code"] == "method_not_allowed"


# The action


def test_action__is_the_walks_on_all_routes(client, notes, mount):
    seen = []

    class Seeing(BasePermission):
        def has_permission(self, request, view):
            seen.append((view.action, view.progressive_delivery))
            return True

    class Watched(ProgressiveNoteViewSet):
        @progressive_action(detail=False, permission_classes=[Seeing])
        def overview(self):
            return [("one", 1)]

    url = serve(mount, Watched)
    for suffix in ("", "parts/?keys=one", "manifest/"):
        get_json(client, url + suffix)
        client.head(url + suffix)
        client.options(url + suffix)
        client.post(url + suffix)
    assert seen == [
        (name, delivery)
        for delivery in ("walk", "parts", "manifest")
        for name in ("overview", "overview", "metadata", None)
    ]


def test_action__takes_attributes_of_the_view(client, user, mount):
    class Guarded(ProgressiveNoteViewSet):
        @progressive_action(
            detail=False, permission_classes=[IsAdminUser], cursor_query_param="after", chunk_size=1
        )
        def overview(self):
            return [("one", 1), ("two", 2)]

    url = serve(mount, Guarded)
    for suffix in ("", "parts/?keys=one", "manifest/"):
        assert client.get(url + suffix).status_code == 403
    user.is_staff = True
    user.save()
    client.force_login(user)
    assert "?after=" in client.get(url)["Link"]
    assert collect(client, url) == {"one": 1, "two": 2}


def test_action__that_a_subclass_overrides(client, notes, mount):
    class Longer(ProgressiveNoteViewSet):
        @progressive_action(detail=False, chunk_size=1)
        def overview(self):
            return PartList([("zero", 0), *super().overview()])

    url = serve(mount, Longer)
    assert list(collect(client, url, mode="keys")) == ["zero", "action", "page", "format"]
    assert collect(client, url).requests == 4


def test_action__that_replaces_a_plain_one(client, mount):
    class Replaced(ProgressiveViewSetMixin, NoteViewSet):
        @progressive_action(detail=False)
        def summary(self):
            return [("one", 1)]

    serve(mount, Replaced)
    assert collect(client, "/api/notes/summary/", mode="keys") == {"one": 1}
    assert client.post("/api/notes/summary/").status_code == 405


def test_action__that_a_subclass_removes(client, notes, mount):
    class Shorter(ProgressiveNoteViewSet):
        overview = None

    url = serve(mount, Shorter)
    assert {client.get(url + suffix).status_code for suffix in ("", "parts/", "manifest/")} == {404}
    assert client.get(f"/api/notes/{notes[0].pk}/dash/").status_code == 200


def test_action__of_a_mixin_without_a_view(client, mount):
    class OverviewMixin(ProgressiveViewSetMixin):
        @progressive_action(detail=False, throttle_scope="overviews")
        def overview(self):
            return ((name, self.throttle_scope) for name in ("one",))

    class Mixed(OverviewMixin, viewsets.ViewSet):
        permission_classes = [AllowAny]
        throttle_scope = None

    assert collect(client, serve(mount, Mixed)) == {"one": "overviews"}


def test_cursor__is_bound_to_class_and_path(client, notes, mount):
    class Other(ProgressiveNoteViewSet):
        pass

    class Two(ProgressiveNoteViewSet):
        @progressive_action(detail=False, chunk_size=2)
        def other(self):
            return super().overview()

    mount(path("api/", include(routed(Two))), path("other/", include(routed(Other))))
    token = first_cursor(client, "/api/notes/overview/")
    for url in ("/api/notes/other/", "/other/notes/overview/", "/api/notes/overview.json"):
        refused = client.get(at(url, token))
        assert (refused.status_code, refused.json()["code"]) == (400, "cursor_invalid")
    assert names(get_json(client, at("/api/notes/overview/", token))) == ["format"]


def test_cached_part__is_one_of_walk_and_keys_and_of_no_other_action(
    client, user, calls, mount, empty_cache
):
    class Cached(ProgressiveNoteViewSet):
        @progressive_action(detail=False)
        def overview(self):
            return [("one", lazy(cached_for(60, shared=True)(calls.loader("overview", 1))))]

        @progressive_action(detail=False)
        def other(self):
            return [("one", lazy(cached_for(60, shared=True)(calls.loader("other", 2))))]

    url = serve(mount, Cached)
    for asked in (url, url + "parts/?keys=one", "/api/notes/overview.json"):
        assert merged([get_json(client, asked)]) == {"one": 1}
    assert merged([get_json(client, "/api/notes/other/")]) == {"one": 2}
    assert calls == ["overview", "other"]


# Other actions


@pytest.fixture
def limited(settings):
    settings.DJANGO_PARTSTREAM = {
        "ENABLE_RATE_LIMITING": True,
        "RATE_LIMIT_STORE": "partstream.backends.rate_limits.memory.MemoryRateLimitStore",
        "RATE_LIMIT": 3,
        "BURST_LIMIT": 3,
        "IP_BLOCKLIST": ["192.0.2.1"],
    }


REQUESTS = [
    ("get", "notes/", {}),
    ("get", "notes/?page=2", {}),
    ("get", "notes.json", {}),
    ("get", "notes.xml", {}),
    ("get", "notes/?format=xml", {}),
    ("get", "notes/?format=json&format=json", {}),
    ("get", "notes/?cursor=a&cursor=b&keys=", {}),
    ("get", "notes/", {"headers": {"accept": "text/x-unknown"}}),
    ("get", "notes/", {"headers": {"x-request-id": "1"}}),
    ("get", "notes/", {"REMOTE_ADDR": "192.0.2.1"}),
    ("head", "notes/", {}),
    ("options", "notes/", {}),
    ("post", "notes/", {}),
    ("post", "notes/", {"data": {"text": ""}}),
    ("delete", "notes/", {}),
    ("get", "notes/1/", {}),
    ("put", "notes/0/", {}),
    ("get", "notes/summary/", {}),
    ("post", "notes/summary/", {}),
    ("get", "notes/broken/", {}),
    ("get", "notes/bug/", {}),
]


@pytest.mark.parametrize("middleware", [[], [DELIVERY, SECURITY, PERFORMANCE]])
@pytest.mark.parametrize(("method", "url", "extra"), REQUESTS)
def test_other_actions__answer_as_without_the_mixin(
    mount, notes, settings, limited, method, url, extra, middleware
):
    settings.MIDDLEWARE = [*middleware, *DJANGO]
    mount(
        path("api/", include(routed())),
        path("was/", include(routed(NoteViewSet))),
    )
    client = Client(raise_request_exception=False)
    answers = []
    for base in ("/was/", "/api/"):
        for _ in range(5):
            response = getattr(client, method)(base + url, **extra)
        content = response.content.replace(base.encode(), b"/was/")
        headers = {name: value.replace(base, "/was/") for name, value in response.headers.items()}
        answers.append((response.status_code, headers, content.replace(b"Progressive ", b"")))
    assert answers[0] == answers[1]
    assert not {"X-Request-ID", "RateLimit"} & answers[1][1].keys()


def test_progressive_actions__are_guarded(client, notes, limited, settings):
    settings.MIDDLEWARE = [DELIVERY, SECURITY, *DJANGO]
    url = "/api/notes/overview/"
    assert client.get(url, REMOTE_ADDR="192.0.2.1").status_code == 403
    assert client.get(url + "?format=json&format=json").json()["code"] == "request_invalid"
    answers = [client.get(url) for _ in range(5)]
    assert [answer.status_code for answer in answers].count(429) == 2
    assert all(answer["X-Request-ID"] for answer in answers)


def test_keys__are_the_applications_own_on_the_walk(client, notes):
    url = "/api/notes/overview/"
    token = first_cursor(client, url + "?keys=mine")
    assert client.get(at(url, token, keys="mine")).status_code == 200
    assert client.get(at(url, token, keys="other")).json()["code"] == "cursor_invalid"


def test_manifest__does_not_count_as_burst(client, notes, limited, settings):
    settings.DJANGO_PARTSTREAM = {**settings.DJANGO_PARTSTREAM, "RATE_LIMIT": 100}
    manifest_url = "/api/notes/overview/manifest/"
    assert {client.get(manifest_url).status_code for _ in range(5)} == {200}
    walks = [client.get("/api/notes/overview/").status_code for _ in range(5)]
    assert walks.count(429) == 2


def test_guard__everything_that_it_overrides_steps_aside():
    """What the guard overrides of DRF's view, the mixin hands on or its routes determine."""
    overridden = {
        name
        for name, value in vars(GuardMixin).items()
        if name != "__init_subclass__" and not name.startswith("__") and hasattr(APIView, name)
    }
    assert overridden <= vars(ProgressiveViewSetMixin).keys()


@pytest.mark.parametrize(
    "hook",
    [
        "dispatch",
        "initial",
        "perform_authentication",
        "get_content_negotiator",
        "get_throttles",
        "handle_exception",
        "raise_uncaught_exception",
        "finalize_response",
    ],
)
def test_other_actions__pass_the_guard_by(monkeypatch, mount, notes, hook):
    asked = []
    guards = getattr(GuardMixin, hook)

    def noted(self, *args, **kwargs):
        asked.append(self.action_map["get"])
        return guards(self, *args, **kwargs)

    monkeypatch.setattr(GuardMixin, hook, noted)
    client = Client(raise_request_exception=False)
    client.get("/api/notes/bug/")
    client.get("/api/notes/broken/")
    assert asked == []
    client.get("/api/notes/overview/?format=json&format=json")
    client.get("/api/notes/overview/")
    if hook != "raise_uncaught_exception":
        assert "overview" in asked


def test_bugs__of_a_progressive_action_are_raised(client, mount):
    class Broken(ProgressiveNoteViewSet):
        @progressive_action(detail=False)
        def overview(self):
            raise RuntimeError("a bug")

    url = serve(mount, Broken)
    with pytest.raises(RuntimeError, match="a bug"):
        client.get(url)


def test_throttles__of_the_project_stay(client, notes, mount):
    class Never(BaseThrottle):
        def allow_request(self, request, view):
            return False

    class Throttled(ProgressiveNoteViewSet):
        throttle_classes = [Never]
        content_negotiation_class = type("Own", (DefaultContentNegotiation,), {})

    url = serve(mount, Throttled)
    assert client.get(url).json()["code"] == "throttled"
    assert client.get("/api/notes/").json() == {"detail": "Request was throttled."}


def test_monitoring__is_of_progressive_actions_alone(client, notes, settings):
    settings.MIDDLEWARE = [PERFORMANCE, *DJANGO]
    client.get("/api/notes/")
    client.get("/api/notes/overview/")
    [view] = PerformanceMonitor().get_views()
    assert "overview" in view


def test_decorators__of_the_viewsets_dispatch_stay(mount):
    @method_decorator(transaction.non_atomic_requests, name="dispatch")
    class Decorated(NoteViewSet):
        pass

    class Progressive(ProgressiveViewSetMixin, Decorated):
        overview = progressive_action(detail=False)(lambda self: [("one", 1)])

    for actions in ({"get": "list"}, {"get": "overview"}):
        view = Progressive.as_view(actions)
        assert view._non_atomic_requests == Decorated.as_view({"get": "list"})._non_atomic_requests


# Checks


def ours(messages):
    return [message for message in messages if message.id.startswith("partstream.")]


def test_checks__know_progressive_actions_alone(mount):
    serve(mount, ProgressiveNoteViewSet)
    assert ours(run_checks()) == []

    class Wrong(ProgressiveNoteViewSet):
        chunk_size = "many"

    serve(mount, Wrong)
    [error] = ours(run_checks())
    assert (error.id, "Wrong.chunk_size is 'many'" in error.msg) == ("partstream.E004", True)

    class Plain(ProgressiveViewSetMixin, NoteViewSet):
        chunk_size = "many"

    serve(mount, Plain)
    assert ours(run_checks()) == []


def test_checks__look_at_the_actions_arguments(mount):
    class Budgeted(ProgressiveNoteViewSet):
        @progressive_action(detail=False, chunk_size=1000)
        def overview(self):
            return [("one", 1)]

    serve(mount, Budgeted)
    assert [error.id for error in ours(run_checks())] == ["partstream.W002"]


# The viewset's own


def test_generic_viewset__keeps_filters_and_paginator(client, notes):
    data = collect(client, "/api/notes/overview/?search=n4&page=1")
    assert data["page"] == [{"id": notes[4].pk, "text": "n4"}]


# Misuse


def viewset(*bases, **attributes):
    return type("Board", bases, {"__module__": __name__, **attributes})


def parts(self):
    return []


OVERVIEW = {"overview": progressive_action(detail=False)(parts)}
MIXED = (ProgressiveViewSetMixin, viewsets.ViewSet)


def misuse(make):
    """The text of the misuse; before Python 3.12, what `__set_name__` raises is wrapped."""
    with pytest.raises((Misuse, RuntimeError)) as caught:
        make()
    error = caught.value
    return str(error if isinstance(error, Misuse) else error.__cause__)


@pytest.mark.parametrize("detail", [None, 0, "yes"])
def test_misuse__detail(detail):
    assert "write True or False" in misuse(lambda: progressive_action(detail=detail))


@pytest.mark.parametrize("methods", ["get", ["post"], ["get", "post"], []])
def test_misuse__methods(methods):
    said = misuse(lambda: progressive_action(detail=False, methods=methods))
    assert "delivered by GET alone. Leave methods out" in said


@pytest.mark.parametrize("methods", [["get"], ["GET"]])
def test_methods__may_be_get(methods):
    progressive_action(detail=False, methods=methods)


@pytest.mark.parametrize("argument", ["url_path", "url_name"])
@pytest.mark.parametrize("value", ["", "/overview", "overview/", 7])
def test_misuse__path_and_name(argument, value):
    said = misuse(lambda: progressive_action(detail=False, **{argument: value}))
    assert f"{argument}={value!r}" in said
    assert "without slashes at its ends" in said


async def coroutine(self):
    return []


async def generator(self):
    yield


def with_request(self, request):
    return []


def with_pk(self, pk=None):
    return []


def without_self():
    return []


@pytest.mark.parametrize(
    ("method", "says"),
    [
        (coroutine, "coroutine is async, but declaring parts waits for nothing. Write def"),
        (generator, "generator is async"),
        (with_request, "takes self, request. Write def with_request(self): the request is self."),
        (with_pk, "takes self, pk=None. Write def with_pk(self)"),
        (without_self, "without_self cannot be called as (self)"),
        ("overview", "'overview' is not a method"),
        (property(parts), "is not a method"),
        (action(detail=False)(lambda self: []), "is an action already. Leave @action out"),
    ],
)
def test_misuse__method(method, says):
    assert says in misuse(lambda: progressive_action(detail=False)(method))


@pytest.mark.parametrize("bases", [(viewsets.ViewSet,), (APIView,), (object,)])
def test_misuse__without_the_mixin(bases):
    said = misuse(lambda: viewset(*bases, **OVERVIEW))
    assert "Board.overview: @progressive_action needs its mixin. Write class Board(Prog" in said


@pytest.mark.parametrize(
    "bases",
    [
        (viewsets.ModelViewSet, ProgressiveViewSetMixin),
        (viewsets.ViewSetMixin, ProgressiveViewSetMixin, APIView),
    ],
)
def test_misuse__mixin_after_the_viewset(bases):
    said = misuse(lambda: viewset(*bases))
    assert "the viewset comes before ProgressiveViewSetMixin" in said
    assert "Write class Board(ProgressiveViewSetMixin, …)" in said


def test_misuse__mixin_on_a_view():
    said = misuse(lambda: viewset(ProgressiveViewSetMixin, APIView))
    assert "class Board is not a viewset" in said
    assert "or use HybridProgressiveView" in said


@pytest.mark.parametrize(
    "name",
    ["list", "get", "action", "request", "name", "parts", "get_links", "walk_response", "options"],
)
def test_misuse__name_that_the_viewset_needs(name):
    said = misuse(lambda: viewset(*MIXED, **{name: progressive_action(detail=False)(parts)}))
    assert f"Board.{name}: the viewset uses this name itself. Rename the action." in said


@pytest.mark.parametrize("base", [NoteViewSet, ProgressiveNoteViewSet])
def test_misuse__name_of_a_method(base):
    bases = (ProgressiveViewSetMixin, base) if base is NoteViewSet else (base,)
    said = misuse(lambda: viewset(*bases, get_queryset=progressive_action(detail=False)(parts)))
    assert "Board.get_queryset: the viewset uses this name itself" in said


@pytest.mark.parametrize("suffix", ["parts", "manifest"])
@pytest.mark.parametrize("inherited", [True, False])
def test_misuse__name_of_a_route(suffix, inherited):
    other = {f"overview_{suffix}": lambda self, request: None}
    bases, own = (
        ((*MIXED[:1], viewset(viewsets.ViewSet, **other)), {}) if inherited else (MIXED, other)
    )
    said = misuse(lambda: viewset(*bases, **own, **OVERVIEW))
    assert f"Board.overview: a progressive action also defines overview_{suffix}" in said


def test_misuse__override_without_decorator():
    said = misuse(lambda: viewset(ProgressiveNoteViewSet, overview=parts))
    assert "Board.overview overrides a progressive action. Decorate it with" in said
    for value in (parts, None):
        said = misuse(lambda value=value: viewset(ProgressiveNoteViewSet, overview_parts=value))
        assert "Board.overview_parts hides a route of the progressive action overview" in said


def test_misuse__drfs_decorator_above():
    decorated = action(detail=False)(OVERVIEW["overview"])
    said = misuse(lambda: viewset(*MIXED, overview=decorated))
    assert said == "Board.overview is a progressive action already. Leave @action out."


def test_misuse__without_parentheses():
    said = misuse(lambda: progressive_action(parts))
    assert said == (
        "@progressive_action needs parentheses. Write @progressive_action(detail=False), or True "
        "for one object."
    )


def test_misuse__a_method_that_returns_a_response(mount, client):
    class Answering(ProgressiveViewSetMixin, viewsets.ViewSet):
        """As an action that was converted."""

        permission_classes = [AllowAny]

        @progressive_action(detail=False)
        def overview(self):
            return Response({"count": 1})

    router = routers.SimpleRouter()
    router.register("answering", Answering, "answering")
    mount(*router.urls)
    said = misuse(lambda: client.get("/answering/overview/"))
    assert said.startswith("Answering: the parts are a Response. Return a list of (name, value)")


def test_misuse__another_decorator_above():
    wrapped = method_decorator(never_cache)(OVERVIEW["overview"])
    said = misuse(lambda: viewset(*MIXED, overview=wrapped))
    assert "Board.overview: another decorator is above @progressive_action" in said


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"chunk_sise": 2}, "(chunk_sise=…) is not an attribute that the viewset has"),
        ({"post": 2}, "(post=…) is not an attribute that the viewset has"),
        ({"basename": "a"}, "(basename=…) is not an attribute that the viewset has"),
        ({"parts": []}, "(parts=…) has no effect: the method returns the parts"),
        ({"chunk_size": 0}, "Board.overview(chunk_size) is 0. Write a whole number"),
        ({"time_budget": "1"}, "Board.overview(time_budget) is '1'. Write seconds"),
        ({"cursor_query_param": "keys"}, "is 'keys', which the protocol or DRF already uses"),
    ],
)
def test_misuse__arguments(kwargs, says):
    decorated = progressive_action(detail=False, **kwargs)(parts)
    assert says in misuse(lambda: viewset(*MIXED, overview=decorated))


@pytest.mark.parametrize(
    "actions",
    [
        {"get": "overview", "post": "create"},
        {"get": "list", "post": "overview"},
        {"get": "overview", "head": "list"},
    ],
)
def test_misuse__shared_route(actions):
    said = misuse(lambda: ProgressiveNoteViewSet.as_view(actions))
    assert "shares its route with no other action" in said
    assert str(actions) in said


def test_misuse__method_added_to_the_route():
    class Mapped(ProgressiveViewSetMixin, NoteViewSet):
        @progressive_action(detail=False)
        def overview(self):
            return []

    def also(self, request):
        return Response()

    Mapped.also = Mapped.overview.mapping.post(also)
    assert "shares its route with no other action" in misuse(lambda: routed(Mapped))


def test_misuse__parts_of_another_action():
    view = ProgressiveNoteViewSet()
    assert "so it has no parts" in misuse(view.get_parts)


def test_titles__of_the_routes():
    class Titled(ProgressiveViewSetMixin, viewsets.ViewSet):
        @progressive_action(detail=False, name="At a glance")
        def overview(self):
            return []

        @progressive_action(detail=False, suffix="Board")
        def board(self):
            return []

    titles = {handler.__name__: handler.kwargs for handler in Titled.get_extra_actions()}
    assert [titles[f"overview{suffix}"]["name"] for suffix in ("", "_parts")] == [
        "At a glance",
        "At a glance parts",
    ]
    assert titles["board_manifest"]["suffix"] == "Board manifest"
