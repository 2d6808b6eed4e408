"""The page's switch, and the comparison with one response."""

from __future__ import annotations

import re

import pytest

from tests.shop.pages import (
    ENDED,
    MARKS,
    browser,
    card,
    choose,
    gate,
    page,
    server,
    states,
    texts,
    turn,
    wait_for_the_end,
)

__all__ = ["browser", "gate", "page", "server", "turn"]

pytestmark = MARKS

MODES = {
    "One response": "response",
    "Walk": "walk",
    "Ready first": "ready-first",
    "Keys": "keys",
    "Stream": "stream",
}
TIME = r"(\d+ ms|\d+\.\d\d s)"


def test_modes__end_in_the_same_page(page):
    asked = []
    page.on("request", lambda request: "/api/" in request.url and asked.append(request))
    page.goto("/?by=walk")
    wait_for_the_end(page)
    wanted = None
    for label, by in MODES.items():
        asked.clear()
        choose(page, "Walk" if label != "Walk" else "Keys")
        choose(page, label)
        assert page.url.endswith(f"?by={by}")
        wait_for_the_end(page)
        assert states(page) == ENDED, label
        found = texts(page)
        page.get_by_role("button", name="Retry").click()
        card(page, "deliveries", "filled").wait_for()
        found["deliveries, again"] = texts(page)["deliveries"]
        wanted = wanted or found
        assert found == wanted, label


@pytest.mark.parametrize(
    ("by", "paths"),
    [
        ("response", {"/api/blocking/"}),
        ("walk", {"/api/blocking/", "/api/dashboard/"}),
        ("ready-first", {"/api/blocking/", "/api/ready-first/"}),
        ("keys", {"/api/blocking/", "/api/dashboard/parts/"}),
        ("stream", {"/api/blocking/", "/api/dashboard/"}),
    ],
)
def test_modes__are_in_the_address_and_ask_in_their_own_way(page, by, paths):
    asked = []
    page.on("request", lambda request: "?visit=" in request.url and asked.append(request))
    page.goto(f"/?by={by}")
    wait_for_the_end(page)
    assert {re.sub(r"^https?://[^/]*|\?.*", "", request.url) for request in asked} == paths
    assert page.locator("input:checked").get_attribute("value") == by
    by_stream = ["ndjson" in request.headers["accept"] for request in asked]
    assert any(by_stream) is (by == "stream")
    # One response is asked for once, whether it fills the dashboard or runs beside it.
    assert sum("/api/blocking/" in request.url for request in asked) == 1


def test_modes__an_unknown_one_in_the_address_is_the_stream(page):
    page.goto("/?by=pigeon")
    assert page.locator("input:checked").get_attribute("value") == "stream"
    wait_for_the_end(page)


def test_switch__works_by_keyboard(page):
    page.goto("/")
    wait_for_the_end(page)
    page.get_by_role("radio", name="Stream").focus()
    page.keyboard.press("ArrowLeft")
    assert page.get_by_role("radio", name="Keys").is_checked()
    assert page.url.endswith("?by=keys")
    assert "by name" in page.locator("#says").inner_text()
    assert "you chose “Keys”" in page.locator("#look").inner_text()
    wait_for_the_end(page)
    assert states(page) == ENDED


def test_comparison__runs_by_itself_and_says_what_still_runs(page, gate):
    page.goto("/")
    card(page, "revenue_by_month", "filled").wait_for()
    assert figures(page) == {"first": "done", "all": "running", "one": "running"}
    assert re.fullmatch(TIME, page.locator("#first dd").first.inner_text())
    assert "still waiting" in page.locator("#one").inner_text()
    assert page.locator("#one-time").inner_text() == "still waiting"
    assert "still running" in page.locator("#verdict").inner_text()
    assert row(page, "today").get_attribute("data-state") == "done"
    assert re.fullmatch(TIME, row(page, "today").locator(".row-time").inner_text())
    assert re.fullmatch(
        f"{TIME}, failed", row(page, "deliveries").locator(".row-time").inner_text()
    )
    assert row(page, "slow_stock").get_attribute("data-state") == "running"
    # Its bar and its clock move until it is done.
    before = page.locator("#one-row .bar").evaluate("bar => bar.offsetWidth")
    page.wait_for_function(
        "before => document.querySelector('#one-row .bar').offsetWidth > before", arg=before
    )

    gate.set()
    wait_for_the_end(page)
    assert figures(page) == {"first": "done", "all": "done", "one": "done"}
    assert "11 of 12, 1 failed" in page.locator("#all").inner_text()
    verdict = (
        rf"Measured here: first figures {TIME} sooner than in one response\. Both loads share.*"
    )
    assert re.fullmatch(verdict, page.locator("#verdict").inner_text())
    first, every, one = (measured(page, name) for name in ("first", "all", "one"))
    assert first < min(every, one)
    rows = page.locator("[data-row]")
    times = rows.evaluate_all("all => all.map(row => Number(row.style.getPropertyValue('--t')))")
    assert len(times) == 12
    assert max(times) <= every + 50  # what is shown is rounded


def figures(page):
    return {
        name: page.locator(f"#{name}").get_attribute("data-state")
        for name in ("first", "all", "one")
    }


def row(page, name):
    return page.locator(f'[data-row="{name}"]')


def measured(page, name):
    """Milliseconds."""
    number, unit = page.locator(f"#{name} dd").first.inner_text().split()
    return float(number) * {"ms": 1, "s": 1000}[unit]


def test_comparison__begins_again_with_each_load(page, gate):
    gate.set()
    page.goto("/")
    wait_for_the_end(page)
    gate.clear()
    page.get_by_role("button", name="Load again").click()
    card(page, "revenue_by_month", "filled").wait_for()
    assert figures(page) == {"first": "done", "all": "running", "one": "running"}
    assert page.locator("#next").is_hidden()
    gate.set()
    wait_for_the_end(page)
    assert states(page) == ENDED


def test_one_response__shows_nothing_until_all_is_ready(page, gate):
    page.goto("/?by=response")
    row(page, "today").wait_for()
    assert set(states(page).values()) == {"waiting"}
    assert figures(page) == {"first": "running", "all": "running", "one": "running"}
    gate.set()
    wait_for_the_end(page)
    assert states(page) == ENDED
    assert page.locator("#verdict").inner_text() == ""


def test_modes__stay_when_the_visitor_reloads_or_comes_back(page):
    page.goto("/?by=walk")
    wait_for_the_end(page)
    choose(page, "Keys")
    wait_for_the_end(page)
    page.reload()
    assert by_now(page) == ("keys", "keys")
    wait_for_the_end(page)
    page.goto("/api/report/")
    page.go_back()
    assert by_now(page) == ("keys", "keys")
    wait_for_the_end(page)


def test_modes__follow_the_address_back_within_the_page(page):
    page.goto("/?by=walk")
    wait_for_the_end(page)
    page.get_by_role("link", name="What to try next").click()
    choose(page, "Keys")
    wait_for_the_end(page)
    page.go_back()
    assert by_now(page) == ("walk", "walk")
    assert "you chose “Walk”" in page.locator("#look").inner_text()
    wait_for_the_end(page)


def test_switch__stands_at_what_is_loaded_whatever_the_browser_restores(page):
    page.goto("/?by=walk")
    wait_for_the_end(page)
    page.evaluate("document.querySelector('input[value=keys]').checked = true")
    page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    assert by_now(page) == ("walk", "walk")


def by_now(page):
    """The mode in the address, and the one at which the switch stands."""
    return page.url.split("by=")[1], page.locator("input:checked").get_attribute("value")
