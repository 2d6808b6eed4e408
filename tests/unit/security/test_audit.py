from __future__ import annotations

import io
import json
import logging
import re

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.test import Client, RequestFactory
from django.utils.functional import SimpleLazyObject
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from partstream import ProgressiveView, lazy
from partstream.exceptions import Misuse
from partstream.security import AuditLogger
from partstream.security.audit import FIELDS, MAX_EVENTS, MAX_LINE, fingerprint
from partstream.signals import cursor_rejected
from tests.support.walk_client import first_cursor

NASTY = '\r\n{"forged":1}\x1b[31m\x00\x7f\u2028\u2029\u202e\u2066\ufeff\U000e0041\ud800é'


class Handler(logging.Handler):
    """Keeps the lines as a stream handler writes them."""

    def __init__(self):
        super().__init__()
        self.stream = io.StringIO()

    def emit(self, record):
        self.stream.write(self.format(record) + "\n")

    @property
    def lines(self):
        return self.stream.getvalue().split("\n")[:-1]

    @property
    def events(self):
        return [json.loads(line) for line in self.lines]


@pytest.fixture
def handler():
    logger, handler = logging.getLogger("partstream.audit"), Handler()
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def is_sound(line):
    """One JSON object, printable ASCII throughout, of at most 4 KB, with known fields only."""
    assert re.fullmatch(r"[\x20-\x7e]+", line)
    assert len(line) <= MAX_LINE
    event = json.loads(line)
    assert [name for name in FIELDS if name in event] == list(event)
    return True


# Under DEBUG


@pytest.fixture
def console(settings):
    """What reaches the root's handler, where the project debugs."""
    settings.DEBUG = True
    console = Handler()
    logging.getLogger().addHandler(console)
    yield console
    logging.getLogger().removeHandler(console)


def test_debug__the_console_shows_no_audit_trail(console, settings):
    assert AuditLogger().write("authz_fail") is False
    assert console.lines == []
    settings.DEBUG = False
    assert AuditLogger().write("authz_fail") is True
    assert len(console.lines) == 1


def test_debug__a_handler_that_the_project_asks_for_has_it(console, handler):
    assert AuditLogger().write("authz_fail") is True
    assert len(handler.lines) == len(console.lines) == 1


def test_debug__a_handler_of_partstream_counts(console):
    logger, own = logging.getLogger("partstream"), Handler()
    logger.addHandler(own)
    try:
        assert AuditLogger().write("authz_fail") is True
    finally:
        logger.removeHandler(own)
    assert len(own.lines) == 1


def test_debug__signals_are_sent_still(console, client, serve):
    sent = []
    cursor_rejected.connect(lambda **arguments: sent.append(arguments["code"]), weak=False)
    client.get(serve(parts=[("a", 1)]), {"cursor": "x"})
    assert sent == ["cursor_invalid"]
    assert [line for line in console.lines if line.startswith("{")] == []


def test_write__is_one_line_of_json(handler):
    request = RequestFactory().get(
        "/api/", {"token": "secret"}, HTTP_USER_AGENT="curl/8", HTTP_X_REQUEST_ID="r-1"
    )
    request.user = User(pk=7, username="ada")
    audit = AuditLogger(clock=lambda: 1_800_000_000.25)
    assert audit.write("authz_fail", request, code="ip_denied", retry_after=3) is True
    assert handler.events == [
        {
            "time": "2027-01-15T08:00:00.250+00:00",
            "event": "authz_fail",
            "code": "ip_denied",
            "method": "GET",
            "path": "/api/",
            "address": "127.0.0.1",
            "user": "User:7",
            "agent": "curl/8",
            "request_id": "r-1",
            "retry_after": 3,
        }
    ]


def test_write__without_a_request(handler):
    assert AuditLogger().write("sys_startup", reason="deployed")
    [event] = handler.events
    assert (event["event"], event["reason"], "path" in event) == ("sys_startup", "deployed", False)


def test_write__a_field_of_another_name_is_misuse(handler):
    with pytest.raises(Misuse, match="password: not a field of the audit trail"):
        AuditLogger().write("authz_fail", password="hunter2")
    assert handler.lines == []


@pytest.mark.parametrize("per_minute", [0, -1, 1.5, None, True])
def test_audit_logger__a_cap_that_is_none_is_misuse(per_minute):
    with pytest.raises(Misuse, match="per_minute"):
        AuditLogger(per_minute=per_minute)


def test_write__does_not_load_the_user(handler):
    asked = []
    request = RequestFactory().get("/")
    request.user = SimpleLazyObject(lambda: asked.append(1) or User(pk=7))
    AuditLogger().write("authz_fail", request)
    assert asked == []
    assert request.user.pk == 7
    AuditLogger().write("authz_fail", request)
    request.user = AnonymousUser()
    AuditLogger().write("authz_fail", request)
    assert [event.get("user") for event in handler.events] == [None, "User:7", None]


# What is hostile


@pytest.mark.parametrize("text", [NASTY, NASTY * 50_000, "\U0001f600" * 1_000_000, "é" * 3000])
def test_write__everything_hostile_at_once_is_one_line(handler, text):
    request = RequestFactory().get("/")
    request.path, request.method = f"/{text}", text
    request.META |= {"HTTP_USER_AGENT": text, "REMOTE_ADDR": text, "HTTP_X_REQUEST_ID": text}
    request.user = User(username=text)
    request.user.pk = text
    fields = dict.fromkeys(("code", "reason", "view", "identity", "cursor"), text)
    AuditLogger().write("authz_fail", request, retry_after=10**5000, **fields)
    [line] = handler.lines
    assert is_sound(line)
    event = json.loads(line)
    assert "forged" not in event
    assert event["reason"].endswith("...") or event["reason"] == text
    # A request that brings no id of its own has one.
    assert re.fullmatch("[0-9a-f]{32}", event["request_id"])


def test_write__an_event_of_any_length_is_short(handler):
    AuditLogger().write("x" * 5000)
    assert is_sound(handler.lines[0])


def test_write__of_a_drf_request_does_not_load_the_user(handler):
    class Authenticator(BaseAuthentication):
        def authenticate(self, request):
            AuditLogger().write("authn_login_fail", request, reason="no such key")

    django_request = RequestFactory().get("/")
    request = Request(django_request, authenticators=[Authenticator()])
    assert request.user.is_anonymous
    AuditLogger().write("authz_fail", django_request)
    first, second = handler.events
    assert first["reason"] == "no such key"
    assert first["request_id"] == second["request_id"]


def test_write__a_user_that_raises_loses_no_event(handler):
    class Odd:
        @property
        def pk(self):
            raise RuntimeError("no key")

    request = RequestFactory().get("/")
    request.user = Odd()
    AuditLogger().write("authz_fail", request)
    assert "user" not in handler.events[0]


class Shouting(int):
    def __str__(self):
        return 'x","event":"forged'

    __repr__ = __str__


@pytest.mark.parametrize(
    ("value", "written"),
    [(True, True), (False, False), (7, 7), (Shouting(7), 'x","event":"forged'), (0.5, "0.5")],
    ids=["true", "false", "int", "shouting", "float"],
)
def test_write__values_of_other_kinds_are_json_too(handler, value, written):
    AuditLogger().write("authz_fail", reason=value)
    assert is_sound(handler.lines[0])
    assert handler.events[0]["reason"] == written


# Floods


def test_write__a_flood_is_capped_and_counted(handler):
    now = [0.0]
    audit = AuditLogger(per_minute=3, clock=lambda: now[0])
    written = [audit.write("authz_fail") for _ in range(10)]
    assert written == [True] * 3 + [False] * 7
    # Another event is not suppressed with it.
    assert audit.write("authn_login_fail") is True
    now[0] = 60.0
    assert audit.write("authz_fail") is True
    assert audit.write("authz_fail") is True
    assert [event.get("suppressed") for event in handler.events] == [None] * 4 + [7, None]


def test_write__many_events_take_bounded_room():
    audit = AuditLogger()
    for number in range(10_000):
        audit.write(f"event_{number}")
    assert len(audit._counts) <= MAX_EVENTS + 1


# Handlers that fail


class BrokenHandler(logging.Handler):
    def emit(self, record):
        raise OSError("the disk is full")


@pytest.fixture
def broken_logs():
    """The logs of the package and of its signals fail as a handler should not."""
    handler = BrokenHandler()
    loggers = [logging.getLogger(name) for name in ("partstream", "django.dispatch")]
    for logger in loggers:
        logger.addHandler(handler)
    yield
    for logger in loggers:
        logger.removeHandler(handler)


def test_write__a_handler_that_fails_is_reported_on_stderr(broken_logs, capsys):
    assert AuditLogger().write("authz_fail") is True
    assert "the disk is full" in capsys.readouterr().err


def test_view__answers_whatever_its_log_does(serve, broken_logs, capsys):
    def fail(request):
        raise ValueError("password=hunter2")

    url = serve(parts=[("a", 1), ("b", lazy(fail))])
    answer = Client().get(url)
    assert answer.status_code == 200
    assert answer.json()["errors"][0]["code"] == "part_failed"
    assert "hunter2" not in answer.content.decode()
    assert Client().get(url, QUERY_STRING="cursor=x").status_code == 400
    assert "the disk is full" in capsys.readouterr().err


# What views tell


def refuse(serve, query="cursor=stolen-token", **meta):
    url = serve(parts=[("a", 1), ("b", 2), ("c", 3)])
    return Client().get(url, QUERY_STRING=query, **meta)


def test_refusal__has_the_true_reason_and_no_secret(serve, handler):
    answer = refuse(
        serve,
        "cursor=stolen-token&api_key=hunter2",
        HTTP_AUTHORIZATION="Bearer hunter3",
        HTTP_COOKIE="sessionid=hunter4",
        HTTP_X_REQUEST_ID="r-9",
    )
    assert answer.status_code == 400
    [line], [event] = handler.lines, handler.events
    assert "stolen-token" not in line
    assert "hunter" not in line
    assert event["event"] == "input_validation_fail"
    assert event["code"] == "cursor_invalid"
    assert event["reason"] == "it was made under another key, or was changed"
    assert event["view"] == "tests.conftest.ServedView"
    assert event["cursor"] == fingerprint("stolen-token")
    assert event["request_id"] == answer.headers["X-Request-ID"] == "r-9"


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("cursor=", "the cursor is empty"),
        ("cursor=a&cursor=b", "the cursor is given more than once"),
        (f"cursor={'a' * 1025}", "the cursor is longer than MAX_CURSOR_SIZE"),
        ("cursor=%C3%A9", "the cursor has a character that no token has"),
        ("cursor={spoilt}", "it was made under another key, or was changed"),
        ("cursor={token}&year=1", "the cursor is bound to another identity, view, path or query"),
    ],
    ids=["empty", "repeated", "long", "grammar", "tampered", "bound"],
)
def test_refusal__the_client_sees_one_body_and_the_trail_the_reason(serve, handler, query, reason):
    """Guard 5."""
    url = serve(parts=[("a", 1), ("b", 2), ("c", 3)])
    token = first_cursor(Client(), url)
    spoilt = token[:-1] + ("A" if token[-1] != "A" else "Q")
    answer = Client().get(url, QUERY_STRING=query.format(token=token, spoilt=spoilt))
    assert answer.content == (
        b'{"detail":"This cursor is not valid here. Start again without a cursor.",'
        b'"code":"cursor_invalid"}'
    )
    [event] = handler.events
    assert (event["event"], event["code"]) == ("input_validation_fail", "cursor_invalid")
    assert event["reason"] == reason


def test_refusal__of_a_session_does_not_tell_its_key(serve, handler, db):
    client = Client()
    session = client.session
    session["seen"] = True
    session.save()
    url = serve(parts=[("a", 1), ("b", 2), ("c", 3)])
    client.get(url, QUERY_STRING="cursor=x")
    [line], [event] = handler.lines, handler.events
    assert session.session_key not in line
    assert event["identity"] == fingerprint(f"session:{session.session_key}")


@pytest.mark.django_db
def test_refusal__hostile_names_stay_in_their_line(serve, handler):
    class View(ProgressiveView):
        parts = [("a", 1)]

        def get_identity(self, request):
            return NASTY

    answer = Client().get(
        serve(View),
        QUERY_STRING=f"cursor=%0D%0A{'x' * 4000}",
        HTTP_USER_AGENT="\x1b[2J\r\nSet-Cookie: a",
    )
    assert answer.status_code == 400
    [line] = handler.lines
    assert is_sound(line)


def test_refusal__can_be_switched_off(serve, handler, settings):
    settings.DJANGO_PARTSTREAM = {"ENABLE_AUDIT_LOGGING": False}
    assert refuse(serve).status_code == 400
    assert handler.lines == []
