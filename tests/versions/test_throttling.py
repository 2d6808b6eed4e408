"""Limits as a client meets them: who is counted, in which windows, and what the answers say."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import path
from rest_framework.authentication import BaseAuthentication
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.test import APIClient
from rest_framework.throttling import SimpleRateThrottle
from rest_framework.views import APIView

from partstream import HybridProgressiveView, ProgressiveView, lazy
from partstream.backends.loader import get_rate_limit_store
from partstream.backends.rate_limits.base import Decision, RateLimitStore
from partstream.exceptions import Misuse
from partstream.mixins import ChunkMixin, CursorMixin, KeyAccessMixin, ManifestMixin
from partstream.throttling import ClientLimits, ClientThrottle, Limit
from tests.support.concurrency import in_threads
from tests.support.walk_client import at, first_cursor, get_json, walk

MEMORY = "partstream.backends.rate_limits.memory.MemoryRateLimitStore"
PARTS = [("a", 1), ("b", 2), ("c", 3), ("d", 4)]
SECOND = 1_000_000_000


class DownStore(RateLimitStore):
    """One that cannot be asked."""

    shared = exact = True

    def consume(self, windows):
        raise ConnectionError("nobody is there")


@pytest.fixture
def limit(settings):
    """Switch the limits on, counted in a fresh memory; its clock is the fixture's value."""

    class Clock:
        now = 10**12

        def __call__(self):
            return self.now

        def wait(self, seconds):
            self.now += int(seconds * SECOND)

    clock = Clock()

    def limit(rate=100, burst=10, store=MEMORY, **more):
        settings.DJANGO_PARTSTREAM = {
            "ENABLE_RATE_LIMITING": True,
            "RATE_LIMIT": rate,
            "BURST_LIMIT": burst,
            "RATE_LIMIT_STORE": store,
            **more,
        }
        if store == MEMORY:
            get_rate_limit_store()._clock = clock
        return clock

    return limit


def admitted(client, url, most=50):
    """How many requests are answered until one is refused."""
    for number in range(most):
        if client.get(url).status_code == 429:
            return number
    raise AssertionError("nothing was refused")


def with_session(**extra):
    """A client with a session of its own."""
    client = Client(**extra)
    session = client.session
    session["seen"] = True
    session.save()
    return client


def from_(address, **extra):
    return Client(REMOTE_ADDR=address, **extra)


def test_throttle__that_counted_nothing_says_nothing():
    throttle = ClientThrottle()
    assert throttle.wait() is None
    assert throttle.headers() == {}


# The windows


def test_burst__counts_what_begins(serve, limit, client):
    limit(burst=3)
    assert admitted(client, serve(parts=PARTS)) == 3


def test_rate__counts_everything(serve, limit, client):
    limit(rate=5, burst=None)
    url = serve(parts=PARTS)
    assert len(walk(client, url)) == 2
    assert admitted(client, url) == 3


def test_walk__never_throttles_itself(serve, limit, client):
    limit(burst=1)
    url = serve(parts=PARTS, chunk_size=1)
    assert len(walk(client, url)) == 4
    assert client.get(url).status_code == 429


@pytest.mark.parametrize("query", ["cursor=x", "cursor=", "cursor=a&cursor=b", "cursor=%00"])
def test_burst__a_cursor_that_is_none_begins_something(serve, limit, client, query):
    limit(burst=2)
    url = serve(parts=PARTS)
    asked = [client.get(url, QUERY_STRING=query).status_code for _ in range(3)]
    assert asked == [400, 400, 429]


def test_burst__a_stale_cursor_goes_on(serve, limit, client):
    limit(burst=1)
    parts = [("a", 1), ("b", 2), ("c", 3)]
    url = serve(get_parts=lambda self: list(parts))
    token = first_cursor(client, url)
    parts.reverse()
    assert [client.get(at(url, token)).status_code for _ in range(3)] == [409] * 3


def test_burst__of_the_routes_of_a_hybrid_view(serve, limit, client):
    limit(burst=1)
    url = serve(HybridProgressiveView, parts=PARTS)
    assert get_json(client, url)["cursor"]
    assert client.get(f"{url}?").status_code == 429
    # They begin no walk, and count in the rate alone.
    assert [client.get(f"{url}parts/?keys=a").status_code for _ in range(3)] == [200] * 3
    assert client.get(f"{url}manifest/").status_code == 200
    assert client.options(url).status_code == 200


@pytest.mark.parametrize("bases", [(KeyAccessMixin,), (ManifestMixin, KeyAccessMixin)])
def test_burst__a_view_without_walks_has_none(mount, limit, client, bases):
    limit(burst=1, rate=3)
    get = {"get": lambda self, request: self.keys_response(request)}
    mount(path("x/", type("Keys", (*bases, APIView), {"parts": PARTS, **get}).as_view()))
    assert admitted(client, "/x/?keys=a") == 3


def test_burst__of_a_view_mounted_alone(mount, limit, client):
    limit(burst=1)
    mount(path("x/", HybridProgressiveView.as_view(parts=PARTS)))
    # Its `keys` are the application's.
    assert [client.get("/x/?keys=a").status_code for _ in range(2)] == [200, 429]


def test_burst__a_cursor_of_the_walk_is_none_by_key(serve, limit, client):
    limit(burst=1)
    url = serve(HybridProgressiveView, parts=PARTS)
    token = first_cursor(client, url)
    keys = f"{url}parts/?keys=a&cursor={token}"
    assert [client.get(keys).status_code for _ in range(2)] == [200, 200]


@pytest.mark.parametrize("order", [(CursorMixin, ChunkMixin), (ChunkMixin,)])
def test_burst__keys_on_the_walks_own_url_begin_nothing(serve, limit, client, order):
    limit(burst=1)

    class OneURL(*order, KeyAccessMixin, APIView):
        parts = PARTS

        def get(self, request):
            by_key = "keys" in request.query_params
            return self.keys_response(request) if by_key else self.walk_response(request)

    url = serve(OneURL)
    token = get_json(client, url)["cursor"] or "x"
    for query in (f"cursor={token}&keys=a", "keys=a", "k%65ys=a"):
        assert [client.get(f"{url}?{query}").status_code for _ in range(2)] == [200, 200]
    assert client.get(url).status_code == 429


def test_head__counts_like_get(serve, limit, client):
    limit(burst=2)
    url = serve(parts=PARTS)
    assert [client.head(url).status_code for _ in range(3)] == [200, 200, 429]


def test_windows__move_with_time(serve, limit, client):
    clock = limit(rate=4, burst=2)
    url = serve(parts=PARTS)
    assert admitted(client, url) == 2
    clock.wait(9)
    assert client.get(url).status_code == 429
    clock.wait(1)
    assert admitted(client, url) == 2
    clock.wait(10)
    assert admitted(client, url) == 0  # The minute's.
    clock.wait(40)
    assert admitted(client, url) == 2


def test_limits__none_means_no_window(serve, limit, client):
    url = serve(parts=PARTS)
    limit(rate=None, burst=2)
    assert admitted(client, url) == 2
    limit(rate=3, burst=None)
    assert admitted(client, url) == 3
    limit(rate=None, burst=None)
    answer = client.get(url)
    assert answer.status_code == 200
    assert not {"RateLimit", "RateLimit-Policy"} & answer.headers.keys()


def test_limits__can_be_switched_off(serve, limit, client):
    limit(burst=1, ENABLE_RATE_LIMITING=False)
    url = serve(parts=PARTS)
    assert [client.get(url).status_code for _ in range(3)] == [200] * 3


# The answers


def test_refusal__says_when_to_come_back(serve, limit, client, calls):
    clock = limit(burst=1)
    url = serve(parts=[("a", lazy(calls.loader("a")))])
    clock.wait(0.25)
    assert client.get(url).status_code == 200
    clock.wait(0.5)
    answer = client.get(url)
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "10"
    assert answer.json() == {
        "detail": "Request was throttled. Expected available in 10 seconds.",
        "code": "throttled",
        "retry_after": 10,
    }
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert calls == ["a"]
    clock.wait(10)
    assert client.get(url).status_code == 200


def test_refusal__waits_for_the_longest_window(serve, limit, client):
    clock = limit(rate=2, burst=1)
    url = serve(parts=PARTS)
    client.get(url)
    clock.wait(10)
    client.get(url)
    clock.wait(5)
    answer = client.get(url)
    assert answer.headers["Retry-After"] == "45"
    clock.wait(44)
    assert client.get(url).status_code == 429
    clock.wait(1)
    assert client.get(url).status_code == 200


def test_refusal__takes_nothing(serve, limit, client):
    clock = limit(rate=3, burst=2)
    url = serve(parts=PARTS)
    assert admitted(client, url) == 2
    for _ in range(20):
        assert client.get(url).status_code == 429
    clock.wait(10)
    assert client.get(url).status_code == 200


def test_headers__name_each_window(serve, limit, client):
    # Limits that no other test has: what is kept for those would not be made again.
    limit(rate=91, burst=17)
    answer = client.get(serve(parts=PARTS))
    assert answer.headers["RateLimit-Policy"] == '"burst";q=17;w=10, "rate";q=91;w=60'
    assert answer.headers["RateLimit"] == '"burst";r=16;t=10, "rate";r=90;t=60'


def test_headers__tell_what_is_left(serve, limit, client):
    clock = limit(rate=100, burst=2)
    url = serve(parts=PARTS)
    answer = client.get(url)
    assert answer.headers["RateLimit-Policy"] == '"burst";q=2;w=10, "rate";q=100;w=60'
    assert answer.headers["RateLimit"] == '"burst";r=1;t=10, "rate";r=99;t=60'
    clock.wait(2.5)
    answer = client.get(at(url, answer.json()["cursor"]))
    assert answer.headers["RateLimit-Policy"] == '"rate";q=100;w=60'
    assert answer.headers["RateLimit"] == '"rate";r=98;t=58'
    client.get(url)
    answer = client.get(url)
    assert answer.status_code == 429
    assert answer.headers["RateLimit"] == '"burst";r=0;t=8, "rate";r=97;t=58'


def test_headers__are_there_whatever_the_answer_is(serve, limit, client):
    limit(burst=2)
    url = serve(parts=PARTS)
    assert "RateLimit" in client.get(url, QUERY_STRING="cursor=x").headers
    # What is refused before it is counted has none.
    assert "RateLimit" not in client.get(url, QUERY_STRING="format=json&format=api").headers


def wrapped(exc, context):
    return Response({"error": str(exc)}, status=exc.status_code)


def test_refusal__of_a_handler_with_a_shape_of_its_own(serve, limit, client, settings):
    limit(burst=1)
    url = serve(parts=PARTS, get_exception_handler=lambda self: wrapped)
    client.get(url)
    answer = client.get(url)
    assert answer.status_code == 429
    assert answer.json().keys() == {"error"}
    assert answer.headers["Retry-After"] == "10"


# The clients that are counted


def test_client__is_an_address(serve, limit):
    limit(burst=2)
    url = serve(parts=PARTS)
    assert admitted(from_("192.0.2.1"), url) == 2
    assert admitted(from_("192.0.2.2"), url) == 2
    assert admitted(from_("192.0.2.1"), url) == 0


def test_client__forged_headers_make_no_new_one(serve, limit, client):
    """Guard 15: 1,000 forged X-Forwarded-For from an untrusted peer are one client."""
    limit(burst=10)
    url = serve(parts=PARTS)
    asked = [
        client.get(url, HTTP_X_FORWARDED_FOR=f"192.0.{number // 256}.{number % 256}").status_code
        for number in range(1000)
    ]
    assert asked == [200] * 10 + [429] * 990


@pytest.mark.parametrize("peer", ["", "unix:", "1.2.3.4:80", "fe80::1%lo", "01.2.3.4", "x", "::1"])
def test_client__odd_peers_are_counted(serve, limit, peer):
    limit(burst=2)
    assert admitted(from_(peer), serve(parts=PARTS)) == 2


def test_client__all_that_cannot_be_read_are_one(serve, limit):
    limit(burst=3)
    url = serve(parts=PARTS)
    asked = [from_(peer).get(url).status_code for peer in ("x", "", "01.2.3.4", "unix:")]
    assert asked == [200, 200, 200, 429]


def test_client__is_a_network_of_ipv6(serve, limit):
    limit(burst=2)
    url = serve(parts=PARTS)
    assert admitted(from_("2001:db8::1"), url) == 2
    assert admitted(from_("2001:db8::ffff:1"), url) == 0
    assert admitted(from_("2001:db8:0:1::1"), url) == 2


@pytest.mark.django_db
def test_client__is_a_user_wherever_they_are(serve, limit):
    limit(burst=2)
    url = serve(parts=PARTS)
    users = [User.objects.create_user(name) for name in ("ada", "grace")]
    asked = []
    for user in users:
        for address in ("192.0.2.1", "192.0.2.2", "192.0.2.1"):
            client = from_(address)
            client.force_login(user)
            asked.append(client.get(url).status_code)
    assert asked == [200, 200, 429] * 2
    assert admitted(from_("192.0.2.1"), url) == 2


@pytest.mark.django_db
def test_client__a_user_with_a_forged_session_is_the_same(serve, limit):
    """A session's key is whatever the cookie says, such as a part of somebody's identity."""
    limit(burst=2)
    url, user, asked = serve(parts=PARTS), User.objects.create_user("ada"), []
    for address in ("198.51.100.1", "198.51.100.2", "198.51.100.3"):
        client = APIClient(REMOTE_ADDR=address)
        client.cookies["sessionid"] = "auth.user"
        client.force_authenticate(user)
        asked.append(client.get(url).status_code)
    assert asked == [200, 200, 429]


@pytest.mark.django_db
def test_client__a_session_makes_no_new_one(serve, limit):
    limit(burst=2)
    url = serve(parts=PARTS)
    asked = []
    for number in range(3):
        client = Client()
        client.cookies["sessionid"] = f"{number:032d}"
        session = client.session
        session["seen"] = number
        session.save()
        client.cookies["sessionid"] = session.session_key
        asked.append(client.get(url).status_code)
    assert asked == [200, 200, 429]


class Bearer(BaseAuthentication):
    """A credential without a user; the kind decides what `request.auth` is."""

    kind = str

    def authenticate(self, request):
        token = request.headers.get("X-Token")
        return (None, self.kind(token)) if token else None


class Opaque:
    def __init__(self, token):
        self.token = token


def test_client__is_a_credential(serve, limit, client):
    limit(burst=2)
    url = serve(parts=PARTS, authentication_classes=[Bearer])
    asked = [client.get(url, HTTP_X_TOKEN=token).status_code for token in "aaabbbc"]
    assert asked == [200, 200, 429, 200, 200, 429, 200]


@pytest.mark.django_db
def test_client__a_credential_that_says_nothing_is_counted_by_address(serve, limit):
    """Its identity would be the session's, of which anybody can have as many as they like."""
    limit(burst=2)
    bearer = type("OpaqueBearer", (Bearer,), {"kind": Opaque})
    url = serve(parts=PARTS, authentication_classes=[bearer])
    asked = []
    for _ in range(3):
        asked.append(with_session(HTTP_X_TOKEN="t").get(url).status_code)
    assert asked == [200, 200, 429]


class Person(BaseAuthentication):
    """A user that is no model, and has no key."""

    def authenticate(self, request):
        return SimpleNamespace(is_authenticated=True), None


@pytest.mark.django_db
def test_client__a_user_without_a_key_is_counted_by_address(serve, limit):
    """Theirs would be the session's identity, too."""
    limit(burst=2)
    url = serve(parts=PARTS, authentication_classes=[Person])
    asked = [with_session().get(url).status_code for _ in range(3)]
    assert asked == [200, 200, 429]


@pytest.mark.django_db
def test_client__is_a_credential_beside_a_session(serve, limit):
    limit(burst=2)
    seen = []

    def get_session(request):
        seen.append(request.session.session_key)
        return 1

    url = serve(parts=[("a", lazy(get_session))], authentication_classes=[Bearer])
    clients = [with_session(HTTP_X_TOKEN=token) for token in "aaabbb"]
    asked = [client.get(url).status_code for client in clients]
    assert asked == [200, 200, 429] * 2
    # It was put aside only for as long as the view was asked.
    assert seen == [clients[number].session.session_key for number in (0, 1, 3, 4)]


@pytest.mark.django_db
def test_client__an_identity_that_is_no_text_is_misuse_beside_a_session(serve, limit):
    limit()
    url = serve(parts=PARTS, authentication_classes=[Bearer], get_identity=lambda self, request: 7)
    with pytest.raises(Misuse, match=r"get_identity\(\) returned 7"):
        with_session(HTTP_X_TOKEN="t").get(url)


@pytest.mark.django_db
def test_client__a_session_in_disguise_makes_no_new_one(serve, limit):
    limit(burst=2)

    class Tenant(ProgressiveView):
        parts = PARTS
        authentication_classes = [type("OpaqueBearer", (Bearer,), {"kind": Opaque})]

        def get_identity(self, request):
            return f"tenant:{super().get_identity(request)}"

    url, asked = serve(Tenant), []
    for _ in range(3):
        asked.append(with_session(HTTP_X_TOKEN="t").get(url).status_code)
    assert asked == [200, 200, 429]


def test_client__a_view_may_say_who_an_opaque_credential_is(serve, limit, client):
    limit(burst=2)
    url = serve(
        parts=PARTS,
        authentication_classes=[type("OpaqueBearer", (Bearer,), {"kind": Opaque})],
        get_identity=lambda self, request: request.auth and f"key:{request.auth.token}",
    )
    asked = [client.get(url, HTTP_X_TOKEN=token).status_code for token in "aaabbbc"]
    assert asked == [200, 200, 429, 200, 200, 429, 200]


@pytest.mark.django_db
def test_client__a_user_and_an_address_of_one_name_share_nothing(serve, limit):
    """Guard 14: user "1" and IP "1"."""
    limit(burst=2)

    class View(ProgressiveView):
        parts = PARTS

        def get_identity(self, request):
            return "192.0.2.1"

    url = serve(View)
    assert admitted(from_("192.0.2.1"), url) == 2
    client = APIClient(REMOTE_ADDR="192.0.2.1")
    client.force_authenticate(User.objects.create_user("ada"))
    assert admitted(client, url) == 2


def test_store__sees_no_address_and_no_credential(serve, limit, client):
    limit()
    url = serve(parts=PARTS, authentication_classes=[Bearer])
    client.get(url, HTTP_X_TOKEN="hunter2")
    client.get(url)
    keys = [key for logs in get_rate_limit_store()._logs.values() for key in logs._own]
    assert len(keys) == 4
    for key in keys:
        assert re.fullmatch(r"partstream:\{[A-Za-z0-9_-]{22}\}:(burst|rate)", key)


# Which views


def test_views__share_what_the_settings_say(mount, limit, client):
    limit(burst=3)
    views = [type(f"View{n}", (ProgressiveView,), {"parts": PARTS}) for n in range(2)]
    mount(*(path(f"{n}/", view.as_view()) for n, view in enumerate(views)))
    asked = [client.get(f"/{n}/").status_code for n in (0, 1, 0, 1, 0)]
    assert asked == [200, 200, 200, 429, 429]


def test_views__of_their_own_limits_count_by_themselves(mount, limit, client):
    limit(burst=2, rate=100)
    small = type("Small", (ProgressiveView,), {"parts": PARTS, "burst_limit": 1})
    hooked = type("Hooked", (ProgressiveView,), {"parts": PARTS, "get_burst_limit": lambda self: 1})
    free = type("Free", (ProgressiveView,), {"parts": PARTS, "get_burst_limit": lambda self: None})
    plain = type("Plain", (ProgressiveView,), {"parts": PARTS})
    slow = type("Slow", (ProgressiveView,), {"parts": PARTS, "rate_limit": 1})
    for view in (small, hooked, free, plain, slow):
        mount(path("x/", view.as_view()))
        if view is free:
            assert [client.get("/x/").status_code for _ in range(20)] == [200] * 20
        else:
            # Slow shares the burst, which Plain has used up.
            assert (
                admitted(client, "/x/")
                == {"Small": 1, "Hooked": 1, "Plain": 2, "Slow": 0}[view.__name__]
            )


def test_views__may_be_given_a_limit_where_they_are_mounted(mount, limit, client):
    limit()
    view = type("View", (ProgressiveView,), {"parts": PARTS})
    mount(path("x/", view.as_view(rate_limit=2)))
    assert admitted(client, "/x/") == 2


@pytest.mark.parametrize("attribute", ["rate_limit", "burst_limit"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "10", True, 10**9])
def test_views__a_limit_that_is_none_is_misuse(serve, limit, client, attribute, value):
    limit()
    url = serve(parts=PARTS, **{attribute: value})
    with pytest.raises(Misuse, match=f"ServedView.{attribute} is {value!r}"):
        client.get(url)


def test_views__may_be_given_a_hook_where_they_are_mounted(mount, limit, client):
    limit()
    view = type("View", (ProgressiveView,), {"parts": PARTS})
    mount(path("x/", view.as_view(get_burst_limit=lambda: "5")))
    with pytest.raises(Misuse, match=r"View.get_burst_limit\(\) is '5'"):
        client.get("/x/")


def test_views__may_return_their_limits_in_a_list(serve, limit, client):
    limit()

    def client_limits(self, request):
        return ClientLimits("somebody", [Limit("rate", 60, 2, None)])

    assert admitted(client, serve(parts=PARTS, client_limits=client_limits)) == 2


@pytest.mark.parametrize("hook", ["get_rate_limit", "get_burst_limit"])
@pytest.mark.parametrize("value", [0, 2.5, "50", True])
def test_views__a_hook_that_says_no_limit_is_misuse_and_no_fault_of_the_store(
    serve, limit, client, hook, value
):
    limit()
    url = serve(parts=PARTS, **{hook: lambda self: value})
    with pytest.raises(Misuse, match=rf"ServedView.{hook}\(\) is {value!r}"):
        client.get(url)
    assert get_rate_limit_store().undecided == 0


def test_views__of_one_class_with_two_limits_count_apart(mount, limit, client):
    limit()
    view = type("View", (ProgressiveView,), {"parts": PARTS})
    mount(path("few/", view.as_view(rate_limit=2)), path("many/", view.as_view(rate_limit=50)))
    assert [client.get("/many/").status_code for _ in range(3)] == [200] * 3
    assert admitted(client, "/few/") == 2


def test_views__that_only_describe_begin_nothing(serve, limit, client):
    limit(burst=1)

    class Contents(ManifestMixin, APIView):
        parts = PARTS

        def get(self, request):
            return self.manifest_response(request)

    url = serve(Contents)
    assert [client.get(url).status_code for _ in range(3)] == [200] * 3


def test_throttle__listed_by_the_project_lets_other_views_be(mount, limit, client):
    limit(burst=1)
    plain = type(
        "Plain",
        (APIView,),
        {"throttle_classes": [ClientThrottle], "get": lambda self, request: Response({})},
    )
    mount(path("x/", plain.as_view()))
    assert [client.get("/x/").status_code for _ in range(3)] == [200] * 3


class Never(SimpleRateThrottle):
    """A throttle of the project's own."""

    rate = "1/min"

    def get_cache_key(self, request, view):
        return "never"


def test_throttles__of_the_project_are_asked_too(serve, limit, client, empty_cache):
    limit()
    url = serve(parts=PARTS, throttle_classes=[Never])
    assert client.get(url).status_code == 200
    answer = client.get(url)
    assert (answer.status_code, answer.json()["code"]) == (429, "throttled")
    assert api_settings.DEFAULT_THROTTLE_CLASSES == []


def test_throttle__named_by_the_project_counts_once(serve, limit, client):
    limit(burst=3)
    assert admitted(client, serve(parts=PARTS, throttle_classes=[ClientThrottle])) == 3


# Many at once


def test_threads__never_take_more_than_the_limit(serve, limit):
    """The sixteen threads of the issue: 200 requests each against a limit of 100."""
    limit(rate=100, burst=None)
    url = serve(parts=PARTS)

    def ask(number):
        client = Client()
        return [client.get(url).status_code for _ in range(200)].count(200)

    assert sum(in_threads(16, ask)) == 100


# The store is down


@pytest.mark.parametrize("policy", ["local", "open", "closed"])
def test_store_down__the_policy_says_what_becomes_of_requests(serve, limit, client, policy, caplog):
    limit(burst=2, store=f"{__name__}.DownStore", RATE_LIMIT_ON_STORE_ERROR=policy)
    url = serve(parts=PARTS)
    answers = [client.get(url) for _ in range(3)]
    statuses = {"local": [200, 200, 429], "open": [200] * 3, "closed": [503] * 3}[policy]
    assert [answer.status_code for answer in answers] == statuses
    assert get_rate_limit_store().undecided == 3
    # Once for all of them.
    outages = [record for record in caplog.records if record.name == "partstream.stores"]
    assert len(outages) == 1
    if policy == "closed":
        assert answers[0].json() == {
            "detail": "The server cannot count requests right now. Try again in a moment.",
            "code": "store_unavailable",
            "retry_after": 2,
        }
        assert answers[0].headers["Retry-After"] == "2"
        assert "nobody" not in str(answers[0].headers)


class OddStore(RateLimitStore):
    """One whose answers are the tests'."""

    shared = exact = True
    answer = Decision(False, 0.001, (0, 0), (0.001, 0.001))

    def consume(self, windows):
        return self.answer


def test_refusal__asks_to_wait_a_whole_second_at_least(serve, limit, client):
    limit(store=f"{__name__}.OddStore")
    answer = client.get(serve(parts=PARTS))
    assert answer.headers["Retry-After"] == "1"
    assert answer.json()["retry_after"] == 1
