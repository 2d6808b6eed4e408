from __future__ import annotations

import logging
import re
import threading
from contextvars import copy_context
from functools import partial

import pytest
from django.test import Client, RequestFactory

from partstream import lazy, request_ids
from partstream.logs import RequestIDFilter, get_logger
from partstream.request_ids import current_request_id, request_id


def given(identifier):
    return RequestFactory().get("/", HTTP_X_REQUEST_ID=identifier)


@pytest.mark.parametrize("identifier", ["a", "A-Z.a_z~09", "x" * 64])
def test_request_id__is_that_of_the_header(identifier):
    assert request_id(given(identifier)) == identifier


@pytest.mark.parametrize(
    "identifier", ["", "x" * 65, "a b", "a\r\nb", "é", "\ud800", "a,b", "a\x1b[31m", "%s", "{}"]
)
def test_request_id__that_is_none_is_made(identifier):
    request = given(identifier)
    made = request_id(request)
    assert re.fullmatch("[0-9a-f]{32}", made)
    assert request_id(request) == made
    assert request_id(given(identifier)) != made


@pytest.fixture
def current():
    request_ids.current.set("r-7")
    yield "r-7"
    request_ids.current.set(None)


def test_logger__ends_each_line_in_the_id(caplog, current):
    log = get_logger("partstream.tests")
    log.warning("%d of %s", 1, "many")
    try:
        raise ValueError("no")
    except ValueError:
        log.exception("It failed.")
    assert [record.getMessage() for record in caplog.records] == [
        "1 of many (request r-7)",
        "It failed. (request r-7)",
    ]
    assert caplog.records[1].exc_info
    # Where it was said, and not where it was passed on.
    assert {record.filename for record in caplog.records} == {"test_logs.py"}
    assert {record.name for record in caplog.records} == {"partstream.tests"}
    # What groups lines of one kind.
    assert caplog.records[0].msg == "%d of %s (request %s)"


def test_logger__outside_of_requests_says_no_more(caplog):
    get_logger("partstream.tests").warning("%d of %s", 1, "many")
    assert caplog.messages == ["1 of many"]


def test_filter__gives_every_record_an_id(caplog, current):
    caplog.handler.addFilter(RequestIDFilter())
    logging.getLogger("app").warning("theirs")
    assert caplog.records[0].request_id == "r-7"
    request_ids.current.set(None)
    logging.getLogger("app").warning("theirs")
    assert caplog.records[1].request_id == "-"


def test_current__is_of_this_context_alone(current):
    seen = []

    def look():
        seen.append(current_request_id())

    for target in (look, partial(copy_context().run, look)):
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
    assert seen == [None, "r-7"]


def test_view__loaders_know_the_id_and_nothing_is_left_behind(serve, executor):
    seen = []
    url = serve(
        parts=[("a", lazy(lambda request: seen.append(current_request_id())))], executor=executor
    )
    answer = Client().get(url, HTTP_X_REQUEST_ID="r-8")
    assert answer.headers["X-Request-ID"] == "r-8"
    assert seen == ["r-8"]
    assert current_request_id() is None


def test_view__that_fails_leaves_nothing_behind(serve):
    url = serve(get_parts=lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Client().get(url)
    assert current_request_id() is None
