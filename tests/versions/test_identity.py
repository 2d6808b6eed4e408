"""The identity of a walk, and that its cursors work nowhere else."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.backends.signed_cookies import SessionStore as CookieStore
from django.test import Client, RequestFactory
from django.urls import path
from django.utils.functional import SimpleLazyObject
from rest_framework.permissions import IsAdminUser, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from partstream import HybridProgressiveView, ProgressiveView, lazy
from partstream.exceptions import Misuse
from partstream.identity import (
    application_query,
    bound_identity,
    counted_identity,
    get_identity,
    host_of,
    joined,
    known_counted_identity,
    known_user,
)
from tests.example.models import Note
from tests.support.walk_client import at, first_cursor, get_json, merged, names, walk
from tests.unit.walks.test_walk import INVALID

PARTS = [("a", 1), ("b", 2), ("c", 3), ("d", 4)]


class FirstView(ProgressiveView):
    parts = PARTS
    chunk_size = 1


class SecondView(FirstView):
    """The same in every way but its name."""


# get_identity()


def request(**attributes):
    """A request of DRF, with what authentication would have set."""
    wrapped = Request(RequestFactory().get("/"))
    if "session" in attributes:
        wrapped._request.session = attributes.pop("session")
    wrapped.user = attributes.pop("user", AnonymousUser())
    wrapped.auth = attributes.pop("auth", None)
    return wrapped


def session(key):
    store = SessionStore()
    store._session_key = key
    return store


@pytest.mark.parametrize(
    ("attributes", "identity"),
    [
        ({}, None),
        ({"user": None}, None),
        ({"user": User(pk=7)}, "user:auth.user:7"),
        ({"user": User(pk=7), "auth": "token", "session": session("s" * 32)}, "user:auth.user:7"),
        ({"user": User()}, None),
        ({"auth": "token"}, "auth::token"),
        ({"auth": ""}, None),
        ({"auth": Note(pk=3)}, "auth:example.note:3"),
        ({"auth": Note()}, None),
        ({"auth": {"sub": "7"}}, None),
        ({"auth": b"token"}, None),
        ({"auth": "token", "session": session("s" * 32)}, "auth::token"),
        ({"session": session("s" * 32)}, "session:" + "s" * 32),
        ({"session": session(None)}, None),
        ({"session": CookieStore()}, None),
        ({"session": CookieStore("s" * 32)}, None),
        (
            {"user": SimpleNamespace(is_authenticated=True, pk=7)},
            "user:types.SimpleNamespace:7",
        ),
        ({"user": SimpleNamespace(is_authenticated=True), "auth": "token"}, "auth::token"),
    ],
    ids=itertools.count(),
)
def test_get_identity__is_the_first_that_there_is(attributes, identity):
    assert get_identity(request(**dict(attributes))) == identity


def test_get_identity__tells_a_proxy_from_an_anonymous_visitor():
    class ProxyUser(User):
        class Meta:
            app_label = "example"
            proxy = True

    assert get_identity(request(user=ProxyUser(pk=7))) == "user:auth.user:7"


class Routed:
    """A router that has each model of a read replica written to ``default``."""

    asked = []

    def db_for_read(self, model, **hints):
        return "replica"

    def db_for_write(self, model, instance=None, **hints):
        self.asked.append((model, instance))
        return "default" if instance._state.db == "replica" else None


@pytest.fixture
def databases(settings, monkeypatch):
    """A project with several databases, and a router."""
    Routed.asked = []
    settings.DATABASE_ROUTERS = [Routed()]
    for alias in ("red", "replica", "odd:alias@x"):
        monkeypatch.setitem(settings.DATABASES, alias, settings.DATABASES["default"])


def in_database(alias, instance):
    instance._state.db = alias
    return instance


@pytest.mark.usefixtures("databases")
@pytest.mark.parametrize(
    ("attributes", "identity"),
    [
        ({"user": User(pk=7)}, "user:auth.user:7"),
        ({"user": in_database("default", User(pk=7))}, "user:auth.user:7"),
        ({"user": in_database("replica", User(pk=7))}, "user:auth.user:7"),
        ({"user": in_database("red", User(pk=7))}, "user@red:auth.user:7"),
        ({"user": in_database("odd:alias@x", User(pk=7))}, "user@odd%3Aalias%40x:auth.user:7"),
        (
            {"user": SimpleLazyObject(lambda: in_database("red", User(pk=7)))},
            "user@red:auth.user:7",
        ),
        ({"auth": in_database("default", Note(pk=3))}, "auth:example.note:3"),
        ({"auth": in_database("red", Note(pk=3))}, "auth@red:example.note:3"),
        ({"auth": "token"}, "auth::token"),
        ({"session": session("s" * 32)}, "session:" + "s" * 32),
        (
            {"user": SimpleNamespace(is_authenticated=True, pk=7)},
            "user:types.SimpleNamespace:7",
        ),
    ],
    ids=itertools.count(),
)
def test_get_identity__has_the_database_of_a_model(attributes, identity):
    assert get_identity(request(**attributes)) == identity


@pytest.mark.usefixtures("databases")
def test_get_identity__asks_the_routers_for_the_concrete_model():
    class RoutedProxy(User):
        class Meta:
            app_label = "example"
            proxy = True

    user = RoutedProxy(pk=7)
    assert get_identity(request(user=user)) == "user:auth.user:7"
    assert Routed.asked == [(User, user)]


def test_get_identity__with_one_database_asks_no_router(settings):
    Routed.asked = []
    settings.DATABASE_ROUTERS = [Routed()]
    assert get_identity(request(user=in_database("red", User(pk=7)))) == "user:auth.user:7"
    assert Routed.asked == []


def test_get_identity__has_the_alias_of_another_database_than_default(monkeypatch):
    """Also where there are two of them only, and whatever characters the alias has."""
    databases = {"default": {}, "a/b:c": {}}
    monkeypatch.setattr("partstream.identity.django_settings", SimpleNamespace(DATABASES=databases))
    aliases = iter(["a/b:c", "default"])
    router = SimpleNamespace(db_for_write=lambda model, instance: next(aliases))
    monkeypatch.setattr("partstream.identity.router", router)
    assert get_identity(request(user=User(pk=7))) == "user@a%2Fb%3Ac:auth.user:7"
    assert get_identity(request(user=User(pk=7))) == "user:auth.user:7"


def test_bound_identity__takes_any_text():
    assert bound_identity("\ud800", ("red",)) == "1:\ud8003:red"


@pytest.mark.parametrize(
    "attributes",
    [{"user": User(pk=7)}, {"auth": "token"}, {"auth": "token", "session": session("s")}],
    ids=["user", "credential", "credential with a session"],
)
def test_counted_identity__has_the_dimension(attributes):
    asked = request(**attributes)

    def count(tenant):
        return counted_identity(asked, lambda _: ("ada", (tenant,)), lambda _: "ada")

    assert count("red") == bound_identity("ada", ("red",))
    assert count("red") != count("blue")


class Unloaded(SimpleLazyObject):
    """A user that must not be loaded."""

    def __init__(self):
        super().__init__(lambda: pytest.fail("the user was loaded"))


@pytest.mark.parametrize(
    ("attributes", "identity", "counted"),
    [
        ({"user": User(pk=7)}, "ada", "ada"),
        ({"user": User(pk=7), "session": session("s" * 32)}, "ada", "ada"),
        ({"user": User(pk=7), "session": session("s" * 32)}, f"session:{'s' * 32}", None),
        ({"user": User(pk=7), "session": session("s" * 32)}, "session:other", "session:other"),
        ({"user": User(pk=7), "session": session(None)}, "session:None", "session:None"),
        ({"user": User(pk=7)}, None, None),
        ({}, "ada", None),
        ({"session": session("s" * 32)}, f"session:{'s' * 32}", None),
        ({"user": None}, "ada", None),
        ({"user": Unloaded()}, "ada", None),
        ({"user": Unloaded(), "auth": "token"}, "ada", "ada"),
        ({"auth": "token"}, "ada", "ada"),
        ({"auth": "token", "session": session(None)}, "ada", "ada"),
        ({"auth": "token", "session": session("s" * 32)}, "ada", None),
    ],
)
def test_known_counted_identity__is_of_a_user_or_a_credential(attributes, identity, counted):
    asked = request(**attributes)
    assert known_counted_identity(asked, identity, ()) == counted
    with_tenant = None if counted is None else bound_identity(counted, ("red",))
    assert known_counted_identity(asked, identity, ("red",)) == with_tenant


def test_known_counted_identity__asks_nobody_who_it_is():
    asked = Request(RequestFactory().get("/"))
    assert known_counted_identity(asked, "ada", ()) is None
    asked._request.user = Unloaded()
    assert known_counted_identity(asked, "ada", ()) is None


def test_known_user__is_not_loaded():
    asked = RequestFactory().get("/")
    assert known_user(asked) is None
    asked.user = Unloaded()
    assert known_user(asked) is None
    asked.user = SimpleLazyObject(lambda: User(pk=7))
    assert asked.user.pk == 7
    assert known_user(asked).pk == 7
    asked.user = User(pk=8)
    assert known_user(asked).pk == 8


# Binding


def test_joined__is_injective_and_takes_any_text():
    assert joined(["a", None, "", "é"]) == b"1:a-0:1:\xc3\xa9"
    assert joined(["\ud800"]) == b"1:\xed\xa0\x80"


@pytest.mark.parametrize(
    ("uses_forwarded", "meta", "host"),
    [
        (False, {"HTTP_HOST": "Inside.example:8000"}, "inside.example:8000"),
        (False, {"HTTP_HOST": "a", "HTTP_X_FORWARDED_HOST": "b"}, "a"),
        # A proxy that asks by a name of its own says by which it was asked.
        (True, {"HTTP_HOST": "a", "HTTP_X_FORWARDED_HOST": "Outside.example"}, "outside.example"),
        (True, {"HTTP_HOST": "a"}, "a"),
        (True, {}, "testserver"),
    ],
)
def test_host_of__is_the_one_that_the_client_named(settings, uses_forwarded, meta, host):
    settings.USE_X_FORWARDED_HOST = uses_forwarded
    assert host_of(RequestFactory().get("/", **meta)) == host


def test_application_query__has_each_parameter_with_its_values_in_order():
    query = {"b": ["2"], "cursor": ["token"], "a": ["y", "x"]}
    assert application_query(query, {"cursor"}) == ("a", "2", "y", "x", "b", "1", "2")
    assert application_query({"cursor": ["token"]}, {"cursor"}) == ()


def is_invalid(client, url, **extra):
    response = client.get(url, **extra)
    return (response.status_code, response.content) == (400, INVALID)


@pytest.fixture
def two_views(mount):
    mount(
        path("first/", FirstView.as_view()),
        path("again/", FirstView.as_view()),
        path("years/<int:year>/", FirstView.as_view()),
    )


def test_binding__another_view_at_the_same_path(client, mount):
    mount(path("view/", FirstView.as_view()))
    token = first_cursor(client, "/view/")
    mount(path("view/", SecondView.as_view()))
    assert is_invalid(client, at("/view/", token))


@pytest.mark.parametrize(
    ("here", "there"),
    [("/first/", "/again/"), ("/years/2025/", "/years/2026/"), ("/years/1/", "/years/01/")],
)
def test_binding__another_path(client, two_views, here, there):
    token = first_cursor(client, here)
    assert is_invalid(client, at(there, token))
    assert get_json(client, at(here, token))


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("", "x=1"),
        ("x=1", ""),
        ("x=1", "x=2"),
        ("x=1", "y=1"),
        ("x=1", "x=1&y=2"),
        ("x=1&x=2", "x=2&x=1"),
        ("x=1&x=2", "x=2"),
        ("x=1", "X=1"),
        ("x=", "y="),
        ("x=", ""),
        ("x=1", "x=1%00"),
        ("x=1&y=2", "x=1y=2"),
        ("a=b&c=d", "a=b%26c%3Dd"),
        ("ab=c", "a=bc"),
        ("x=%C3%A9", "x=e"),
        ("Cursor=1", ""),
        ("a=1:b", "a=1&b="),
        ("a=1&b=2", "a=1b12"),
        ("a=1&b=2", "a=1:b:1:2"),
        ("a=1&b=2", "a=11:b1:11:2"),
    ],
)
def test_binding__another_query(client, two_views, here, there):
    token = get_json(client, f"/first/?{here}")["cursor"]
    assert is_invalid(client, f"/first/?{there}&cursor={token}")
    assert get_json(client, f"/first/?{here}&cursor={token}")


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("x=1&y=2", "y=2&x=1"),
        ("x=1&y=2&x=3", "x=1&x=3&y=2"),
        ("x=%41", "x=A"),
        ("x=a+b", "x=a%20b"),
        ("x=1", "x=1&format=json"),
        ("", "format=json"),
        ("x", "x="),
    ],
)
def test_binding__the_same_query_in_other_words(client, two_views, here, there):
    token = get_json(client, f"/first/?{here}")["cursor"]
    assert get_json(client, f"/first/?{there}&cursor={token}")
    assert get_json(client, f"/first/?cursor={token}&{there}")


def test_binding__another_host(client, two_views):
    token = first_cursor(client, "/first/")
    assert is_invalid(client, at("/first/", token), HTTP_HOST="other.example")
    assert is_invalid(client, at("/first/", token), HTTP_HOST="testserver:8000")
    assert get_json(client, at("/first/", token))


@pytest.mark.parametrize(("trusted", "bound"), [(True, True), (False, False)])
def test_binding__a_forwarded_host_counts_where_it_is_used(
    client, two_views, settings, trusted, bound
):
    settings.USE_X_FORWARDED_HOST = trusted
    token = first_cursor(client, "/first/", HTTP_X_FORWARDED_HOST="localhost")
    elsewhere = {"HTTP_X_FORWARDED_HOST": "other.example"}
    assert is_invalid(client, at("/first/", token), **elsewhere) is bound
    assert get_json(client, at("/first/", token), HTTP_X_FORWARDED_HOST="localhost")


@pytest.mark.django_db
def test_binding__another_user_or_an_anonymous_visitor(two_views, user, staff):
    ada, grace, nobody = Client(), Client(), Client()
    ada.force_login(user)
    grace.force_login(staff)
    tokens = {client: first_cursor(client, "/first/") for client in (ada, grace, nobody)}
    for owner, token in tokens.items():
        for client in tokens:
            if client is owner:
                assert get_json(client, at("/first/", token))
            else:
                assert is_invalid(client, at("/first/", token))


@pytest.mark.django_db
def test_binding__holds_over_another_login_of_the_same_user(two_views, user):
    phone, desk = Client(), Client()
    phone.force_login(user)
    desk.force_login(user)
    assert get_json(desk, at("/first/", first_cursor(phone, "/first/")))


@pytest.mark.django_db
def test_binding__another_session_or_none(two_views):
    clients = []
    for _ in range(2):
        store = SessionStore()
        store["visited"] = True
        store.save()
        client = Client()
        client.cookies["sessionid"] = store.session_key
        clients.append(client)
    first, second = clients
    token = first_cursor(first, "/first/")
    assert get_json(first, at("/first/", token))
    assert is_invalid(second, at("/first/", token))
    assert is_invalid(Client(), at("/first/", token))
    assert is_invalid(first, at("/first/", first_cursor(Client(), "/first/")))


def test_binding__works_without_sessions_and_users(client, two_views, settings):
    settings.MIDDLEWARE = []
    assert list(merged(walk(client, "/first/"))) == ["a", "b", "c", "d"]


def test_binding__works_with_sessions_in_cookies(client, two_views, settings):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    assert list(merged(walk(client, "/first/"))) == ["a", "b", "c", "d"]


@pytest.mark.django_db
def test_binding__a_password_change_ends_the_walk(two_views, user):
    client = Client()
    client.force_login(user)
    token = first_cursor(client, "/first/")
    user.set_password("changed")
    user.save()
    assert is_invalid(client, at("/first/", token))  # The session has ended as well.
    client.force_login(user)
    assert is_invalid(client, at("/first/", token))


@pytest.mark.django_db
def test_binding__a_password_change_in_the_same_session_ends_the_walk(two_views, user, mount):
    class ChangePassword(APIView):
        def post(self, request):
            request.user.set_password("changed")
            request.user.save()
            update_session_auth_hash(request._request, request.user)
            return Response()

    mount(path("first/", FirstView.as_view()), path("change/", ChangePassword.as_view()))
    client = Client()
    client.force_login(user)
    token = first_cursor(client, "/first/")
    assert get_json(client, at("/first/", token))
    assert client.post("/change/").status_code == 200
    assert is_invalid(client, at("/first/", token))
    assert get_json(client, "/first/")


@pytest.mark.django_db
def test_binding__rotating_the_secret_key_ends_no_walk_of_a_user(codec, two_views, user, settings):
    client = Client()
    client.force_login(user)
    token = first_cursor(client, "/first/")
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "the new secret key of the project"
    second = get_json(client, at("/first/", token))
    assert names(second) == ["b"]
    # The next token is under the new key, and so is the session by now.
    settings.SECRET_KEY_FALLBACKS = []
    assert list(merged(walk(client, "/first/", second["cursor"]))) == ["c", "d"]
    assert is_invalid(client, at("/first/", token))


@pytest.mark.django_db
def test_binding__one_response_may_have_cursors_of_both_keys_no_more(two_views, user, settings):
    settings.DJANGO_PARTSTREAM = {"CURSOR_KEYS": ["one long secret of this project, old"]}
    client = Client()
    client.force_login(user)
    token = first_cursor(client, "/first/")
    settings.DJANGO_PARTSTREAM = {
        "CURSOR_KEYS": [
            "one long secret of this project, new",
            "one long secret of this project, old",
        ]
    }
    assert list(merged(walk(client, "/first/", token))) == ["b", "c", "d"]


def test_binding__get_identity_of_the_view_decides(client, serve):
    url = serve(
        parts=PARTS,
        chunk_size=1,
        get_identity=lambda self, request: request.META.get("HTTP_X_TENANT"),
    )
    token = first_cursor(client, url, HTTP_X_TENANT="one")
    assert get_json(client, at(url, token), HTTP_X_TENANT="one")
    assert is_invalid(client, at(url, token), HTTP_X_TENANT="two")
    assert is_invalid(client, at(url, token))


@pytest.mark.django_db
def test_binding__is_of_the_session_as_the_view_found_it(serve):
    def load(request):
        request.session["seen"] = True
        request.session.save()
        return "made a session"

    url = serve(parts=[("a", lazy(load)), ("b", 2), ("c", 3)], chunk_size=1)
    first = get_json(Client(), url)
    assert first["results"] == [{"a": "made a session"}]
    # The token has no identity, because the visitor had none when the view began.
    assert names(get_json(Client(), at(url, first["cursor"]))) == ["b"]


# A cursor grants nothing


@pytest.mark.django_db
def test_cursor__authentication_and_permissions_run_each_time(serve, staff, calls):
    url = serve(
        parts=[("a", 1), ("b", lazy(calls.loader("b"))), ("c", 3)],
        chunk_size=1,
        permission_classes=[IsAuthenticated, IsAdminUser],
    )
    client = Client()
    client.force_login(staff)
    token = first_cursor(client, url)
    staff.is_staff = False
    staff.save()
    response = client.get(at(url, token))
    assert response.status_code == 403
    assert response.json()["code"] == "permission_denied"
    client.logout()
    assert client.get(at(url, token)).status_code == 403
    assert calls == []


@pytest.mark.django_db
def test_cursor__of_an_inactive_user_is_drfs_to_refuse(serve, user):
    url = serve(parts=PARTS, chunk_size=1, permission_classes=[IsAuthenticated])
    client = Client()
    client.force_login(user)
    token = first_cursor(client, url)
    user.is_active = False
    user.save()
    response = client.get(at(url, token))
    assert response.status_code == 403
    assert response.json()["code"] == "not_authenticated"


@pytest.mark.django_db
def test_cursor__permission_withdrawn_mid_walk(serve, staff, calls):
    guarded = {"permission_classes": [IsAdminUser]}
    url = serve(
        base=HybridProgressiveView,
        parts=[
            ("a", 1),
            ("b", lazy(calls.loader("b"), **guarded)),
            ("c", lazy(calls.loader("c", 3))),
            ("d", lazy(lambda request, b: calls.append("d"), depends_on=["b"])),
            ("e", lazy(calls.loader("e", 5))),
        ],
        chunk_size=1,
    )
    client = Client()
    client.force_login(staff)
    first = get_json(client, url)
    assert first["meta"]["total_parts"] == 5
    assert first["meta"]["pending"] == ["b", "c", "d", "e"]
    staff.is_staff = False
    staff.save()
    envelopes = walk(client, url, first["cursor"])
    assert merged(envelopes) == {"c": 3, "e": 5}
    assert [envelope["meta"]["current_part"] for envelope in envelopes] == [2, 3]
    assert {envelope["meta"]["total_parts"] for envelope in envelopes} == {3}
    assert calls == ["c", "e"]


@pytest.mark.django_db
def test_cursor__permission_granted_mid_walk(serve, user):
    guarded = {"permission_classes": [IsAdminUser]}
    url = serve(
        parts=[
            ("a", 1),
            ("b", lazy(lambda request: 2, **guarded)),
            ("c", 3),
            ("d", lazy(lambda request: 4, **guarded)),
            ("e", 5),
        ],
        chunk_size=1,
    )
    client = Client()
    client.force_login(user)
    second = get_json(client, at(url, first_cursor(client, url)))
    assert names(second) == ["c"]
    user.is_staff = True
    user.save()
    assert merged(walk(client, url, second["cursor"])) == {"d": 4, "e": 5}


@pytest.mark.django_db
def test_cursor__whose_last_parts_were_withdrawn_ends_the_walk(serve, staff, calls):
    url = serve(
        parts=[("a", 1), ("b", lazy(calls.loader("b"), permission_classes=[IsAdminUser]))],
        chunk_size=1,
    )
    client = Client()
    client.force_login(staff)
    token = first_cursor(client, url)
    staff.is_staff = False
    staff.save()
    assert get_json(client, at(url, token)) == {
        "results": [],
        "cursor": None,
        "meta": {"total_parts": 1, "current_part": 1, "has_more": False},
    }
    assert calls == []


@pytest.mark.django_db
@pytest.mark.parametrize("codec_name", ["signed.Signed", "fernet.Fernet", "aead.AESSIV"])
def test_cursor__does_not_tell_of_hidden_names(serve, settings, codec_name):
    import base64

    codec = f"partstream.backends.cursors.{codec_name}CursorCodec"
    settings.DJANGO_PARTSTREAM = {"CURSOR_CODEC": codec}
    hidden = lazy(lambda request: 1, permission_classes=[IsAdminUser])
    url = serve(parts=[("a", 1), ("top_secret", hidden), ("c", 1), ("d", 1)], chunk_size=1)
    response = Client().get(url)
    token = response.json()["cursor"]
    seen = b"".join(
        base64.urlsafe_b64decode(piece + "=" * (-len(piece) % 4)) for piece in token.split(".")
    )
    assert b"top_secret" not in seen + response.content


@pytest.mark.parametrize("identity", [7, b"ada", ["ada"]])
def test_hook__that_returns_no_text_is_misuse(serve, client, identity):
    url = serve(parts=[("a", 1)], get_identity=lambda self, request: identity)
    with pytest.raises(Misuse, match=r"ServedView\.get_identity\(\) returned"):
        client.get(url)


def test_binding__the_case_of_a_host_does_not_matter(serve, client):
    url = serve(parts=[("a", 1), ("b", 2), ("c", 3)])
    token = client.get(url).json()["cursor"]
    assert client.get(url, {"cursor": token}, headers={"host": "TESTSERVER"}).status_code == 200
