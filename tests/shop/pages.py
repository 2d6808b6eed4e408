"""What the tests of the page share: the page in a browser, over a real server."""

from __future__ import annotations

import re
from contextlib import contextmanager, nullcontext
from threading import Condition, Event, Lock

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection

from partstream.testing import inline
from shop import dashboard
from tests.shop.test_views import EVERYBODY
from tests.support.browser import browser

__all__ = ["browser", "gate", "page", "server", "turn"]

MARKS = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
CARDS = [name for name in EVERYBODY if name != "meta"]  # which is drawn around the cards
ENDED = {**dict.fromkeys(CARDS, "filled"), "deliveries": "failed"}
WAIT = 60_000  # milliseconds


class Turn:
    """What threads take that share one connection."""

    def __init__(self):
        self._lock = Lock()
        self._changed = Condition()
        self._takers = 0

    def __enter__(self):
        with self._changed:
            self._takers += 1
        self._lock.acquire()

    def __exit__(self, *exc_info):
        self._lock.release()
        with self._changed:
            self._takers -= 1
            self._changed.notify_all()

    @contextmanager
    def left(self):
        """Let others have it for a while."""
        self._lock.release()
        try:
            yield
        finally:
            self._lock.acquire()

    def wait_until_nobody_wants_it(self):
        with self._changed:
            assert self._changed.wait_for(lambda: self._takers == 0, WAIT / 1000)


@pytest.fixture
def turn():
    """The turn that the threads of the live server take, if they share one connection."""
    shared = connection.vendor == "sqlite" and connection.is_in_memory_db()
    return Turn() if shared else None


@pytest.fixture
def server(live_server, monkeypatch, empty_cache, turn):
    """The live server."""
    if turn:
        answer = WSGIHandler.get_response

        def answer_in_turn(handler, request):
            with turn:
                response = answer(handler, request)
            if response.streaming:
                response.streaming_content = in_turn(response.streaming_content)
            return response

        def in_turn(content):
            pieces = iter(content)
            while True:
                with turn:
                    piece = next(pieces, None)
                if piece is None:
                    return
                yield piece

        monkeypatch.setattr(WSGIHandler, "get_response", answer_in_turn)
    with inline():
        yield live_server
    if turn:
        # An answer that nobody waits for any more still reads the database, which is emptied next.
        turn.wait_until_nobody_wants_it()


@pytest.fixture
def page(browser, own_shop, server):
    """A page that is not opened yet; what it complains of fails the test at its end."""
    context = browser.new_context(
        base_url=server.url, viewport={"width": 1280, "height": 900}, timezone_id="Asia/Tokyo"
    )
    context.set_default_timeout(WAIT)
    page = context.new_page()
    page.complaints = []
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on(
        "console",
        lambda message: (
            message.type in ("error", "warning") and page.complaints.append(message.text)
        ),
    )
    yield page
    context.close()
    # A busy machine may hold a stream back for so long that the client takes it for buffered.
    assert [text for text in page.complaints if "so this page walks" not in text] == []


@pytest.fixture
def gate(monkeypatch, turn):
    """Nobody gets the slow stock, in whatever way, until the gate is set."""
    gate = Event()
    load = dashboard.get_slow_stock

    def load_behind_the_gate(request):
        with turn.left() if turn else nullcontext():
            assert gate.wait(WAIT / 1000)
        return load(request)

    monkeypatch.setattr(dashboard, "get_slow_stock", load_behind_the_gate)
    yield gate
    gate.set()


def states(page) -> dict[str, str]:
    """The state of each card, in the order of the page."""
    cards = page.locator("[data-part]")
    return dict(
        cards.evaluate_all("all => all.map(card => [card.dataset.part, card.dataset.state])")
    )


def texts(page) -> dict[str, str]:
    """What each card says."""
    cards = page.locator("[data-part]")
    return dict(cards.evaluate_all("all => all.map(card => [card.dataset.part, card.innerText])"))


def card(page, name, state=None):
    return page.locator(f'[data-part="{name}"]' + (f'[data-state="{state}"]' if state else ""))


def wait_until(page, status, timeout=WAIT):
    page.locator("#status", has_text=re.compile(status)).wait_for(timeout=timeout)


def wait_for_the_end(page, status="Everything is here"):
    """Wait until the dashboard and the one response beside it have ended."""
    wait_until(page, status)
    page.locator('#one:not([data-state="running"])').wait_for()


def choose(page, mode):
    page.get_by_role("radio", name=mode).check(force=True)  # its label covers it


def fulfil(route, status, code, **headers):
    """Answer as the server would on such a day."""
    route.fulfill(
        status=status, headers=headers, json={"detail": f"So it is: {code}.", "code": code}
    )


def break_next(page, *answers):
    """Let the next requests with a cursor be answered like this, one answer each."""
    left = list(answers)

    def answer(route):
        if left:
            left.pop(0)(route)
        else:
            route.continue_()

    page.route(re.compile(r"[?&]cursor="), answer)
    return left


def forgive(page, text):
    """The browser tells of each failed request."""
    page.complaints = [complaint for complaint in page.complaints if text not in complaint]
