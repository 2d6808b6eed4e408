"""The page at `/` in a real browser: what it shows, and when."""

from __future__ import annotations

import re

import pytest

from partstream import PartError
from shop import dashboard
from tests.shop.pages import (
    CARDS,
    ENDED,
    MARKS,
    browser,
    card,
    forgive,
    fulfil,
    gate,
    page,
    server,
    states,
    turn,
    wait_for_the_end,
    wait_until,
)
from tests.shop.test_views import STAFF

__all__ = ["browser", "gate", "page", "server", "turn"]

pytestmark = MARKS

AFTER_THE_GATE = ["slow_stock", "customers_at_risk", "bought_together"]


def test_page__shows_what_is_ready_while_the_rest_is_computed(page, gate):
    page.goto("/")
    card(page, "revenue_by_month", "filled").wait_for()
    assert states(page) == {**ENDED, **dict.fromkeys(AFTER_THE_GATE, "waiting")}
    assert page.title() == "Cairn & Co. Outdoor: dashboard"
    assert page.get_by_role("heading", name="Cairn & Co. Outdoor").is_visible()
    assert page.locator(".months li").count() == 24
    assert card(page, "recent_orders").locator("tbody tr").count() == 10
    assert "last known rates" in card(page, "exchange_rates").inner_text()
    assert page.locator("#next").is_hidden()

    gate.set()
    wait_for_the_end(page)
    assert states(page) == ENDED
    assert page.locator("#next").is_visible()
    page.get_by_role("link", name="What to try next").click()
    assert page.url.endswith("#next")


def test_page__shows_skeletons_until_the_parts_come(page):
    held = []
    page.route(re.compile(r"/api/dashboard/\?"), lambda route: held.append(route), times=1)
    with page.expect_request(re.compile(r"/api/dashboard/\?")):
        page.goto("/")
    card(page, "bought_together").wait_for()
    assert states(page) == dict.fromkeys(CARDS, "waiting")
    assert card(page, "today").get_attribute("aria-busy") == "true"
    heights = card_heights(page)
    held[0].continue_()
    wait_for_the_end(page)
    assert card(page, "today").get_attribute("aria-busy") == "false"
    assert card_heights(page) == heights


def card_heights(page):
    return page.locator("[data-part]").evaluate_all("all => all.map(card => card.offsetHeight)")


def test_page__retries_a_failed_part(page):
    page.goto("/")
    wait_for_the_end(page, "Everything is here, except: Parcels out for delivery.")
    assert "The courier did not answer." in card(page, "deliveries").inner_text()
    page.get_by_role("button", name="Retry Parcels out for delivery").click()
    card(page, "deliveries", "filled").locator("table").wait_for()
    wait_until(page, "Parcels out for delivery: here now.")
    assert states(page) == dict.fromkeys(CARDS, "filled")
    assert "all 12 parts" in page.locator("#all").inner_text()
    assert "by Retry" in page.locator('[data-row="deliveries"]').inner_text()
    # Who works with the keyboard is where the button was.
    assert page.evaluate("document.activeElement.dataset.part") == "deliveries"


def test_page__shows_a_skeleton_while_it_retries_and_a_retry_may_fail_again(page, monkeypatch):
    def fail(request):
        raise PartError("The warehouse is closed.", code="warehouse_closed")

    retry = page.get_by_role("button", name="Retry Slow stock")
    with monkeypatch.context() as closed:
        closed.setattr(dashboard, "get_slow_stock", fail)
        page.goto("/")
        wait_for_the_end(page)
        # A plain view has no place for one failure.
        assert "no answer" in page.locator("#one").inner_text()
        forgive(page, "500")
        held = []
        page.route(re.compile(r"[?&]cursor="), lambda route: held.append(route), times=1)
        with page.expect_request(re.compile(r"[?&]cursor=")):
            retry.click()
        assert states(page) == {**ENDED, "slow_stock": "retrying"}
        held[0].continue_()
        wait_until(page, "Slow stock: failed again.")
        assert "The warehouse is closed." in card(page, "slow_stock").inner_text()
    retry.click()
    card(page, "slow_stock", "filled").wait_for()
    assert states(page) == ENDED


def test_page__drops_a_card_whose_part_does_not_come(page):
    def promise_more(route):
        answer = route.fetch()
        manifest = answer.json()
        manifest["parts"]["withdrawn"] = {"size": "small"}
        route.fulfill(response=answer, json=manifest)

    page.route("**/manifest/", promise_more)
    page.goto("/")
    card(page, "withdrawn").wait_for()
    wait_for_the_end(page)
    assert states(page) == ENDED
    assert page.locator("[data-row]").count() == len(CARDS) + 1


def test_page__does_without_the_manifest(page):
    page.route("**/manifest/", lambda route: fulfil(route, 503, "capacity"))
    page.goto("/")
    wait_for_the_end(page)
    assert states(page) == ENDED
    forgive(page, "503")


def test_page__shows_staff_their_part(page, client, staff, settings, server):
    client.force_login(staff)
    name = settings.SESSION_COOKIE_NAME
    cookie = {"name": name, "value": client.cookies[name].value, "url": server.url}
    page.context.add_cookies([cookie])
    page.goto("/")
    wait_for_the_end(page)
    assert states(page) == {**ENDED, "margins": "filled"}
    assert set(states(page)) == set(STAFF[1:])
    assert card(page, "margins").locator("tbody tr").count() == 8


def test_page__tells_the_time_where_the_visitor_is(page):
    page.goto("/")
    wait_for_the_end(page)
    # 17:30 in the shop's time zone is the next day's 2:30 in Tokyo.
    assert re.fullmatch(r"As of Nov 21, 2026, 2:30\sAM", page.locator("#as-of").inner_text())
    assert re.match(r"2:30\sAM$", card(page, "recent_orders").locator("time").first.inner_text())
    # A month of the shop is the same month everywhere.
    assert (page.locator(".months li").first.get_attribute("title") or "").startswith("December 20")


def test_page__has_the_months_of_the_shop_west_of_it_too(browser, own_shop, server):
    context = browser.new_context(base_url=server.url, timezone_id="America/Los_Angeles")
    page = context.new_page()
    page.goto("/")
    wait_for_the_end(page)
    # 17:30 in the shop's time zone is the same day's 9:30 there, in winter.
    assert re.fullmatch(r"As of Nov 20, 2026, 9:30\sAM", page.locator("#as-of").inner_text())
    assert re.match(r"9:30\sAM$", card(page, "recent_orders").locator("time").first.inner_text())
    titles = page.locator(".months li").evaluate_all("all => all.map(item => item.title)")
    months = [title.split(":")[0] for title in titles]
    assert len(set(months)) == 24
    assert months[0] == "December 2024"
    # The clocks change in these.
    assert {"March 2026", "November 2026"} < set(months)
    context.close()


@pytest.mark.parametrize(
    ("one", "other"), [("new", "packed"), ("packed", "shipped"), ("new", "shipped")]
)
def test_page__shows_orders_at_each_step_in_a_look_of_its_own(page, one, other):
    page.goto("/")
    wait_for_the_end(page)
    looks = [
        card(page, "open_orders")
        .locator(f".status.{step}")
        .evaluate(
            """chip => [getComputedStyle(chip).color, getComputedStyle(chip).backgroundColor,
                        getComputedStyle(chip, "::before").content]"""
        )
        for step in (one, other)
    ]
    assert not set(looks[0]) & set(looks[1])
