"""Clients whose requests are refused again and again, through real views."""

from __future__ import annotations

import logging

import pytest
from django.contrib.auth.models import User
from django.test import Client, RequestFactory
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import IsAuthenticated

from partstream import HybridProgressiveView, signals
from partstream.security import suspicion
from partstream.security.audit import fingerprint
from partstream.security.suspicion import THRESHOLD
from tests.support.concurrency import in_threads
from tests.support.walk_client import at, first_cursor
from tests.unit.security.test_audit import NASTY, Handler, is_sound

PARTS = [("a", 1), ("b", 2), ("c", 3)]
LIMITS = {
    "ENABLE_RATE_LIMITING": True,
    "RATE_LIMIT": 10_000,
    "BURST_LIMIT": 10_000,
    # A window of Django's cache may end between two requests; one of these does not.
    "RATE_LIMIT_STORE": "partstream.backends.rate_limits.memory.MemoryRateLimitStore",
}


class ByHeader(BaseAuthentication):
    """A user by name, or a key without a user."""

    def authenticate(self, request):
        name, key = request.headers.get("X-User"), request.headers.get("X-Key")
        if name == "nobody":
            raise AuthenticationFailed("No such user: hunter2.", code="no_such_user")
        if name:
            return User(pk=len(name), username=name), None
        return (None, key) if key else None


class ServedView(HybridProgressiveView):
    authentication_classes = [ByHeader]
    parts = PARTS


@pytest.fixture
def handler():
    logger, handler = logging.getLogger("partstream.audit"), Handler()
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture
def lines(handler):
    """The events of suspected clients in the audit trail."""
    return lambda: [event for event in handler.events if event["event"].startswith("malicious_")]


@pytest.fixture
def suspected():
    """The signals about suspected clients: their senders' names and arguments."""
    found = []

    def receive(sender, **arguments):
        found.append((sender.__name__, arguments))

    signals.client_suspected.connect(receive)
    yield found
    signals.client_suspected.disconnect(receive)


def refuse(url, times=THRESHOLD, client=None, status=400, **options):
    client = client or Client()
    for _ in range(times):
        assert client.get(url, **options).status_code == status


# What is counted


@pytest.mark.parametrize(
    ("path", "options", "status", "reason"),
    [
        ("?cursor=stolen-token", {}, 400, "cursor_invalid"),
        ("?cursor=", {}, 400, "cursor_invalid"),
        ("parts/?keys=orders", {}, 400, "part_unknown"),
        ("parts/?keys=", {}, 400, "keys_invalid"),
        ("?format=json&format=json", {}, 400, "request_invalid"),
        ("", {"headers": {"x-user": "nobody"}}, 403, "authentication_failed"),
        ("parts/?keys=a", {}, 429, "throttled"),
        ("", {}, 429, "throttled"),
    ],
    ids=["cursor", "empty", "unknown", "keys", "query", "login", "throttled", "begun"],
)
def test_client__that_is_refused_again_and_again_is_suspected(
    serve, suspected, lines, settings, path, options, status, reason
):
    settings.DJANGO_PARTSTREAM = LIMITS
    url = serve(ServedView) + path
    if status == 429:
        settings.DJANGO_PARTSTREAM = {**LIMITS, "BURST_LIMIT": 1, "RATE_LIMIT": 1}
        refuse(url, 1, status=200)
    refuse(url, THRESHOLD - 1, status=status, **options)
    assert (suspected, lines()) == ([], [])
    refuse(url, 1, status=status, HTTP_X_REQUEST_ID="r-30", **options)
    [(sender, arguments)] = suspected
    assert sender == "ServedView"
    assert set(arguments) == {"signal", "request", "client", "identity", "counts"}
    assert arguments["request"].path == url.partition("?")[0]
    assert (arguments["identity"], arguments["counts"]) == (None, {reason: THRESHOLD})
    [line] = lines()
    assert line["event"] == "malicious_extraneous"
    assert line["counts"] == f"{reason}={THRESHOLD}"
    assert line["client"] == arguments["client"]
    assert (line["request_id"], line["address"]) == ("r-30", "127.0.0.1")
    assert line["view"] == "tests.conftest.ServedView"
    assert "identity" not in line
    # One line a minute.
    refuse(url, 2 * THRESHOLD, status=status, **options)
    assert len(suspected) == len(lines()) == 1


def test_client__is_suspected_for_all_its_refusals_together(serve, suspected, lines):
    url = serve(ServedView)
    refuse(url + "?cursor=x", 12)
    refuse(url + "parts/?keys=", 8)
    refuse(url, 9, status=403, headers={"x-user": "nobody"})
    assert suspected == []
    refuse(url + "?cursor=x", 1)
    [(_, arguments)] = suspected
    assert arguments["counts"] == {
        "cursor_invalid": 13,
        "keys_invalid": 8,
        "authentication_failed": 9,
    }
    assert lines()[0]["counts"] == "cursor_invalid=13 keys_invalid=8 authentication_failed=9"


def test_client__with_stale_cursors_is_not_suspected(serve, suspected):
    """A deployment makes the cursors of all clients stale, those behind one address too."""
    declared = list(PARTS)
    url = serve(get_parts=lambda self: declared, chunk_size=1)
    token = first_cursor(Client(), url)
    declared.reverse()
    refuse(at(url, token), 2 * THRESHOLD, status=409)
    assert suspected == []


def test_client__without_permission_is_not_suspected(serve, suspected):
    """An open page goes on asking when its user's session has ended."""
    url = serve(parts=PARTS, permission_classes=[IsAuthenticated])
    refuse(url, 2 * THRESHOLD, status=403)
    assert suspected == []


def test_client__from_a_denied_address_is_not_suspected(serve, suspected, settings):
    settings.DJANGO_PARTSTREAM = {"IP_BLOCKLIST": ["127.0.0.1"]}
    refuse(serve(ServedView) + "?cursor=x", 2 * THRESHOLD, status=403)
    assert suspected == []


def test_client__is_not_suspected_when_the_store_is_down(serve, suspected, settings):
    settings.DJANGO_PARTSTREAM = {
        **LIMITS,
        "RATE_LIMIT_STORE": "tests.versions.test_throttling.DownStore",
        "RATE_LIMIT_ON_STORE_ERROR": "closed",
    }
    refuse(serve(ServedView), 2 * THRESHOLD, status=503)
    assert suspected == []


def test_client__whose_requests_are_answered_is_not_looked_at(serve, settings, monkeypatch):
    settings.DJANGO_PARTSTREAM = LIMITS
    seen = []
    monkeypatch.setattr(suspicion, "reason_of", seen.append)
    url = serve(ServedView)
    token = first_cursor(Client(), url)
    for path in ("", f"?cursor={token}", "parts/?keys=a", "manifest/"):
        assert Client().get(url + path).status_code == 200
    assert seen == []
    refuse(url + "?cursor=x", 1)
    assert len(seen) == 1


# The clients that are counted


def test_client__is_the_user_whatever_the_address(serve, suspected, lines, settings):
    settings.DJANGO_PARTSTREAM = {**LIMITS, "TRUSTED_PROXIES": ["127.0.0.1"]}
    url = serve(ServedView) + "?cursor=x"
    for number in range(THRESHOLD - 1):
        address = {"X-Forwarded-For": f"203.0.113.{number}"}
        refuse(url, 1, headers={"x-user": "ada", **address})
        refuse(url, 1, headers={"x-user": "grace", **address})
    assert suspected == []
    refuse(url, 1, headers={"x-user": "ada"})
    [(_, arguments)] = suspected
    identity = fingerprint("user:auth.user:3")
    assert arguments["identity"] == lines()[0]["identity"] == identity
    assert arguments["request"].user.username == "ada"


def test_client__with_a_key_is_that_key(serve, suspected, settings):
    settings.DJANGO_PARTSTREAM = LIMITS
    url = serve(ServedView) + "?cursor=x"
    refuse(url, THRESHOLD - 1, headers={"x-key": "one"})
    refuse(url, THRESHOLD - 1, headers={"x-key": "two"})
    refuse(url, THRESHOLD - 1)
    assert suspected == []
    refuse(url, 1, headers={"x-key": "two"})
    assert [arguments["identity"] for _, arguments in suspected] == [fingerprint("auth::two")]


@pytest.mark.django_db
def test_client__with_new_sessions_is_its_address(serve, suspected, settings):
    settings.DJANGO_PARTSTREAM = LIMITS
    url = serve(parts=PARTS) + "?cursor=x"
    for _ in range(THRESHOLD):
        client = Client()
        session = client.session
        session["seen"] = True
        session.save()
        refuse(url, 1, client)
    [(_, arguments)] = suspected
    assert arguments["identity"] is None


@pytest.mark.django_db
def test_client__of_a_session_is_its_user(serve, suspected, settings, user):
    settings.DJANGO_PARTSTREAM = LIMITS
    client = Client()
    client.force_login(user)
    url = serve(parts=PARTS, authentication_classes=[SessionAuthentication])
    refuse(url + "?cursor=x", client=client)
    assert suspected[0][1]["identity"] == fingerprint(f"user:auth.user:{user.pk}")


def test_client__of_ipv6_is_its_network(serve, suspected):
    url = serve(ServedView) + "?cursor=x"
    for number in range(THRESHOLD):
        refuse(url, 1, REMOTE_ADDR=f"2001:db8::{number:x}")
    assert len(suspected) == 1


@pytest.mark.parametrize("headers", [{}, {"x-user": "ada"}, {"x-key": "one"}])
def test_client__is_the_one_that_the_view_names(serve, suspected, settings, headers):
    settings.DJANGO_PARTSTREAM = LIMITS
    url = serve(ServedView)
    refuse(url + "?cursor=x", headers=headers)
    view = ServedView()
    request = view.initialize_request(RequestFactory().get(url, headers=headers))
    view.perform_authentication(request)
    assert suspected[0][1]["client"] == view.client_of(request)
    assert view.client_limits(request).client == view.client_of(request)


def test_client__is_counted_exactly_by_many_threads(serve, suspected):
    url = serve(ServedView) + "?cursor=x"
    in_threads(16, lambda number: refuse(url, 5, headers={"x-user": "ada"}))
    assert [arguments["counts"] for _, arguments in suspected] == [{"cursor_invalid": THRESHOLD}]


# What is told


def test_line__is_not_written_without_the_audit_trail_but_the_signal_is_sent(
    serve, suspected, handler, settings
):
    settings.DJANGO_PARTSTREAM = {"ENABLE_AUDIT_LOGGING": False}
    refuse(serve(ServedView) + "?cursor=x")
    assert len(suspected) == 1
    assert handler.lines == []


def test_line__of_a_hostile_client_is_sound_and_has_no_secret(serve, handler, settings):
    class Hostile(ServedView):
        def get_identity(self, request):
            return f"hunter2{NASTY}"

    settings.DJANGO_PARTSTREAM = LIMITS
    url = serve(Hostile) + "?cursor=stolen-token&password=hunter3"
    headers = {
        "User-Agent": f"\x1b[2J\r\nevent{'x' * 5000}",
        "X-User": "ada",
        "Cookie": "a=hunter4",
    }
    refuse(url, headers=headers)
    line = handler.lines[-1]
    assert '"event":"malicious_extraneous"' in line
    assert is_sound(line)
    assert "hunter" not in line
    assert "stolen-token" not in line


def test_signal__a_receiver_that_raises_fails_no_request(serve, lines, caplog):
    def receive(sender, **arguments):
        raise RuntimeError("mine")

    signals.client_suspected.connect(receive)
    try:
        refuse(serve(ServedView) + "?cursor=x", 2 * THRESHOLD)
    finally:
        signals.client_suspected.disconnect(receive)
    assert len(lines()) == 1
    assert [record.name for record in caplog.records if record.exc_info] == ["django.dispatch"]
