"""Parts made of existing endpoints: the same data, refusals and side effects as by their URL."""

from __future__ import annotations

import json
import re
import threading
from contextlib import contextmanager
from decimal import Decimal
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from django.contrib.auth.models import User
from django.core import checks
from django.core.cache import cache
from django.core.signals import request_finished
from django.db import connection
from django.test import AsyncClient, Client, RequestFactory
from django.urls import clear_script_prefix, include, path, re_path, set_script_prefix
from rest_framework import permissions, serializers, versioning
from rest_framework.response import Response
from rest_framework.test import APIClient

from partstream import HybridProgressiveView, cached_for, endpoint, lazy, safe_call
from partstream.exceptions import EndpointFailed, Misuse
from partstream.testing import inline
from tests.example.models import Note
from tests.support.marks import leaves_transaction

from . import urls as api

pytestmark = [pytest.mark.usefixtures("empty_cache"), pytest.mark.django_db]

PARTS = []
THREADS = "partstream.backends.executors.threads.ThreadExecutor"


class Dashboard(api.Base, HybridProgressiveView):
    throttle_classes = [api.Counting]
    chunk_size = 20

    def get_parts(self):
        return list(PARTS)


class Versioned(Dashboard):
    versioning_class = versioning.NamespaceVersioning


urlpatterns = [
    *api.urlpatterns,
    path("board/", include(Dashboard.urls(name="dashboard"))),
    path("threads/", include(Dashboard.urls(executor=THREADS))),
    path(
        "v2/spaces/",
        include((Versioned.urls(), "spaces"), namespace="v2"),
    ),
    re_path(
        r"^(?P<version>v1|v2)/paths/",
        include(Dashboard.urls(versioning_class=versioning.URLPathVersioning)),
    ),
    path(
        "queries/",
        include(Dashboard.urls(versioning_class=versioning.QueryParameterVersioning)),
    ),
    path(
        "accepts/",
        include(Dashboard.urls(versioning_class=versioning.AcceptHeaderVersioning)),
    ),
]


class Tenants:
    """A project's middleware: it sets an attribute before the view."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        request.tenant = "acme"
        return self.get_response(request)


@pytest.fixture(autouse=True)
def project(settings):
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.locale.LocaleMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        f"{__name__}.Tenants",
    ]
    api.CALLS.clear()
    PARTS.clear()


@pytest.fixture
def ada():
    return User.objects.create_user("ada", password="ada")


@pytest.fixture
def bob():
    return User.objects.create_user("bob", password="bob", is_staff=True)


@pytest.fixture
def token(ada):
    """A client that sends ada's token with each request."""
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION="Token ada")
    return client


@pytest.fixture
def notes():
    texts = ["one", "two", "three", "four", "a secret"]
    return [Note.objects.create(text=text) for text in texts]


def declare(*loaders, **options):
    """Let the dashboard have these parts, named p, q, r."""
    PARTS[:] = [
        (name, lazy(loader, **options)) for name, loader in zip("pqrstuvw", loaders, strict=False)
    ]


def part_of(client, url="/board/", name="p", **extra):
    """The data of a part, or its error."""
    response = client.get(url, **extra)
    assert response.status_code == 200, response.content
    body = response.json()
    results = {key: value for result in body["results"] for key, value in result.items()}
    errors = {error["part"]: error for error in body.get("errors", [])}
    return results[name] if name in results else errors[name]


def direct(client, url, **extra):
    """What the endpoint itself answers."""
    response = client.get(url, HTTP_ACCEPT="application/json", **extra)
    assert response.status_code == 200, response.content
    return response.json()


# The same data


@pytest.mark.parametrize("accept", ["application/json", "application/json; indent=4", "*/*"])
@pytest.mark.parametrize("form", ["name", "class"])
def test_list__is_that_of_its_url(token, notes, accept, form):
    query = {"search": "o", "ordering": "-text", "page": 1}
    view = "note-list" if form == "name" else api.NoteViewSet
    action = None if form == "name" else "list"
    declare(endpoint(view, action=action, query=query))
    found = part_of(token, HTTP_ACCEPT=accept)
    assert found == direct(token, "/api/notes/?search=o&ordering=-text&page=1")
    assert found["results"][0]["asked"] == ["ada", "list", "/api/notes/", "acme"]
    assert found["next"] == "http://testserver/api/notes/?ordering=-text&page=2&search=o"


@pytest.mark.parametrize("url", ["/board/?x=1", "/board/parts/?keys=p&x=1", "/board/?format=json"])
def test_list__its_links_are_the_endpoints(token, notes, url):
    declare(endpoint("note-list"))
    assert part_of(token, url)["next"] == "http://testserver/api/notes/?page=2"


@pytest.mark.parametrize("name", ["windows", "positions", "pages"])
def test_list__of_each_paginator(token, notes, name):
    declare(endpoint(name))
    found = part_of(token)
    assert found == direct(token, f"/api/{name}/")
    assert found["next"].startswith(f"http://testserver/api/{name}/?")
    declare(endpoint(name, query=dict(parse_qsl(urlsplit(found["next"]).query))))
    assert part_of(token) == direct(token, found["next"].removeprefix("http://testserver"))


def test_list__followed_by_cursor_and_by_key_is_the_same(token, notes):
    PARTS[:] = [("first", 1), ("p", lazy(endpoint("note-list", query={"page": 2})))]
    by_walk = part_of(token)
    cache.clear()
    assert part_of(token, "/board/parts/?keys=p") == by_walk


def test_detail__takes_arguments_of_the_route(token, notes):
    pk = notes[0].pk
    declare(endpoint("note-detail", kwargs={"pk": pk}))
    assert part_of(token) == direct(token, f"/api/notes/{pk}/")
    declare(endpoint("note-history", kwargs=lambda request: {"pk": request.query_params["note"]}))
    assert part_of(token, f"/board/?note={pk}") == {"of": "one"}


def test_detail__permissions_of_the_object_apply(token, notes):
    declare(endpoint("note-detail", kwargs={"pk": notes[4].pk}))
    assert part_of(token)["code"] == "part_forbidden"
    declare(endpoint("note-detail", kwargs={"pk": 0}))
    assert part_of(token)["code"] == "part_not_found"


@pytest.mark.parametrize(
    "value", ["summary", "../where", "..", "1/history", "1.json", "%2e%2e", "", "plain", "1/"]
)
def test_detail__a_value_never_leads_to_another_route(token, notes, value):
    declare(endpoint("note-detail", kwargs=lambda request: {"pk": request.query_params["pk"]}))
    assert part_of(token, f"/board/?pk={quote(value, safe='')}")["code"] == "part_not_found"


@pytest.mark.parametrize("slug", ["a b", "ä%2F?#&x=1", "50%", "x%00y"])
def test_detail__values_are_escaped_as_in_a_url(token, slug):
    declare(endpoint("by-slug", kwargs={"slug": slug}))
    found = part_of(token)
    assert found["kwargs"] == {"slug": slug}
    assert found == direct(token, f"/api/slug/{quote(slug, safe='')}/")


@pytest.mark.parametrize("url", ["/board/", "/v1/paths/"])
@pytest.mark.parametrize("slug", [".", ".."])
def test_detail__dots_lead_nowhere(token, url, slug):
    declare(endpoint("by-slug", kwargs={"slug": slug}))
    assert part_of(token, url)["code"] == "part_not_found"


def test_detail__equal_values_of_different_types_are_different_addresses(token):
    found = []
    for value in (1, True, 1.0, "1"):
        declare(endpoint("by-slug", kwargs={"slug": value}))
        found.append(part_of(token)["kwargs"]["slug"])
    assert found == ["1", "True", "1.0", "1"]


def test_detail__a_value_that_cannot_be_hashed(token):
    declare(endpoint("by-slug", kwargs={"slug": ["a"]}))
    assert part_of(token)["kwargs"] == {"slug": "['a']"}


def test_request__what_a_view_changes_in_its_route_is_not_kept(token, monkeypatch):
    def get(self, request, **kwargs):
        request.resolver_match.kwargs["slug"] = "changed"
        return Response(kwargs["slug"])

    monkeypatch.setattr(api.Where, "get", get)
    declare(endpoint("by-slug", kwargs={"slug": "mine"}))
    assert [part_of(token), part_of(token)] == ["mine", "mine"]


def test_action__knows_its_router(token):
    declare(endpoint("note-summary"), endpoint(api.NoteViewSet, action="summary"))
    assert part_of(token) == part_of(token, name="q") == direct(token, "/api/notes/summary/")


def test_action__of_a_view_set_that_has_parts_elsewhere(token, notes):
    declare(endpoint("mixed-list"), endpoint(api.MixedViewSet, action="list"))
    assert part_of(token) == part_of(token, name="q") == direct(token, "/api/mixed/")


def test_function_view__is_an_endpoint_too(token):
    declare(endpoint("function"), endpoint(api.function_view))
    assert part_of(token) == part_of(token, name="q") == direct(token, "/api/function/")


def test_request__is_the_endpoints_own(token):
    declare(endpoint("where", query={"a": ["1", "2"], "b": "x&admin=1", "é": "ü"}))
    found = part_of(token, "/board/?z=1", HTTP_IF_NONE_MATCH='"one"', HTTP_RANGE="bytes=0-1")
    query = "a=1&a=2&b=x%26admin%3D1&%C3%A9=%C3%BC"
    assert found == direct(token, f"/api/where/?{query}")
    assert found["query"] == {"a": ["1", "2"], "b": ["x&admin=1"], "é": ["ü"]}
    assert found["route"] == "where"
    assert (found["method"], found["body"], found["data"]) == ("GET", "", {})
    assert (found["tenant"], found["format"]) == ("acme", "json")


def test_request__has_the_prefix_of_the_script(token):
    declare(endpoint("where"))
    set_script_prefix("/app/")
    try:
        found = part_of(token, SCRIPT_NAME="/app")
    finally:
        clear_script_prefix()
    assert found["paths"] == ["/app/api/where/", "/api/where/"]
    assert found["absolute"] == "http://testserver/app/api/where/"


def test_request__has_no_body_even_if_the_clients_has(token, monkeypatch):
    def post(self, request):
        assert request.data == {"a": 1}
        return self.walk_response(request)

    monkeypatch.setattr(Dashboard, "post", post, raising=False)
    declare(endpoint("where"))
    found = token.post("/board/", {"a": 1}, format="json").json()["results"][0]["p"]
    assert (found["method"], found["data"], found["body"]) == ("GET", {}, "")


def test_request__conditions_of_the_client_are_not_the_endpoints(token):
    declare(endpoint("tagged"))
    assert part_of(token, HTTP_IF_NONE_MATCH='"one"') == {"tagged": True}


def test_arguments__depend_on_other_parts(token):
    PARTS[:] = [
        ("meta", {"status": "open"}),
        ("p", lazy(endpoint("where", query=lambda request, meta: meta), depends_on=["meta"])),
    ]
    assert part_of(token)["query"] == {"status": ["open"]}


def test_arguments__the_clients_whole_query_keeps_each_value(token):
    declare(endpoint("where", query=lambda request: request.query_params))
    assert part_of(token, "/board/?a=1&b=2&a=3&c=")["query"] == {
        "a": ["1", "3"],
        "b": ["2"],
        "c": [""],
    }


@pytest.mark.parametrize(
    ("url", "name", "version", "extra"),
    [
        ("/v2/spaces/", "space", "v2", {}),
        ("/v1/paths/", "by-path", "v1", {}),
        ("/queries/?version=3", "by-query", "3", {}),
        ("/accepts/", "by-accept", "7", {"HTTP_ACCEPT": "application/json; version=7"}),
    ],
)
def test_version__is_the_clients(token, url, name, version, extra):
    declare(endpoint(name))
    assert part_of(token, url, **extra)["version"] == version


def test_data__of_other_responses(token):
    declare(endpoint("json"), endpoint("empty"), endpoint("none"), endpoint("handles"))
    found = [part_of(token, name=name) for name in "pqrs"]
    assert found == [{"plain": 1}, None, None, {"was": "handled"}]


def test_data__is_what_finalize_response_made(token):
    declare(endpoint("enveloped"))
    assert part_of(token) == direct(token, "/api/enveloped/")


def test_data__of_cache_page_is_its_own(token):
    declare(endpoint("cached"))
    before = part_of(token, HTTP_ACCEPT="application/json")["runs"]
    kept = direct(token, "/api/cached/")
    runs = api.Cached.runs
    assert runs == before + 1
    assert part_of(token) == kept
    assert api.Cached.runs == runs


def test_client__attributes_that_its_authentication_set_are_the_endpoints_too(token):
    declare(endpoint("named"), endpoint("named-version", query={"version": "3"}))
    assert part_of(token) == direct(token, "/api/named/") == ["ada", "JSONRenderer", None]
    assert part_of(token, name="q") == ["ada", "JSONRenderer", "3"]


def test_client__attributes_that_other_authentication_set_are_not_the_endpoints(token):
    declare(endpoint("unnamed"))
    assert part_of(token) == direct(token, "/api/unnamed/") == [None, "JSONRenderer", None]


@pytest.mark.parametrize("how", ["header", "session", "forced", "forced login"])
def test_client__is_authenticated_once(ada, how):
    client = APIClient()
    if how == "header":
        client.credentials(HTTP_AUTHORIZATION="Token ada")
    elif how == "session":
        assert client.login(username="ada", password="ada")
    elif how == "forced":
        client.force_authenticate(ada)
    else:
        client.force_login(ada)
    declare(endpoint("who"), endpoint("where"), endpoint("note-list"))
    assert part_of(client)[0] == "ada"
    assert part_of(client) == direct(client, "/api/who/")
    api.CALLS.clear()
    part_of(client)
    assert api.CALLS.count("session") <= 1
    assert api.CALLS.count("header") <= 1
    assert api.CALLS.count("throttle") == 1


@pytest.mark.parametrize("how", ["header", "session"])
@pytest.mark.parametrize("name", ["by-token", "by-session", "public", "needs-token", "staff"])
def test_client__an_endpoint_with_other_rules_applies_them(ada, how, name):
    client = APIClient()
    if how == "header":
        client.credentials(HTTP_AUTHORIZATION="Token ada")
    else:
        assert client.login(username="ada", password="ada")
    url = f"/api/{name.removesuffix('-token') if name == 'needs-token' else name}/"
    response = client.get(url)
    declare(endpoint(name))
    found = part_of(client)
    if response.status_code == 200:
        assert found == response.json()
    else:
        assert response.status_code in (401, 403)
        assert found["code"] == "part_forbidden"


def test_client__is_never_taken_for_another_user(ada, bob):
    client = APIClient()
    client.login(username="bob", password="bob")
    client.credentials(HTTP_AUTHORIZATION="Token ada")
    declare(endpoint("by-token"))
    assert client.get("/api/by-token/").json()[0] == "ada"
    assert part_of(client)["code"] == "part_forbidden"


# Errors


@pytest.mark.parametrize(
    ("name", "code", "more"),
    [
        ("invalid", "part_invalid", {"problems": {"since": ["No date."]}}),
        ("unreadable", "part_invalid", {"problems": {"detail": "Not that."}}),
        ("stock", "part_invalid", {"problems": {"problem": "out_of_stock"}}),
        ("teapot", "part_invalid", {"problems": {"detail": "short and stout"}}),
        ("throttled", "part_throttled", {"retry_after": 7}),
        ("missing", "part_not_found", {}),
        ("gone", "part_not_found", {}),
        ("denied", "part_forbidden", {}),
        ("unknown", "part_forbidden", {}),
        ("staff", "part_forbidden", {}),
        ("bug", "part_failed", {}),
        ("model", "part_failed", {}),
        ("later", "part_failed", {"retry_after": 9}),
        ("redirect", "not_serializable", {}),
        ("file", "not_serializable", {}),
        ("stream", "not_serializable", {}),
        ("page", "not_serializable", {}),
        ("broken", "not_serializable", {}),
    ],
)
def test_error__has_a_code_and_no_secret(token, caplog, name, code, more):
    declare(endpoint(name))
    error = part_of(token)
    retryable = code in ("part_failed", "part_throttled")
    fields = {"part", "code", "detail", "retryable", *more}
    assert set(error) == (fields | {"retry_cursor"} if retryable else fields)
    assert (error["code"], error["retryable"]) == (code, retryable)
    assert {key: error[key] for key in more} == more
    assert "secret" not in json.dumps(error)
    has_traceback = [record.exc_info is not None for record in caplog.records]
    assert has_traceback == ([True] if code in ("part_failed", "not_serializable") else [])


def test_error__of_a_file_says_what_to_name(token, caplog):
    declare(endpoint("file"))
    part_of(token)
    assert "Name an endpoint that answers with JSON" in caplog.text


def test_error__a_fallback_gets_the_answer(token):
    seen = []

    def fallback(request, error):
        seen.append((type(error), error.status, error.data))
        return "covered"

    declare(safe_call(endpoint("invalid"), fallback), safe_call(endpoint("denied"), fallback))
    assert part_of(token) == "covered"
    assert part_of(token, name="q")["code"] == "part_forbidden"
    assert seen[0] == (EndpointFailed, 400, {"since": ["No date."]})


def test_error__under_debug_shows_what_was_raised(token, settings):
    settings.DEBUG = True
    declare(endpoint("invalid"))
    assert part_of(token)["exception"].startswith("rest_framework.exceptions.ValidationError")


def test_error__of_a_file_does_not_end_the_request(token):
    ended = []

    def note(**_):
        ended.append(1)

    request_finished.connect(note)
    try:
        declare(endpoint("file"))
        part_of(token)
    finally:
        request_finished.disconnect(note)
    assert len(ended) == 1


# Transactions, threads, sessions


@contextmanager
def atomic_requests():
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    connection.settings_dict.setdefault("NAME", "")
    try:
        yield
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["invalid", "denied", "missing", "stock", "bug"])
def test_transaction__of_the_dashboard_survives_a_refusal(token, settings, name):
    def write(request):
        return Note.objects.create(text="of the dashboard").pk

    def by_hand(request):
        try:
            endpoint(name)(request)
        except Exception as error:  # noqa: BLE001 - any of them
            return type(error).__name__

    PARTS[:] = [
        ("w", lazy(write)),
        ("p", lazy(endpoint(name))),
        ("h", lazy(by_hand)),
        ("n", lazy(lambda request: Note.objects.count())),
    ]
    with atomic_requests():
        assert part_of(token, name="n") == 1
    assert Note.objects.filter(text="of the dashboard").exists()


@pytest.mark.parametrize("options", [{}, {"shared": True}])
def test_transaction__survives_what_permissions_break(token, monkeypatch, options):
    Note.objects.create(text="there")

    def has_permission(self, request, view):
        Note.objects.create(text="there")  # The text is unique.

    monkeypatch.setattr(api.IsNotSecret, "has_permission", has_permission)
    PARTS[:] = [
        ("p", lazy(cached_for(60, **options)(endpoint("note-list")))),
        ("n", lazy(lambda request: Note.objects.count())),
    ]
    assert part_of(token)["code"] == "part_failed"
    assert part_of(token, name="n") == 1


@pytest.mark.django_db(transaction=True)
def test_transaction__what_a_refused_endpoint_wrote_is_undone(token):
    declare(endpoint("writes"))
    with atomic_requests():
        assert part_of(token)["code"] == "part_invalid"
    assert not Note.objects.exists()


def test_session__is_shared(ada):
    client = Client()
    assert client.login(username="ada", password="ada")
    declare(endpoint("touches"))
    assert [part_of(client), part_of(client)] == [1, 2]


@leaves_transaction
def test_threads__get_the_same(ada):
    client = Client()
    client.force_login(ada)
    threads = []
    declare(
        *(endpoint("where", query={"n": n}) for n in range(5)),
        lambda request: threads.append(threading.get_ident()),
    )
    found = client.get("/threads/").json()["results"]
    assert [each[name]["query"] for each, name in zip(found[:5], "pqrst", strict=True)] == [
        {"n": [str(n)]} for n in range(5)
    ]
    assert threading.get_ident() not in threads
    assert api.CALLS.count("throttle") == 1


def test_event_loop__gets_the_same(ada):
    from asgiref.sync import async_to_sync

    declare(endpoint("where", query={"a": 1}))
    client = AsyncClient()
    client.force_login(ada)

    async def ask():
        return await client.get("/board/")

    found = async_to_sync(ask)().json()["results"][0]["p"]
    assert (found["full"], found["method"]) == ("/api/where/?a=1", "GET")


@pytest.mark.parametrize("method", ["head", "options"])
def test_other_methods__of_the_dashboard_work(token, method):
    declare(endpoint("where"))
    assert getattr(token, method)("/board/").status_code == 200


# Caches


def test_cache__is_the_clients_own(ada, bob):
    declare(cached_for(60)(endpoint("who")))
    clients = []
    for user in (ada, bob):
        client = Client()
        client.force_login(user)
        clients.append(client)
    assert [part_of(client)[0] for client in clients * 2] == ["ada", "bob"] * 2


def test_cache__a_shared_entry_is_for_those_whom_the_endpoint_admits(ada, bob):
    declare(cached_for(60, shared=True)(endpoint("staff")))
    staff, other = Client(), Client()
    staff.force_login(bob)
    other.force_login(ada)
    assert part_of(staff) == part_of(staff)
    assert part_of(staff)[0] == "bob"
    assert part_of(other)["code"] == "part_forbidden"
    assert part_of(staff)[0] == "bob"


def test_cache__a_shared_entry_of_an_object_is_not_for_all(token, ada, bob, notes, monkeypatch):
    monkeypatch.setattr(
        api.IsNotSecret,
        "has_object_permission",
        lambda self, request, view, obj: request.user.username == "bob",
    )
    declare(cached_for(60, shared=True)(endpoint("note-detail", kwargs={"pk": notes[0].pk})))
    client = Client()
    client.force_login(bob)
    assert part_of(client)["text"] == "one"
    assert part_of(token)["code"] == "part_forbidden"


def test_cache__depends_on_the_query_that_was_made(ada, bob):
    def query(request):
        return {"me": request.user.username}

    declare(cached_for(60, shared=True)(endpoint("where", query=query)))
    for user in (ada, bob, ada):
        client = Client()
        client.force_login(user)
        assert part_of(client)["query"] == {"me": [user.username]}


def test_cache__depends_on_the_version(token):
    declare(cached_for(60)(endpoint("by-accept")))
    found = [
        part_of(token, HTTP_ACCEPT=f"application/json; version={version}")["version"]
        for version in (1, 2, 1)
    ]
    assert found == ["1", "2", "1"]


def test_cache__depends_on_the_dependencies(token):
    PARTS[:] = [
        ("meta", {"status": "open"}),
        (
            "p",
            lazy(
                cached_for(60)(endpoint("where", query=lambda request, meta: meta)),
                depends_on=["meta"],
            ),
        ),
    ]
    assert part_of(token)["query"] == {"status": ["open"]}
    PARTS[0] = ("meta", {"status": "shut"})
    assert part_of(token)["query"] == {"status": ["shut"]}


def test_called__from_a_loader(token):
    def load(request):
        return endpoint("where", query={"a": 1})(request)["query"]

    declare(load)
    with inline():
        assert part_of(token) == {"a": ["1"]}


# Refusals


class NoView:
    pass


def answer(request):
    return None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"view": NoView}, "neither a URL name nor a view class"),
        ({"view": 3}, "neither a URL name nor a view class"),
        ({"view": answer}, "neither a URL name nor a view class"),
        ({"view": api.NoteViewSet}, 'is a view set. Name an action, for example action="list"'),
        ({"view": api.NoteViewSet, "action": "close"}, "no action 'close' that answers GET"),
        ({"view": api.NoteViewSet, "action": "create"}, "no action 'create' that answers GET"),
        ({"view": api.NoteViewSet, "action": "nope"}, "no action 'nope' that answers GET"),
        ({"view": api.Where, "action": "list"}, "is no view set"),
        ({"view": api.PostOnly}, "PostOnly answers no GET"),
        ({"view": "where", "action": "list"}, "Leave action out"),
        ({"view": api.Where, "query": "a=1"}, "write a dictionary of names, or a function"),
        ({"view": api.Where, "kwargs": [1]}, "write a dictionary of names, or a function"),
        ({"view": "where", "kwargs": {1: 2}}, "write a dictionary of names"),
        ({"view": "where", "action": 1}, "write its name, for example action="),
        ({"view": ""}, "write a URL name"),
        ({"view": "where", "params": {}}, "endpoint() has no argument 'params'"),
        ({"view": api.Board}, "Board has parts itself"),
        ({"view": api.MixedViewSet, "action": "overview"}, "MixedViewSet has parts itself"),
        ({"view": api.MixedViewSet, "action": "overview_parts"}, "has parts itself"),
    ],
)
def test_endpoint__is_refused_where_it_is_declared(arguments, message):
    with pytest.raises(Misuse, match=re.escape(message)):
        endpoint(**arguments)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("guarded", 'Put it on the class: @method_decorator(..., name="dispatch")'),
        ("never-cached", "has a decorator in the URLconf"),
        ("no-drf", "plain_view is not a view of Django REST Framework"),
        ("post-only", "PostOnly answers no GET"),
        ("board", "Board has parts itself"),
        ("mixed-overview", "MixedViewSet has parts itself"),
        ("note-close", "answers no GET at this URL"),
        ("nowhere", "no URL is named 'nowhere'. Did you mean"),
        ("notes-list", "Did you mean 'note-list'?"),
        ("where?a=1", "Put the query into query={...}"),
        ("space", "'space' needs its namespace. Write endpoint('v1:space')"),
        ("by-slug", "Give the values of its route: kwargs={...}"),
    ],
)
def test_name__is_refused_by_check_and_at_the_first_use(token, settings, caplog, name, message):
    view = type(
        "Board",
        (HybridProgressiveView,),
        {
            "parts": [
                ("p", lazy(endpoint(name, kwargs={"pk": 1} if name == "note-close" else None)))
            ]
        },
    )
    settings.ROOT_URLCONF = type(
        "URLs", (), {"urlpatterns": [*urlpatterns, path("x/", view.as_view())]}
    )
    (found,) = [each for each in checks.run_checks() if each.id == "partstream.E004"]
    assert message in found.msg
    assert "part 'p'" in found.msg
    assert token.get("/x/").json()["errors"][0]["code"] == "part_failed"
    assert message in caplog.text


def test_name__that_another_route_shadows_is_refused(token, caplog):
    declare(endpoint("shadowed"))
    assert part_of(token)["code"] == "part_failed"
    assert "another route, where, answers at /api/where/" in caplog.text


@pytest.mark.parametrize("name", ["where", "note-list", "exempt"])
def test_name__that_is_fine_has_no_message(settings, name):
    view = type("Fine", (HybridProgressiveView,), {"parts": [("p", lazy(endpoint(name)))]})
    settings.ROOT_URLCONF = type(
        "URLs", (), {"urlpatterns": [*urlpatterns, path("x/", view.as_view())]}
    )
    assert not [each for each in checks.run_checks() if each.id == "partstream.E004"]


def test_class__that_is_mounted_twice_is_refused(token, caplog):
    declare(endpoint(api.Where))
    assert part_of(token)["code"] == "part_failed"
    assert "Name the one: endpoint('where')" in caplog.text


def test_class__that_is_mounted_nowhere_is_refused(token, caplog):
    declare(endpoint(Lonely))
    assert part_of(token)["code"] == "part_failed"
    assert "Lonely has no URL with a name" in caplog.text


class Lonely(api.Base):
    def get(self, request):
        return None


@pytest.mark.parametrize("argument", ["kwargs", "query"])
def test_arguments__that_are_no_dictionary_are_refused(token, caplog, argument):
    declare(endpoint("where", **{argument: lambda request: [1]}))
    assert part_of(token)["code"] == "part_failed"
    assert f"the function {argument} returned [1]" in caplog.text


def test_arguments__missing_ones_are_named(token, caplog):
    declare(endpoint("note-detail"))
    assert part_of(token)["code"] == "part_failed"
    assert "Give the values of its route: kwargs={...}" in caplog.text


@pytest.mark.parametrize("argument", ["kwargs", "query"])
def test_arguments__functions_are_checked_when_they_are_declared(argument):
    loader = endpoint("where", **{argument: lambda request: {}})
    with pytest.raises(Misuse, match=rf"the function {argument} of part 'p' cannot be called"):
        HybridProgressiveView.build_part_list(
            [("meta", 1), ("p", lazy(loader, depends_on=["meta"]))]
        )


def test_serializer__of_an_endpoint_that_wants_objects_says_what_to_write(token, notes, settings):
    settings.DEBUG = True

    class Strict(serializers.Serializer):
        customer = serializers.CharField()

    declare(endpoint("note-list"), serializer_class=Strict, many=True)
    assert part_of(token)["exception"] == (
        "partstream.exceptions.Misuse: part 'p': the endpoint has serialized its data already. "
        "Leave serializer_class out."
    )


def test_permission__hides_a_part(token, bob):
    declare(endpoint("staff"), permission_classes=[permissions.IsAdminUser])
    assert token.get("/board/").json()["meta"]["total_parts"] == 0
    client = Client()
    client.force_login(bob)
    assert part_of(client)[0] == "bob"


# What others may not have


def test_authenticators__with_another_configuration_are_asked(token, settings):
    class Public(Dashboard):
        def get_authenticators(self):
            return [api.Audience("public")]

    settings.ROOT_URLCONF = type(
        "URLs", (), {"urlpatterns": [*api.urlpatterns, path("x/", Public.as_view())]}
    )
    declare(endpoint("for-admins"))
    assert token.get("/api/admins/").status_code == 401
    assert part_of(token, "/x/")["code"] == "part_forbidden"


def test_client__whom_the_dashboard_itself_has_set(bob, settings):
    class Setting(Dashboard):
        permission_classes = []

        def initial(self, request, *args, **kwargs):
            super().initial(request, *args, **kwargs)
            request.user = bob

    settings.ROOT_URLCONF = type(
        "URLs", (), {"urlpatterns": [*api.urlpatterns, path("x/", Setting.as_view())]}
    )
    declare(endpoint("who"))
    assert part_of(Client(), "/x/")[0] == "bob"


@pytest.mark.parametrize("name", ["profile", "profile-of"])
def test_cache__an_object_that_the_view_judges_is_not_shared(token, bob, name):
    kwargs = {"name": "ada"} if name == "profile-of" else None
    declare(cached_for(60, shared=True)(endpoint(name, kwargs=kwargs)))
    assert part_of(token) == {"secret of": "ada"}
    client = Client()
    client.force_login(bob)
    assert part_of(client)["code"] == "part_forbidden"


def test_cache__permissions_are_asked_even_for_ones_own_entry(bob):
    declare(cached_for(60)(endpoint("staff")))
    client = Client()
    client.force_login(bob)
    assert part_of(client)[0] == "bob"
    User.objects.filter(pk=bob.pk).update(is_staff=False)
    assert part_of(client)["code"] == "part_forbidden"


def test_cache__lists_of_a_view_set_are_shared(token, bob, notes):
    declare(cached_for(60, shared=True)(endpoint("note-list")))
    first = part_of(token)
    Note.objects.all().delete()
    client = Client()
    client.force_login(bob)
    assert part_of(client) == first


def test_converter__makes_its_object_for_each_call(token, notes):
    declare(endpoint("one-note", kwargs={"note": notes[0].pk}))
    assert part_of(token) == "one"
    Note.objects.filter(pk=notes[0].pk).update(text="changed")
    assert part_of(token) == "changed"
    assert len(api.NoteConverter.loaded) >= 2


@pytest.mark.parametrize("values", [(Decimal("1.0"), Decimal("1.00")), (1, True), (1, 1.0)])
def test_detail__equal_values_may_be_spelt_differently(token, values):
    found = []
    for value in values:
        declare(endpoint("by-slug", kwargs={"slug": value}))
        found.append(part_of(token)["kwargs"]["slug"])
    assert found == list(map(str, values))


# The view's own hooks


@pytest.mark.parametrize("query", [None, {"fail": 1}])
@pytest.mark.parametrize("cached", [False, True])
def test_hooks__what_a_view_sets_before_it_clears_after(token, query, cached):
    api.Pairs.held.clear()
    loader = endpoint("pairs", query=query)
    declare(cached_for(60)(loader) if cached else loader)
    part_of(token)
    held = api.Pairs.held
    assert held == ["set", "cleared"] * (len(held) // 2)
    assert held


def test_hooks__renderers_may_depend_on_the_request(token):
    declare(endpoint("rendered"))
    assert part_of(token) == "rendered"


def test_data__a_templates_context_is_none(token):
    declare(endpoint("template"))
    error = part_of(token)
    assert error["code"] == "not_serializable"
    assert "secret" not in json.dumps(error)


def test_csrf__a_token_that_an_endpoint_asks_for_is_the_clients(ada):
    client = Client(enforce_csrf_checks=True)
    client.force_login(ada)
    for url in ("/board/", "/board/parts/?keys=p"):
        declare(endpoint("csrf"))
        response = client.get(url)
        assert response.json()["results"][0]["p"]
        assert response.wsgi_request.META["CSRF_COOKIE_NEEDS_UPDATE"] is True


def test_arguments__none_is_left_out_and_all_values_are_passed_on(token):
    declare(endpoint("where", query=lambda request: {"a": None, "b": 0, "c": ""}))
    assert part_of(token)["query"] == {"b": ["0"], "c": [""]}
    declare(endpoint("where", query=lambda request: request.query_params))
    assert part_of(token, "/board/?s=1&s=2&x=3")["query"] == {"s": ["1", "2"], "x": ["3"]}


def test_called__with_djangos_request(ada):
    request = RequestFactory().get("/elsewhere/")
    request.user = ada
    assert endpoint("public")(request) == ["AnonymousUser", "None", "NoneType"]
    assert endpoint("where", query={"a": 1})(request)["query"] == {"a": ["1"]}


@pytest.mark.parametrize("wait", ["9" * 5000, "-1", "Wed, 21 Oct 2026 07:28:00 GMT", "x"])
def test_error__with_an_odd_wait_has_none(token, monkeypatch, wait):
    answer = staticmethod(lambda: Response("no", status=429, headers={"Retry-After": wait}))
    monkeypatch.setattr(api.Answers, "make", answer)
    monkeypatch.setattr(api.Where, "get", lambda self, request, **kwargs: answer())
    declare(endpoint("where"))
    error = part_of(token)
    assert (error["code"], "retry_after" in error) == ("part_throttled", False)


def test_error__of_a_misuse_is_final(token):
    declare(endpoint("nowhere"))
    error = part_of(token)
    assert (error["code"], error["retryable"]) == ("part_failed", False)
    assert "retry_cursor" not in error


def test_check__finds_an_endpoint_behind_a_methods_name(settings):
    view = type(
        "Named",
        (HybridProgressiveView,),
        {"parts": [("p", lazy("load"))], "load": cached_for(60)(endpoint("nowhere"))},
    )
    settings.ROOT_URLCONF = type(
        "URLs", (), {"urlpatterns": [*urlpatterns, path("x/", view.as_view())]}
    )
    (found,) = [each for each in checks.run_checks() if each.id == "partstream.E004"]
    assert "no URL is named 'nowhere'" in found.msg
