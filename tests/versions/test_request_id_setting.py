"""``REQUEST_ID``: the project's own function of the id of a request."""

from __future__ import annotations

import logging
import re

import pytest
from django.core.checks import run_checks
from django.http import HttpRequest
from django.test import Client, RequestFactory
from django.urls import path

from partstream import ProgressiveView, lazy
from partstream.exceptions import Misuse
from partstream.request_ids import current_request_id, request_id

DELIVERY = "partstream.middleware.ProgressiveDeliveryMiddleware"
ASKED = []
RANDOM = re.compile("[0-9a-f]{32}")


def own(request):
    """Returns what the project's middleware has found."""
    ASKED.append(request)
    return getattr(request, "guid", None)


def makes_ids(get_response):
    """The project's own middleware."""

    def middleware(request):
        request.guid = request.headers.get("X-Guid")
        return get_response(request)

    return middleware


async def later(request):
    return "x"


def broken(request):
    raise LookupError("no id")


@pytest.fixture(autouse=True)
def use(settings):
    """Put a function of this module into force."""

    def use(name):
        ASKED.clear()
        settings.DJANGO_PARTSTREAM = {"REQUEST_ID": f"{__name__}.{name}"}

    use("own")
    return use


@pytest.fixture
def answer(mount, settings):
    """Asks a view whose loader returns the id that it sees."""

    class Board(ProgressiveView):
        parts = [("seen", lazy(lambda request: current_request_id()))]

    mount(path("board/", Board.as_view()))
    settings.MIDDLEWARE = [f"{__name__}.makes_ids"]
    return lambda **headers: Client().get("/board/", **headers)


@pytest.mark.parametrize("delivery", [False, True], ids=["view alone", "middleware"])
def test_setting__the_id_is_the_projects_everywhere(answer, settings, caplog, delivery):
    if delivery:
        settings.MIDDLEWARE = [DELIVERY, *settings.MIDDLEWARE]
    given = answer(HTTP_X_GUID="own-1", HTTP_X_REQUEST_ID="proxy-1")
    assert given.headers["X-Request-ID"] == "own-1"
    assert given.json()["results"] == [{"seen": "own-1"}]
    # Once a request, with Django's own.
    assert [type(request) for request in ASKED] == [type(given.wsgi_request)]
    assert isinstance(ASKED[0], HttpRequest)
    answer(HTTP_X_GUID="own-2", QUERY_STRING="cursor=x")
    (line,) = [text for text in caplog.messages if text.startswith('{"time"')]
    assert '"request_id":"own-2"' in line


def test_setting__none_falls_back_to_the_header_or_a_random_id(answer, caplog):
    assert answer(HTTP_X_REQUEST_ID="proxy-1").headers["X-Request-ID"] == "proxy-1"
    assert RANDOM.fullmatch(answer().headers["X-Request-ID"])
    assert caplog.messages == []


@pytest.mark.parametrize("value", ["a b", "", "x" * 65, "a\r\nX-Evil: 1", b"a", 7])
def test_setting__an_id_that_breaks_the_grammar_is_ignored_with_one_warning(caplog, value):
    for _ in range(2):
        request = RequestFactory().get("/", HTTP_X_REQUEST_ID="proxy-1")
        request.guid = value
        assert request_id(request) == "proxy-1"
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("partstream.requests", logging.WARNING)
    assert record.getMessage().startswith(
        f"DJANGO_PARTSTREAM['REQUEST_ID'] = '{__name__}.own' returned {value!r}"[:150]
    )
    assert "\r" not in record.getMessage()


def test_setting__a_function_that_raises_leaves_the_error_page_an_id(answer, settings, use):
    settings.MIDDLEWARE = [DELIVERY]
    use("broken")
    with pytest.raises(LookupError, match="no id"):
        answer()
    page = Client(raise_request_exception=False).get("/board/", HTTP_X_REQUEST_ID="proxy-1")
    assert (page.status_code, page.headers["X-Request-ID"]) == (500, "proxy-1")


def errors():
    return [message for message in run_checks() if message.id == "partstream.E013"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nothing", f"cannot be imported: {__name__} has no 'nothing'."),
        ("later", "is a coroutine function."),
        ("RANDOM", "is not a function."),
    ],
)
def test_setting__that_cannot_be_used_is_misuse_and_an_error_of_check(answer, use, name, says):
    use(name)
    (message,) = errors()
    assert message.msg.startswith(f"DJANGO_PARTSTREAM['REQUEST_ID'] = '{__name__}.{name}' {says}")
    with pytest.raises(Misuse) as caught:
        answer()
    assert str(caught.value) == message.msg


def test_setting__that_can_be_used_is_no_error(settings):
    assert errors() == []
    settings.DJANGO_PARTSTREAM = {"REQUEST_ID": None}
    assert errors() == []
    settings.DJANGO_PARTSTREAM = {"REQUEST_ID": "nodots"}
    assert errors() == []  # Another check reports it.
