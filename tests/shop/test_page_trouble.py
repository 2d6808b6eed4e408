"""The page on a bad day: lines that are cut, refusals and waits."""

from __future__ import annotations

import re

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
    wait_until(page, "one response cannot go on from where it stopped")
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
    wait_for_the_end(page, r"\. The server was busy, and it went on\.$")
    assert left == []
    assert states(page) == ENDED
    forgive(page, "429")


def test_page__does_not_blame_the_connection_for_a_fault_of_the_server(page):
    break_next(page, lambda route: fulfil(route, 502, "bad_gateway"))
    page.goto("/?by=walk")
    wait_until(page, "The server has a problem. Going on by itself in a moment.")
    wait_for_the_end(page, r"\. The server had a problem, and it went on\.$")
    forgive(page, "502")


def test_page__can_go_on_after_a_retry_while_the_load_has_failed(page):
    # All that comes after the courier's failure is refused.
    refused = re.compile(r"[?&]cursor=")
    answered = []

    def refuse_after_the_courier(route):
        if "deliveries" in answered:
            fulfil(route, 403, "permission_denied")
            return
        answer = route.fetch()
        answered.extend(error["part"] for error in answer.json().get("errors", []))
        route.fulfill(response=answer)

    page.route(refused, refuse_after_the_courier)
    page.goto("/?by=walk")
    wait_until(page, "So it is: permission_denied.")
    missing = {name for name, state in states(page).items() if state == "missing"}
    assert "slow_stock" in missing
    page.get_by_role("button", name="Retry Parcels out for delivery").click()
    wait_until(page, "Parcels out for delivery: failed again.")
    go_on = page.get_by_role("button", name="Go on")
    assert go_on.is_visible()
    page.unroute(refused)
    page.get_by_role("button", name="Retry Parcels out for delivery").click()
    card(page, "deliveries", "filled").wait_for()
    go_on.click()
    wait_until(page, "^Everything is here")
    assert states(page) == dict.fromkeys(CARDS, "filled")
    assert go_on.count() == 0
    forgive(page, "403")


@pytest.mark.parametrize("times", [1, 2])
def test_keys__ask_again_for_the_list_of_parts_that_did_not_come(page, times):
    refuse = [lambda route: fulfil(route, 503, "capacity")] * times
    page.route("**/manifest/", lambda route: refuse.pop()(route) if refuse else route.continue_())
    page.goto("/?by=keys")
    for left in range(times - 1, -1, -1):
        wait_until(page, r"^The server is busy\.$")
        assert states(page) == {}
        assert page.locator("#all").get_attribute("data-state") == "failed"
        page.get_by_role("button", name="Try again" if left else "Load again").click()
    wait_for_the_end(page)
    assert states(page) == ENDED
    forgive(page, "503")


def test_keys__do_not_wait_for_ever_for_the_list_of_parts(page):
    held = []
    page.route("**/manifest/", lambda route: held.append(route), times=1)
    page.goto("/?by=keys")
    wait_until(page, "The server of the shop cannot be reached.")
    assert len(held) == 1
    page.get_by_role("button", name="Try again").click()
    wait_for_the_end(page)
    assert states(page) == ENDED


def test_page__says_that_it_pauses_while_it_is_hidden(page, gate):
    page.add_init_script(
        """window.visibility = "visible";
        Object.defineProperty(document, "visibilityState", { get: () => visibility });
        const now = Date.now;
        window.show = (state, later) => {
          visibility = state;
          Date.now = () => now() + later;
          document.dispatchEvent(new Event("visibilitychange"));
        };"""
    )
    page.goto("/")
    card(page, "revenue_by_month", "filled").wait_for()
    page.evaluate("show('hidden', 0)")
    page.evaluate("show('hidden', 31_000)")
    wait_until(page, "Paused while this page is hidden.", SOON)
    assert page.locator("#state").get_attribute("data-kind") == "busy"
    page.evaluate("show('visible', 31_000)")
    wait_until(page, "Loading the rest", SOON)
    gate.set()
    wait_for_the_end(page, r"\. It paused while this page was hidden\.$")
    assert states(page) == ENDED
