"""``IDENTITY``: the project's own dimension of every identity, such as a tenant."""

from __future__ import annotations

import itertools
from itertools import count

import pytest
from django.core.checks import run_checks
from django.test import Client, RequestFactory, override_settings
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.request import Request

from partstream import HybridProgressiveView, cached_for, conf, lazy
from partstream.backends.loader import get_rate_limit_store
from partstream.exceptions import Misuse
from partstream.identity import bound_identity, get_identity_function, with_dimension
from tests.support.module_loaders import of_module
from tests.support.walk_client import at, first_cursor, get_json, merged

MEMORY = "partstream.backends.rate_limits.memory.MemoryRateLimitStore"
ASKED = []

pytestmark = pytest.mark.usefixtures("empty_cache")


def tenant(request):
    """Stands for what a project's middleware has found out."""
    ASKED.append(request)
    return request.META.get("HTTP_X_TENANT")


def impersonator(request):
    """Who is really there, where support is logged in as somebody: put there by the log-in."""
    return request.session.get("impersonator")


class NotCalled:
    def __call__(self, request, more):
        return "x"


class Later:
    async def __call__(self, request):
        return "x"


async def later(request):
    return "x"


def without_arguments():
    return "x"


def with_two(request, more):
    return "x"


not_called, later_object, a_text = NotCalled(), Later(), "x"


def a_number(request):
    return 7


@pytest.fixture
def use(settings):
    """Put a function of this module into force, and stop the clock of the limits."""

    def use(name, burst=100):
        ASKED.clear()
        settings.DJANGO_PARTSTREAM = {
            "IDENTITY": name and f"{__name__}.{name}",
            "ENABLE_RATE_LIMITING": True,
            "RATE_LIMIT": None,
            "BURST_LIMIT": burst,
            "RATE_LIMIT_STORE": MEMORY,
        }
        get_rate_limit_store()._clock = lambda: 0

    return use


class Tenants(HybridProgressiveView):
    chunk_size = 4
    made = count(1)
    parts = [
        ("mine", lazy("get_mine")),
        ("shared", lazy("get_shared")),
        ("keyed", lazy("get_keyed")),
        ("called", lazy("get_called")),
        ("more", 1),
        ("end", 2),
    ]

    @cached_for(60)
    def get_mine(self, request):
        return next(self.made)

    @cached_for(60, shared=True)
    def get_shared(self, request):
        return next(self.made)

    @cached_for(60, key=lambda request: "key")
    def get_keyed(self, request):
        return next(self.made)

    @cached_for(60)
    def get_inner(self, request):
        return next(self.made)

    def get_called(self, request):
        return self.get_inner(request)


class Own(Tenants):
    """It says itself whose data this is."""

    def get_identity(self, request):
        return "everybody"


@pytest.fixture
def ada(user):
    """Clients of one user, each of one tenant."""

    def ada(tenant=None, **extra):
        client = Client(**({} if tenant is None else {"HTTP_X_TENANT": tenant}), **extra)
        client.force_login(user)
        return client

    return ada


def admitted(client, url, most=10):
    """The number of requests, out of ``most``, that are answered."""
    return [client.get(url).status_code for _ in range(most)].count(200)


def same_parts(one, other, url):
    """Names of the cached parts that both get one value of."""
    found = [merged([get_json(client, url)]) for client in (one, other)]
    again = [merged([get_json(client, url)]) for client in (one, other)]
    return {name for name in found[0] if found[0][name] == found[1][name]}, {
        name for name in found[0] if [part[name] for part in found] == [p[name] for p in again]
    }


# Two tenants on one host

EVERY = {"mine", "shared", "keyed", "called"}


@pytest.mark.django_db
@pytest.mark.parametrize("view_class", [Tenants, Own])
def test_tenants__are_two_identities_in_caches(serve, use, ada, view_class):
    use("tenant")
    url = serve(view_class)
    assert same_parts(ada("red"), ada("blue"), url) == ({"shared", "keyed"}, EVERY)
    assert same_parts(ada("red"), ada("red"), url) == (EVERY, EVERY)
    assert same_parts(ada("red"), ada(), url) == ({"shared", "keyed"}, EVERY)


@pytest.mark.django_db
@pytest.mark.parametrize("view_class", [Tenants, Own])
def test_tenants__follow_no_cursor_of_each_other(serve, use, ada, view_class):
    use("tenant")
    url = serve(view_class)
    for whose, other in itertools.permutations(["red", "blue", "", None], 2):
        token = first_cursor(ada(whose), url)
        assert ada(other).get(at(url, token)).json()["code"] == "cursor_invalid"
        assert ada(whose).get(at(url, token)).status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("view_class", [Tenants, Own])
def test_tenants__have_limits_of_their_own(serve, use, ada, view_class):
    use("tenant", burst=3)
    url = serve(view_class)
    asked = [admitted(ada(name), url) for name in ("red", "blue", "red", None)]
    assert asked == [3, 3, 0, 3]


@pytest.mark.django_db
def test_tenants__share_nothing_of_a_loader_that_is_called(use, user):
    use("tenant")
    made = count(1)

    def load(request):
        return next(made)

    loader = cached_for(60)(of_module(load))

    def call(tenant):
        raw = RequestFactory().get("/", HTTP_X_TENANT=tenant)
        request = Request(raw)
        request.user = user
        return loader(request)

    assert [call(name) for name in ("red", "blue", "red", "blue")] == [1, 2, 1, 2]


def test_tenants__are_asked_for_once_a_request(serve, use):
    use("tenant")
    url = serve(Tenants)
    token = first_cursor(Client(HTTP_X_TENANT="red"), url)
    assert len(ASKED) == 1
    get_json(Client(HTTP_X_TENANT="red"), at(url, token))
    assert len(ASKED) == 2
    assert isinstance(ASKED[0], Request)


# A user, and somebody who is logged in as that user


@pytest.mark.django_db
def test_impersonator__is_another_identity_than_the_user(serve, use, ada):
    use("impersonator", burst=4)
    url = serve(Tenants, authentication_classes=[SessionAuthentication])
    user, support = ada(), ada()
    session = support.session
    session["impersonator"] = "7"
    session.save()
    assert same_parts(user, support, url) == ({"shared", "keyed"}, EVERY)
    token = first_cursor(user, url)
    assert support.get(at(url, token)).json()["code"] == "cursor_invalid"
    # Each has begun two walks, and one a third; support's cursor was invalid.
    assert [admitted(user, url), admitted(support, url)] == [1, 1]
    assert admitted(ada(), url) == 0


class Bearer(BaseAuthentication):
    """A credential without a user."""

    def authenticate(self, request):
        return None, request.META["HTTP_X_TOKEN"]


@pytest.mark.django_db
def test_impersonator__may_be_in_the_session_beside_a_credential(serve, use):
    use("impersonator", burst=2)
    url = serve(Tenants, authentication_classes=[Bearer])
    asked = []
    for name in ("7", "8", "7"):
        client = Client(HTTP_X_TOKEN="t")
        session = client.session
        session["impersonator"] = name
        session.save()
        asked.append(admitted(client, url))
    assert asked == [2, 2, 0]


# Visitors


def visitor(tenant, **extra):
    return Client(HTTP_X_TENANT=tenant, **extra)


def test_visitors__of_two_tenants_follow_no_cursor_of_each_other(serve, use):
    use("tenant")
    url = serve(Tenants)
    token = first_cursor(visitor("red"), url)
    assert visitor("blue").get(at(url, token)).json()["code"] == "cursor_invalid"
    assert Client().get(at(url, token)).json()["code"] == "cursor_invalid"
    assert visitor("red").get(at(url, token)).status_code == 200


def test_visitors__have_no_cache_by_it(serve, use):
    use("tenant")
    url = serve(Tenants)
    assert same_parts(visitor("red"), visitor("red"), url) == ({"shared", "keyed"},) * 2


def test_visitors__are_counted_by_address(serve, use):
    use("tenant", burst=2)
    url = serve(Tenants)
    assert [admitted(visitor(name), url) for name in ("red", "blue")] == [2, 0]


@pytest.mark.django_db
def test_visitors__with_a_session_have_a_cache_and_no_limits_of_their_own(serve, use):
    use("tenant", burst=6)
    url = serve(Tenants)
    clients = []
    for name in ("red", "blue"):
        client = visitor(name)
        session = client.session
        session["seen"] = True
        session.save()
        clients.append(client)
    assert same_parts(*clients, url) == ({"shared", "keyed"}, EVERY)
    assert [admitted(client, url) for client in clients] == [2, 0]


class Nameless(BaseAuthentication):
    """A user that is no model, and has no key: the identity is the session's."""

    def authenticate(self, request):
        user = type("Person", (), {"is_authenticated": True})()
        return user, None


@pytest.mark.django_db
def test_visitors__a_session_is_never_a_client(serve, use):
    use("tenant", burst=2)
    url = serve(Tenants, authentication_classes=[Nameless])
    asked = []
    for _ in range(3):
        client = visitor("red")
        session = client.session
        session["seen"] = True
        session.save()
        asked.append(client.get(url).status_code)
    assert asked == [200, 200, 429]


@pytest.mark.django_db
def test_visitors__a_credential_by_its_session_is_no_client(serve, use):
    use("tenant", burst=2)
    url = serve(
        Tenants,
        authentication_classes=[Bearer],
        get_identity=lambda self, request: request.session.session_key,
    )
    asked = []
    for _ in range(3):
        client = visitor("red", HTTP_X_TOKEN="t")
        session = client.session
        session["seen"] = True
        session.save()
        asked.append(client.get(url).status_code)
    assert asked == [200, 200, 429]


# Joining

WHOSE = [None, "", "a", "1:a", "1:a-", "1:a1:b", "-1:b", "session:x", "user:auth.user:7"]
DIMENSIONS = [(None,), ("",), ("a",), ("b",), ("1:b",), ("-",), ("user:auth.user:7",)]


def test_bound_identity__tells_all_pairs_apart():
    pairs = list(itertools.product(WHOSE, DIMENSIONS))
    assert len({bound_identity(*pair) for pair in pairs}) == len(pairs)
    assert with_dimension(None, ("a",)) is None


def test_bound_identity__without_the_setting_is_the_identity():
    for whose in WHOSE:
        assert bound_identity(whose, ()) is with_dimension(whose, ()) is whose


# The setting


@pytest.mark.django_db
def test_setting__is_read_at_call_time(serve, use, ada, settings):
    use("tenant")
    url = serve(Tenants)
    token = first_cursor(ada("red"), url)
    with override_settings(DJANGO_PARTSTREAM={}):
        assert ada("red").get(at(url, token)).status_code == 400
        bare = first_cursor(ada("red"), url)
        assert ada("blue").get(at(url, bare)).status_code == 200
    assert ada("red").get(at(url, token)).status_code == 200
    use("impersonator")
    assert get_identity_function() is impersonator


def test_setting__may_be_in_the_environment(monkeypatch, serve):
    monkeypatch.setattr(conf, "ENVIRONMENT", {"PARTSTREAM_IDENTITY": f"{__name__}.tenant"})
    with override_settings(DJANGO_PARTSTREAM={"ENABLE_RATE_LIMITING": False}):
        url = serve(Tenants)
        token = first_cursor(visitor("red"), url)
        assert visitor("blue").get(at(url, token)).status_code == 400


FAULTY = {
    "nowhere": ("tests.nowhere.tenant", "cannot be imported: No module named 'tests.nowhere'."),
    "no such name": (f"{__name__}.unknown", f"cannot be imported: {__name__} has no 'unknown'."),
    "a text": (f"{__name__}.a_text", "is not a function."),
    "asynchronous": (f"{__name__}.later", "is a coroutine function."),
    "an asynchronous object": (f"{__name__}.later_object", "is a coroutine function."),
    "no arguments": (f"{__name__}.without_arguments", "cannot be called as (request): too many"),
    "two arguments": (f"{__name__}.with_two", "cannot be called as (request): missing"),
    "an object": (f"{__name__}.not_called", "cannot be called as (request): missing"),
}


def messages():
    return [message for message in run_checks() if message.id == "partstream.E011"]


@pytest.mark.parametrize("fault", FAULTY)
def test_setting__that_cannot_be_used_is_misuse_and_an_error_of_check(
    serve, client, settings, fault
):
    path, says = FAULTY[fault]
    settings.DJANGO_PARTSTREAM = {"IDENTITY": path}
    expected = f"DJANGO_PARTSTREAM['IDENTITY'] = {path!r} {says}"
    (message,) = messages()
    assert message.msg.startswith(expected)
    url = serve(parts=[("a", 1), ("b", 2), ("c", 3)])
    for _ in range(2):
        with pytest.raises(Misuse) as caught:
            client.get(url)
        assert str(caught.value) == message.msg


@pytest.mark.parametrize("path", [None, f"{__name__}.tenant", "builtins.vars", "operator.not_"])
def test_setting__that_can_be_used_is_no_error(settings, path):
    settings.DJANGO_PARTSTREAM = {"IDENTITY": path}
    assert messages() == []


def test_setting__whose_value_is_wrong_is_said_once(settings):
    settings.DJANGO_PARTSTREAM = {"IDENTITY": "nodots"}
    assert messages() == []


@pytest.mark.parametrize("name", ["a_number", "builtins.dir"])
def test_setting__that_returns_no_text_is_misuse(serve, client, settings, name):
    path = name if "." in name else f"{__name__}.{name}"
    settings.DJANGO_PARTSTREAM = {"IDENTITY": path}
    url = serve(parts=[("a", 1), ("b", 2), ("c", 3)])
    with pytest.raises(Misuse, match=r"\['IDENTITY'\] = .* returned .*\. Return a string, or None"):
        client.get(url)
