"""The page at `/` in a real browser, over a real server."""

from __future__ import annotations

import re
from threading import Lock

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection

from partstream import PartError
from shop import dashboard
from tests.shop.test_views import EVERYBODY, STAFF
from tests.support.browser import browser

__all__ = ["browser"]

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

CARDS = [name for name in EVERYBODY if name != "meta"]  # which is drawn in the page's head
WAIT = 30_000  # milliseconds


@pytest.fixture
def server(live_server, monkeypatch):
    """The live server. Where its threads share one connection, they take turns."""
    if connection.vendor == "sqlite" and connection.is_in_memory_db():
        turn = Lock()
        answer = WSGIHandler.get_response

        def answer_in_turn(handler, request):
            with turn:
                return answer(handler, request)

        monkeypatch.setattr(WSGIHandler, "get_response", answer_in_turn)
    return live_server


@pytest.fixture
def page(browser, own_shop, server):
    """A page that is not opened yet; what it complains of fails the test at its end."""
    context = browser.new_context(base_url=server.url, viewport={"width": 1280, "height": 900})
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
    assert page.complaints == []


def states(page) -> dict[str, str]:
    cards = page.locator("[data-part]")
    return dict(
        cards.evaluate_all("all => all.map(card => [card.dataset.part, card.dataset.state])")
    )


def wait_until(page, status):
    page.locator("#status", has_text=re.compile(status)).wait_for()


def card(page, name):
    return page.locator(f'[data-part="{name}"]')


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

    page.route(re.compile(r"\?cursor="), answer)
    return left


def test_page__fills_part_by_part(page, tmp_path):
    seen = []
    page.expose_function("note", lambda count: seen.append(count))
    page.add_init_script(
        """addEventListener("DOMContentLoaded", () => new MutationObserver(() =>
             note(document.querySelectorAll('[data-state="filled"]').length)
           ).observe(document, {subtree: true, attributeFilter: ["data-state"]}));"""
    )
    page.goto("/")
    wait_until(page, "All 11 parts")
    assert states(page) == dict.fromkeys(CARDS, "filled")
    assert page.locator("h1").inner_text() == "Cairn & Co. Outdoor"
    assert page.locator(".bars li").count() == 24
    assert page.locator('[data-part="recent_orders"] tbody tr').count() == 10
    assert "last known rates" in card(page, "exchange_rates").inner_text()
    assert re.search(r"\d", page.locator("#first-time").inner_text())
    assert len(set(seen)) > 3, "the parts came all at once"
    page.screenshot(path=tmp_path / "page.png", full_page=True)


def test_page__shows_skeletons_until_the_parts_come(page):
    held = []
    page.route(re.compile(r"/api/dashboard/(\?|$)"), lambda route: held.append(route), times=1)
    page.goto("/")
    card(page, "margins").or_(card(page, "bought_together")).wait_for()
    assert states(page) == dict.fromkeys(CARDS, "waiting")
    assert card(page, "today").get_attribute("aria-busy") == "true"
    held[0].continue_()
    wait_until(page, "All 11 parts")


def test_page__shows_a_failed_part_and_tries_it_again(page, monkeypatch):
    def fail(request):
        raise PartError("The warehouse is closed.", code="warehouse_closed")

    again = card(page, "slow_stock").get_by_role("button", name="Try again")
    with monkeypatch.context() as closed:
        closed.setattr(dashboard, "get_slow_stock", fail)
        page.goto("/")
        wait_until(page, "All 11 parts")
        assert states(page) == {**dict.fromkeys(CARDS, "filled"), "slow_stock": "failed"}
        assert "The warehouse is closed." in card(page, "slow_stock").inner_text()
        again.click()  # still closed
        card(page, "slow_stock").locator(".failure").wait_for()
    again.click()
    card(page, "slow_stock").locator("table").wait_for()
    assert states(page) == dict.fromkeys(CARDS, "filled")


def test_page__drops_a_card_whose_part_does_not_come(page):
    def promise_more(route):
        answer = route.fetch()
        manifest = answer.json()
        manifest["parts"]["withdrawn"] = {"size": "small"}
        route.fulfill(response=answer, json=manifest)

    page.route("**/manifest/", promise_more)
    page.goto("/")
    card(page, "withdrawn").wait_for()
    wait_until(page, "All 11 parts")
    assert states(page) == dict.fromkeys(CARDS, "filled")


def test_page__shows_staff_their_part(page, client, staff, settings, server):
    client.force_login(staff)
    name = settings.SESSION_COOKIE_NAME
    cookie = {"name": name, "value": client.cookies[name].value, "url": server.url}
    page.context.add_cookies([cookie])
    page.goto("/")
    wait_until(page, "All 12 parts")
    assert list(states(page)) == STAFF[1:]
    assert card(page, "margins").locator("tbody tr").count() == 8


@pytest.mark.parametrize(
    ("status", "code", "times"),
    [(400, "cursor_invalid", 1), (409, "cursor_stale", 2), (410, "cursor_expired", 2)],
)
def test_page__starts_again_as_often_as_it_may(page, status, code, times):
    left = break_next(page, *[lambda route: fulfil(route, status, code)] * times)
    page.goto("/")
    wait_until(page, "All 11 parts")
    assert left == []
    assert states(page) == dict.fromkeys(CARDS, "filled")
    assert page.locator("#notice").is_hidden()
    page.complaints = [text for text in page.complaints if str(status) not in text]


@pytest.mark.parametrize(
    ("status", "code", "times"),
    [(400, "cursor_invalid", 2), (409, "cursor_stale", 3), (410, "cursor_expired", 3)],
)
def test_page__does_not_start_again_for_ever(page, status, code, times):
    break_next(page, *[lambda route: fulfil(route, status, code)] * times)
    page.goto("/")
    wait_until(page, "Stopped")
    assert f"So it is: {code}." in page.locator("#notice").inner_text()
    page.get_by_role("button", name="Start again").click()
    wait_until(page, "All 11 parts")
    page.complaints = [text for text in page.complaints if str(status) not in text]


def test_page__goes_on_where_the_connection_broke(page):
    break_next(page, lambda route: route.abort())
    page.goto("/")
    wait_until(page, "Stopped")
    assert states(page)["today"] == "filled"
    assert states(page)["recent_orders"] == "waiting"
    page.get_by_role("button", name="Continue").click()
    wait_until(page, "All 11 parts")
    assert states(page) == dict.fromkeys(CARDS, "filled")
    page.complaints = [text for text in page.complaints if "ERR_FAILED" not in text]


def test_page__waits_when_it_is_asked_to(page):
    left = break_next(page, lambda route: fulfil(route, 429, "throttled", **{"Retry-After": "1"}))
    page.goto("/")
    wait_until(page, "waiting 1 s")
    wait_until(page, "All 11 parts")
    assert left == []
    page.complaints = [text for text in page.complaints if "429" not in text]


def test_page__times_the_blocking_answer(page):
    page.goto("/")
    wait_until(page, "All 11 parts")
    page.get_by_role("button", name="Time it").click()
    page.get_by_role("button", name="Again").wait_for()
    assert re.fullmatch(r"\d+ ms|\d+\.\d\d s", page.locator("#blocking-value").inner_text())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page__fits_a_narrow_screen(page, tmp_path, scheme):
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme=scheme)
    page.goto("/")
    wait_until(page, "All 11 parts")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
