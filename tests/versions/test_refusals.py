"""The signals of refused requests."""

from __future__ import annotations

import logging

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.test import Client
from rest_framework import exceptions as drf
from rest_framework.authentication import BaseAuthentication, BasicAuthentication
from rest_framework.permissions import IsAuthenticated

from partstream import HybridProgressiveView, signals
from partstream.security.audit import fingerprint
from tests.support.walk_client import at, first_cursor

ALL = {name: value for name, value in vars(signals).items() if isinstance(value, signals.Signal)}


@pytest.fixture
def told():
    """The signals that are sent, by name, with their arguments."""
    told, receivers = [], []
    for name, signal in ALL.items():

        def receive(sender, name=name, **arguments):
            told.append((name, sender.__name__, arguments))

        receivers.append((signal, receive))
        signal.connect(receive, weak=False)
    yield told
    for signal, receive in receivers:
        signal.disconnect(receive)


class Wrong(BaseAuthentication):
    def authenticate(self, request):
        raise drf.AuthenticationFailed("Token hunter2 is wrong.", code="wrong_token")


def deny(error):
    def initial(self, request, *args, **kwargs):
        raise error

    return initial


PARTS = [("a", 1), ("b", 2), ("c", 3)]
CASES = {
    "cursor": ("?cursor=x", {}, ("cursor_rejected", "cursor_invalid")),
    "keys": ("parts/?keys=", {}, ("request_rejected", "keys_invalid")),
    "unknown": ("parts/?keys=zz", {}, ("request_rejected", "part_unknown")),
    "grammar": ("?format=json&format=json", {}, ("request_rejected", "request_invalid")),
    "no credentials": (
        "",
        {"permission_classes": [IsAuthenticated]},
        ("permission_denied", "not_authenticated"),
    ),
    "wrong credentials": (
        "",
        {"authentication_classes": [Wrong]},
        ("authentication_failed", "wrong_token"),
    ),
    "permission": ("", {"initial": deny(drf.PermissionDenied())}, ("permission_denied",) * 2),
    "Django's": ("", {"initial": deny(PermissionDenied("hunter2"))}, ("permission_denied",) * 2),
    "throttled": ("", {"initial": deny(drf.Throttled(2.5))}, ("rate_limited", "throttled")),
    "many codes": (
        "",
        {"initial": deny(drf.AuthenticationFailed({"a": ["hunter2"]}))},
        ("authentication_failed", "authentication_failed"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_signal__tells_of_a_refusal_once(serve, told, case):
    query, attributes, (name, code) = CASES[case]
    url = serve(HybridProgressiveView, parts=PARTS, **attributes)
    answer = Client().get(url + query)
    assert answer.status_code >= 400
    [(sent, sender, arguments)] = told
    assert (sent, sender, arguments["code"]) == (name, "ServedView", code)
    assert arguments["request"].path == url + query.partition("?")[0]
    assert set(arguments) == {
        "signal",
        "request",
        "code",
        "reason",
        "identity",
        "cursor",
        "retry_after",
    }
    assert "hunter2" not in str(arguments)
    assert arguments["retry_after"] == (3 if case == "throttled" else None)
    # Words of REST framework or of the project may quote the client.
    own = case in ("cursor", "keys", "unknown", "grammar")
    assert isinstance(arguments["reason"], str) is own
    assert arguments["cursor"] == (fingerprint("x") if case == "cursor" else None)


def test_signal__of_a_walk_whose_parts_have_changed_has_its_token(serve, told):
    declared = list(PARTS)
    url = serve(get_parts=lambda self: declared, chunk_size=1)
    token = first_cursor(Client(), url)
    declared.reverse()
    assert Client().get(at(url, token)).status_code == 409
    [(_, _, arguments)] = told
    assert (arguments["code"], arguments["cursor"]) == ("cursor_stale", fingerprint(token))
    assert "no longer declared" in arguments["reason"]


@pytest.mark.parametrize("error", [Http404(), drf.NotFound(), drf.ValidationError("x")])
def test_signal__other_errors_have_none(serve, told, error):
    Client().get(serve(parts=PARTS, initial=deny(error)))
    assert told == []


def test_signal__answers_have_none(serve, told):
    assert Client().get(serve(parts=PARTS)).status_code == 200
    assert told == []


def test_signal__a_receiver_that_raises_fails_no_request(serve, caplog):
    def receive(sender, **arguments):
        raise RuntimeError("mine")

    signals.cursor_rejected.connect(receive)
    try:
        answer = Client().get(serve(parts=PARTS), QUERY_STRING="cursor=x")
    finally:
        signals.cursor_rejected.disconnect(receive)
    assert answer.status_code == 400
    assert any(record.levelno == logging.ERROR for record in caplog.records)


@pytest.mark.django_db
def test_signal__of_wrong_credentials_asks_for_the_user_once(serve, told, caplog):
    url = serve(parts=PARTS, authentication_classes=[BasicAuthentication])
    answer = Client().get(url, HTTP_AUTHORIZATION="Basic YWRhOmh1bnRlcjI=")
    assert answer.status_code == 401
    assert [name for name, _, _ in told] == ["authentication_failed"]
    assert "hunter2" not in caplog.text
    assert "YWRh" not in caplog.text
