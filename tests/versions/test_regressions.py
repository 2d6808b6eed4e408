"""Faults of other libraries, each with a test that partstream does not have it.

They come from advisories and issues of cryptography, PyJWT, Django, REST framework, redis-py,
limits and django-ratelimit. Where it is cheap, a test shows the other's behaviour first: when
that changes, the rule that it gave us may go. Those that need threads, processes or a Redis server
are with the units that they concern; `docs/other-libraries.md` has the whole table.
"""

from __future__ import annotations

import json
import logging
import time

import pytest
from cryptography.fernet import Fernet, InvalidToken
from django.contrib.auth.models import User
from django.core import signing
from django.core.cache import cache
from django.test import Client, RequestFactory
from rest_framework.pagination import CursorPagination
from rest_framework.throttling import SimpleRateThrottle

from partstream import HybridProgressiveView, ProgressiveView
from partstream.backends.cursors.base import from_base64url, to_base64url
from partstream.backends.cursors.fernet import FernetCursorCodec
from partstream.backends.loader import get_cursor_codec
from partstream.exceptions import CursorError, InvalidCursor
from partstream.identity import joined
from partstream.keys import KeyRing, hkdf
from partstream.security.client_ip import Networks, bucket, parse_address
from tests.conftest import needs_jwt
from tests.support.walk_client import at, first_cursor

PARTS = [("a", 1), ("b", 2), ("c", 3)]
PAYLOAD = [1, "w" * 16, 2, "", 3, "d" * 16, "b" * 22]


@pytest.fixture
def ring():
    return KeyRing([b"one secret of the tests, long enough"])


# cryptography


@pytest.mark.parametrize("token", ["gAAAAAé", "gAAAAA\ud800", "gAAAAA\x00", "gAAAAA==="])
def test_fernet__its_own_exceptions_are_not_only_invalid_token(ring, token):
    """`Fernet.decrypt` raises ValueError and others of a text that is not base64."""
    with pytest.raises(CursorError):
        FernetCursorCodec(keys=ring).decode(token, 60)


def test_fernet__takes_many_spellings_of_a_token_and_we_take_one(ring):
    codec = FernetCursorCodec(keys=ring)
    token = codec.encode(PAYLOAD, 60)
    fernet = Fernet(Fernet.generate_key())
    theirs = fernet.encrypt(b"data").decode()
    spoilt = [
        lambda text: text[:40] + "!" + text[40:],
        lambda text: text[:40] + "\n" + text[40:],
        lambda text: text + "====",
    ]
    for spoil in spoilt:
        assert fernet.decrypt(spoil(theirs)) == b"data"
        with pytest.raises(InvalidCursor):
            codec.decode(spoil(token), 60)


def test_fernet__without_a_ttl_looks_at_no_clock(ring, monkeypatch):
    fernet = Fernet(Fernet.generate_key())
    ahead = fernet.encrypt_at_time(b"data", int(time.time()) + 10**6)
    assert fernet.decrypt(ahead) == b"data"
    with pytest.raises(InvalidToken):
        fernet.decrypt(ahead, ttl=60)
    codec = FernetCursorCodec(keys=ring)
    token = codec.seal(PAYLOAD, issued=int(time.time()) + 10**6, ttl=60)
    with pytest.raises(InvalidCursor, match="future"):
        codec.decode(token, 60)


# PyJWT


@pytest.fixture
def forge(ring):
    """A token of these claims and this header, signed with the right key."""
    jwt = pytest.importorskip("jwt")
    from partstream.backends.cursors.jwt import JWTCursorCodec

    codec = JWTCursorCodec(keys=ring)
    [key] = ring.derive("cursors.jwt")
    now = int(time.time())
    good = {
        "aud": "partstream",
        "exp": now + 60,
        "iat": now,
        "sub": PAYLOAD[-1],
        "cur": PAYLOAD[:-1],
    }

    def forge(header=None, **claims):
        claims = {name: value for name, value in {**good, **claims}.items() if value is not None}
        token = codec.seal(PAYLOAD, issued=now, ttl=60).split(".")
        own = json.loads(from_base64url(token[0]))
        # By hand: PyJWT itself would refuse to make some of them.
        signed = ".".join(
            to_base64url(json.dumps(part, separators=(",", ":")).encode())
            for part in ({**own, **(header or {})}, claims)
        )
        signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
            signed.encode(), key
        )
        return f"{signed}.{to_base64url(signature)}"

    return codec, forge


@needs_jwt
def test_pyjwt__what_is_forged_here_is_else_well_made(forge):
    codec, make = forge
    assert codec.decode(make(), 60) == PAYLOAD


@needs_jwt
@pytest.mark.parametrize("claims", [{"exp": None}, {"exp": 10**400}, {"iat": None}, {"aud": None}])
def test_pyjwt__a_claim_that_is_missing_or_endless(forge, claims):
    """A token without `exp` decodes unless it is required, and an `exp` of any size is taken."""
    codec, make = forge
    with pytest.raises(InvalidCursor):
        codec.decode(make(**claims), 60)


@needs_jwt
@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"]},
        {"b64": False, "crit": ["b64"]},
        {"b64": False},
        {"jwk": {"kty": "oct", "k": "AAAA"}},
        {"jku": "https://example.com/keys"},
        {"kid": "../../../dev/null"},
        {"alg": "none"},
    ],
    ids=json.dumps,
)
def test_pyjwt__a_header_that_tells_us_how_to_verify(forge, header):
    """Advisories of 2026: `crit` was ignored, a JWK was taken as a secret, `b64` was honoured."""
    codec, make = forge
    with pytest.raises(InvalidCursor):
        codec.decode(make(header), 60)


@needs_jwt
def test_pyjwt__a_surrogate_raises_nothing_else(forge):
    codec, _ = forge
    with pytest.raises(InvalidCursor):
        codec.decode("a.b\ud800.c", 60)


# Django


def test_django_signing__future_tokens_pass_max_age_and_ours_do_not(ring, monkeypatch):
    signer = signing.TimestampSigner(key="x" * 32)
    monkeypatch.setattr(time, "time", lambda: 2 * 10**9)
    ahead = signer.sign("data")
    monkeypatch.undo()
    assert signer.unsign(ahead, max_age=1) == "data"
    codec = get_cursor_codec()
    with pytest.raises(InvalidCursor, match="future"):
        codec.decode(codec.seal(PAYLOAD, issued=2 * 10**9, ttl=60), 60)


def test_cve_2026_6873__no_two_uses_share_a_key():
    """A salt joined plainly to a key let one use's signatures pass for another's."""
    assert joined(("ab", "c")) != joined(("a", "bc")) != joined(("", "abc"))
    assert joined(("1:a",)) != joined(("1", "a"))
    assert joined((None,)) != joined(("-",)) != joined(("",))
    assert hkdf(b"secretc", "ursors") != hkdf(b"secret", "cursors")


@pytest.mark.django_db
def test_django_cache_middleware__keeps_no_users_answer_for_another(mount, settings, serve):
    """Six leaks of cached answers between users got CVEs in 2026."""
    settings.MIDDLEWARE = [
        "django.middleware.cache.UpdateCacheMiddleware",
        *settings.MIDDLEWARE,
        "django.middleware.cache.FetchFromCacheMiddleware",
    ]
    cache.clear()

    class Mine(HybridProgressiveView):
        def get_parts(self):
            return [("me", self.request.user.username), ("b", 2), ("c", 3)]

    url = serve(Mine)
    for route in ("", "parts/?keys=me", "manifest/"):
        for name in ("ada", "grace", "ada"):
            user, _ = User.objects.get_or_create(username=name)
            client = Client()
            client.force_login(user)
            answer = client.get(url + route)
            assert answer.status_code == 200
            if route != "manifest/":
                assert answer.json()["results"][0] == {"me": name}
    cache.clear()


# REST framework


def test_drf_cursor_pagination__a_position_of_another_view_is_taken(serve, mount, client):
    from django.urls import path

    request = RequestFactory().get("/", {"cursor": "cD1hbnl0aGluZw=="})
    request.query_params = request.GET
    assert CursorPagination().decode_cursor(request).position == "anything"
    one = type("One", (ProgressiveView,), {"parts": PARTS})
    two = type("Two", (ProgressiveView,), {"parts": PARTS})
    mount(path("one/", one.as_view()), path("two/", two.as_view()))
    token = first_cursor(client, "/one/")
    assert client.get(at("/one/", token)).status_code == 200
    assert client.get(at("/two/", token)).status_code == 400


def test_drf_throttle__any_header_is_a_client_of_its_own(serve, client, settings):
    throttle = SimpleRateThrottle.__new__(SimpleRateThrottle)
    requests = [RequestFactory().get("/", HTTP_X_FORWARDED_FOR=f"192.0.2.{n}") for n in range(9)]
    assert len({throttle.get_ident(request) for request in requests}) == 9
    assert len({Networks().client(request.META) for request in requests}) == 1


def test_masks__mapped_addresses_are_not_one_household():
    """Masked to a /64, every IPv4 address that is mapped into IPv6 is the same."""
    assert bucket(parse_address("::ffff:192.0.2.1")) != bucket(parse_address("::ffff:8.8.8.8"))


# django-ratelimit, redis-py


@pytest.mark.parametrize("alias", ["refused", "nowhere"])
def test_store__that_refuses_connections_fails_no_request(serve, settings, client, caplog, alias):
    """With Redis refused, throttles raised although they were set to let requests pass."""
    pytest.importorskip("django_redis")
    settings.CACHES = {
        "refused": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": "redis://127.0.0.1:1/0",
        },
        "nowhere": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": "unix:///nowhere/redis.sock",
        },
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    }
    store = (
        "redis.RedisRateLimitStore"
        if alias == "refused"
        else ("django_cache.DjangoCacheRateLimitStore")
    )
    caplog.set_level(logging.CRITICAL)
    for policy, status in [("local", 200), ("open", 200), ("closed", 503)]:
        settings.DJANGO_PARTSTREAM = {
            "ENABLE_RATE_LIMITING": True,
            "RATE_LIMIT_STORE": {
                "BACKEND": f"partstream.backends.rate_limits.{store}",
                "OPTIONS": {"alias": alias},
            },
            "RATE_LIMIT_ON_STORE_ERROR": policy,
        }
        assert client.get(serve(parts=PARTS)).status_code == status
