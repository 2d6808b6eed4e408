"""The page on a bad day: lines that are cut, refusals and waits."""

from __future__ import annotations

import pytest

from tests.shop.pages import (
    CARDS,
    ENDED,
    MARKS,
    break_next,
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

__all__ = ["browser", "gate", "page", "server", "turn"]

pytestmark = MARKS

# The client gives up on a silent server after 15 seconds, and that is not meant here.
SOON = 12_000  # milliseconds

COUNT_FILLS = """
window.fills = {};
addEventListener("DOMContentLoaded", () => new MutationObserver((changes) => {
  for (const { target } of changes) {
    const { part, state } = target.dataset;
    if (state === "filled" || state === "failed") fills[part] = (fills[part] ?? 0) + 1;
  }
}).observe(document.querySelector("#parts"), { subtree: true, attributeFilter: ["data-state"] }));
"""


def test_line__is_cut_and_the_page_goes_on_from_where_it_stopped(page, gate):
    asked = []
    page.on("request", lambda request: "/api/dashboard/?" in request.url and asked.append(request))
    page.add_init_script(COUNT_FILLS)
    page.goto("/")
    card(page, "revenue_by_month", "filled").wait_for()
    cut = page.get_by_role("button", name="Cut the line")
    cut.click()
    wait_until(page, "Connection lost. Going on from where it stopped.", SOON)
    assert page.locator(".cut").count() == 1
    gate.set()
    wait_for_the_end(page, "The connection was lost, and it went on.")
    assert states(page) == ENDED
    assert page.evaluate("fills") == dict.fromkeys(CARDS, 1)
    assert len(asked) == 2
    assert "cursor=" in asked[1].url
    assert cut.is_disabled()


@pytest.mark.parametrize("by", ["walk", "ready-first", "keys"])
def test_line__is_cut_in_other_modes_too(page, gate, by):
    page.add_init_script(COUNT_FILLS)
    page.goto(f"/?by={by}")
    page.locator("#cut:enabled").click()
    wait_until(page, "Connection lost", SOON)
    gate.set()
    wait_for_the_end(page)
    # If the answer that was lost is the one in which the courier failed, a retry has come already.
    assert states(page) in (ENDED, dict.fromkeys(CARDS, "filled"))
    assert page.evaluate("fills") == dict.fromkeys(CARDS, 1)


def test_line__that_is_cut_costs_one_response_everything(page, gate):
    page.goto("/?by=response")
    page.locator("#cut:enabled").click()
    wait_until(page, "The server of the shop cannot be reached.")
    assert set(states(page).values()) == {"missing"}
    assert page.locator("#one").get_attribute("data-state") == "failed"
    gate.set()
    page.get_by_role("button", name="Start again").click()
    wait_for_the_end(page)
    assert states(page) in (ENDED, dict.fromkeys(CARDS, "filled"))


def test_page__goes_on_where_the_connection_broke(page):
    left = break_next(page, lambda route: route.abort())
    page.goto("/?by=walk")
    wait_for_the_end(page, "The connection was lost, and it went on.")
    assert left == []
    assert states(page) == ENDED
    forgive(page, "ERR_FAILED")


@pytest.mark.parametrize(
    ("status", "code", "times"),
    [(400, "cursor_invalid", 1), (409, "cursor_stale", 2), (410, "cursor_expired", 2)],
)
def test_page__starts_again_as_often_as_it_may(page, status, code, times):
    left = break_next(page, *[lambda route: fulfil(route, status, code)] * times)
    page.goto("/?by=walk")
    wait_for_the_end(page)
    assert left == []
    assert states(page) == ENDED
    forgive(page, str(status))


@pytest.mark.parametrize(
    ("status", "code", "times"),
    [(400, "cursor_invalid", 2), (409, "cursor_stale", 3), (410, "cursor_expired", 3)],
)
def test_page__does_not_start_again_for_ever(page, status, code, times):
    break_next(page, *[lambda route: fulfil(route, status, code)] * times)
    page.goto("/?by=walk")
    wait_for_the_end(page, "The dashboard has changed meanwhile.")
    assert states(page)["today"] == "filled"
    assert states(page)["slow_stock"] == "missing"
    assert page.locator("#all").get_attribute("data-state") == "failed"
    page.get_by_role("button", name="Start again").click()
    wait_for_the_end(page)
    assert states(page) == ENDED
    forgive(page, str(status))


def test_page__says_why_it_was_refused_and_goes_on_when_asked_to(page):
    break_next(page, lambda route: fulfil(route, 403, "permission_denied"))
    page.goto("/?by=walk")
    wait_for_the_end(page, "So it is: permission_denied.")
    assert states(page)["bought_together"] == "missing"
    page.get_by_role("button", name="Go on").click()
    wait_for_the_end(page)
    assert states(page) == ENDED
    forgive(page, "403")


def test_page__waits_when_it_is_asked_to(page):
    left = break_next(page, lambda route: fulfil(route, 429, "throttled", **{"Retry-After": "1"}))
    page.goto("/?by=walk")
    wait_until(page, "The server is busy. Going on by itself in 1 s.")
    wait_for_the_end(page)
    assert left == []
    assert states(page) == ENDED
    forgive(page, "429")
