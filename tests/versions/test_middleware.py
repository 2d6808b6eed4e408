"""The middleware, in each combination and order, under WSGI and ASGI; and views without any."""

from __future__ import annotations

import asyncio
import logging
import re
from functools import wraps

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.base import BaseHandler
from django.http import HttpResponse, JsonResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import include, path
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from partstream import HybridProgressiveView, ProgressiveView, lazy
from partstream.logs import RequestIDFilter
from partstream.mixins import ChunkMixin, CursorMixin

DELIVERY = "partstream.middleware.ProgressiveDeliveryMiddleware"
SECURITY = "partstream.middleware.SecurityMiddleware"
DJANGO = [
    "django.middleware.common.CommonMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]


def sync_only(get_response):
    """A middleware of the old kind in between."""
    return lambda request: get_response(request)


sync_only.sync_capable, sync_only.async_capable = True, False
SYNC_ONLY = f"{__name__}.sync_only"

PLACES = {
    "first": ([], DJANGO),
    "last": (DJANGO, []),
    "before a sync one": (DJANGO[:1], [SYNC_ONLY, *DJANGO[1:]]),
}
OURS = {
    "none": [],
    "delivery": [DELIVERY],
    "security": [SECURITY],
    "delivery, security": [DELIVERY, SECURITY],
    "security, delivery": [SECURITY, DELIVERY],
}


class Board(HybridProgressiveView):
    parts = [("a", 1), ("b", lazy("get_b")), ("c", 3)]

    def get_b(self, request):
        return 2


class Broken(ProgressiveView):
    def get_parts(self):
        raise ValueError("mine")


def other(request):
    return JsonResponse({"mine": True})


def redirecting(view):
    """A decorator that answers in the view's place, and says whose it is."""
    return wraps(view)(lambda request, *args, **kwargs: HttpResponse(status=302))


@pytest.fixture(params=["wsgi", "asgi"])
def ask(request, mount):
    """Asks for a path in either world."""
    mount(
        path("board/", include(Board.urls(name="board"))),
        path("other/", other),
        path("login/", redirecting(Board.as_view())),
        path("broken/", Broken.as_view()),
    )
    if request.param == "wsgi":
        client = Client(raise_request_exception=False)
        return lambda url, **extra: client.get(url, **extra)
    client = AsyncClient(raise_request_exception=False)

    def ask(url, **extra):
        # Names of headers, as an ASGI server has them.
        headers = {
            name.removeprefix("HTTP_").replace("_", "-").lower(): text
            for name, text in extra.items()
            if name.startswith("HTTP_")
        }
        return asyncio.run(client.get(url, headers=headers))

    return ask


# Every stack


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("ours", OURS)
def test_stack__changes_no_answer(ask, settings, ours, place):
    before, after = PLACES[place]
    settings.MIDDLEWARE = [*before, *OURS[ours], *after]
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    url, answers = "/board/", []
    while url:
        answer = ask(url, HTTP_X_REQUEST_ID="r-1")
        assert answer.status_code == 200, answer.content
        assert answer.headers["X-Request-ID"] == "r-1"
        assert answer.headers["Cache-Control"] == "private, no-store"
        assert {"Accept", "Authorization", "Cookie"} <= set(answer.headers["Vary"].split(", "))
        answers += answer.json()["results"]
        link = re.fullmatch(r'<(.+)>; rel="next"', answer.headers.get("Link", ""))
        url = link and f"/board/{link[1]}"
    assert answers == [{"a": 1}, {"b": 2}, {"c": 3}]

    for query, code in [
        ("?cursor=x", "cursor_invalid"),
        ("?format=json&format=api", "request_invalid"),
        ("parts/?keys=zz", "part_unknown"),
    ]:
        answer = ask(f"/board/{query}", HTTP_X_REQUEST_ID="r\r\n-1")
        assert (answer.status_code, answer.json()["code"]) == (400, code)
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"])
        assert answer.headers["Cache-Control"] == "private, no-store"

    answer = ask("/other/")
    assert answer.json() == {"mine": True}
    assert not {"X-Request-ID", "Cache-Control"} & answer.headers.keys()
    assert ask("/nowhere/").status_code == 404

    settings.DJANGO_PARTSTREAM = {"IP_BLOCKLIST": ["127.0.0.1"]}
    answer = ask("/board/")
    assert (answer.status_code, answer.json()["code"]) == (403, "ip_denied")
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert ask("/other/").status_code == 200


# What each is for


def test_delivery__answers_made_in_the_views_place(ask, settings):
    settings.MIDDLEWARE = [DELIVERY, *DJANGO]
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    for url, status in [("/broken/", 500), ("/login/", 302)]:
        answer = ask(url, HTTP_X_REQUEST_ID="r-2")
        assert answer.status_code == status
        assert answer.headers["X-Request-ID"] == "r-2"
        assert answer.headers["Cache-Control"] == "private, no-store"


def test_delivery__every_line_of_the_log_has_the_id(ask, settings, caplog):
    settings.MIDDLEWARE = [DELIVERY]
    caplog.set_level(logging.INFO)
    caplog.handler.addFilter(RequestIDFilter())
    ask("/broken/", HTTP_X_REQUEST_ID="r-3")
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.name == "django.request"
    assert record.request_id == "r-3"
    caplog.clear()
    ask("/board/?cursor=x", HTTP_X_REQUEST_ID="r-4")
    # Django's own line comes after the view, under ASGI in a thread of its choosing.
    lines = [record for record in caplog.records if record.name.startswith(("django", "partst"))]
    assert {record.name for record in lines} >= {"django.request", "partstream.audit"}
    assert {record.request_id for record in lines} == {"r-4"}
    caplog.clear()
    logging.getLogger("app").warning("afterwards")
    assert caplog.records[0].request_id == "-"


def test_security__refuses_before_decorators_and_transactions(ask, settings):
    settings.MIDDLEWARE = [SECURITY]
    assert ask("/login/").status_code == 302
    settings.DJANGO_PARTSTREAM = {"IP_BLOCKLIST": ["127.0.0.1"]}
    answer = ask("/login/")
    assert (answer.status_code, answer.json()["code"]) == (403, "ip_denied")


def test_security__of_a_view_set(mount, settings):
    class Boards(CursorMixin, ChunkMixin, GenericViewSet):
        parts = [("a", 1)]

        def list(self, request):
            return self.walk_response(request)

    mount(path("boards/", Boards.as_view({"get": "list"})))
    settings.MIDDLEWARE = [SECURITY]
    assert Client().get("/boards/").status_code == 200
    assert Client().get("/boards/?format=json&format=api").json()["code"] == "request_invalid"


def test_security__the_project_answers_in_its_own_shape(mount, settings):
    class Shaped(Board):
        def get_exception_handler(self):
            return lambda exc, context: Response({"error": exc.get_codes()}, exc.status_code)

    mount(path("board/", Shaped.as_view()))
    settings.MIDDLEWARE = [SECURITY]
    assert Client().get("/board/?format=json&format=api").json() == {"error": "request_invalid"}


def test_middleware__costs_other_views_no_thread_under_asgi(mount, settings):
    """Their `process_view` is asynchronous where the stack is, so Django takes no thread for it."""
    mount(path("other/", other))
    settings.MIDDLEWARE = [DELIVERY, SECURITY]
    handler = ASGIHandler()
    assert all(asyncio.iscoroutinefunction(method) for method in handler._view_middleware)


def test_middleware__misuse_of_settings_is_not_hidden(mount, settings):
    mount(path("board/", Board.as_view()), path("other/", other))
    settings.MIDDLEWARE = [DELIVERY, SECURITY]
    settings.DJANGO_PARTSTREAM = {"IP_BLOCKLIST": ["300.0.0.0/8"]}
    assert Client().get("/other/").status_code == 200
    with pytest.raises(Exception, match="IP_BLOCKLIST"):
        Client().get("/board/")


def test_atomic_requests__no_transaction_is_opened_for_what_is_refused(
    mount, settings, monkeypatch
):
    opened = []
    make = BaseHandler.make_view_atomic
    monkeypatch.setattr(
        BaseHandler, "make_view_atomic", lambda self, view: opened.append(view) or make(self, view)
    )
    mount(path("board/", Board.as_view()))
    for stack, count in ([[], 1], [[SECURITY], 0]):
        opened.clear()
        with override_settings(MIDDLEWARE=stack):
            assert Client().get("/board/?format=json&format=api").status_code == 400
        assert len(opened) == count


class Methods:
    def answer(self, request):
        return HttpResponse("plain")


def test_middleware__passes_views_by_that_take_no_attributes(client, mount, settings):
    settings.MIDDLEWARE = [DELIVERY, SECURITY]
    mount(path("method/", Methods().answer))
    for _ in range(2):
        response = client.get("/method/")
        assert (response.content, "X-Request-ID" in response.headers) == (b"plain", False)
