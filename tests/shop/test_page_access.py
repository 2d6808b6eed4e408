"""The page for everybody: small screens, the dark, the keyboard, and screen readers."""

from __future__ import annotations

import re

import pytest

from tests.shop.pages import (
    MARKS,
    browser,
    card,
    gate,
    page,
    server,
    turn,
    wait_for_the_end,
)

__all__ = ["browser", "gate", "page", "server", "turn"]

pytestmark = MARKS

WIDE = {"width": 1280, "height": 900}
NARROW = {"width": 390, "height": 844}
ADD_SHIFTS = """
window.shift = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) shift += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_page__fits_the_screen_and_nothing_on_it_moves(page, tmp_path, size, scheme):
    page.set_viewport_size(size)
    page.emulate_media(color_scheme=scheme)
    page.add_init_script(ADD_SHIFTS)
    held = []
    page.route(re.compile(r"/api/dashboard/\?"), lambda route: held.append(route), times=1)
    with page.expect_request(re.compile(r"/api/dashboard/\?")):
        page.goto("/")
    # The cards fill before the visitor's eyes.
    card(page, "bought_together").wait_for()
    page.locator("#parts").evaluate("parts => parts.scrollIntoView()")
    held[0].continue_()
    wait_for_the_end(page)
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
    assert page.evaluate("shift") <= 0.05
    page.screenshot(path=tmp_path / "page.png", full_page=True)


@pytest.mark.parametrize(
    ("width", "letters"), [(320, "100%"), (360, "200%"), (768, "200%"), (1280, "200%")]
)
def test_page__fits_small_screens_and_large_letters(page, width, letters):
    page.set_viewport_size({"width": width, "height": 800})
    page.add_init_script(
        f"""addEventListener("DOMContentLoaded", () => {{
          document.documentElement.style.fontSize = "{letters}";
        }});"""
    )
    page.goto("/")
    wait_for_the_end(page)
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_page__has_names_for_what_it_shows(page):
    page.goto("/")
    wait_for_the_end(page)
    assert page.get_by_role("heading", level=1).count() == 1
    switch = page.get_by_role("group", name="Load the dashboard by")
    assert switch.get_by_role("radio").count() == 5
    for name in ("Today", "Recent orders", "Parcels out for delivery", "Bought together one year"):
        assert page.get_by_role("region", name=name, exact=True).count() == 1
    assert page.get_by_role("table", name="The newest orders").count() == 1
    assert (
        page.get_by_role("list", name="When each part came").get_by_role("listitem").count() == 12
    )
    assert page.get_by_role("button", name="Cut the line").is_disabled()


def test_page__announces_little(page):
    page.add_init_script(
        """window.said = [];
        addEventListener("DOMContentLoaded", () => new MutationObserver(() =>
          said.push(document.querySelector("#status").textContent)
        ).observe(document.querySelector("#status"), { childList: true }));"""
    )
    page.goto("/")
    wait_for_the_end(page)
    assert page.get_by_role("status").count() == 1
    assert page.locator("[aria-live], [role=alert]").count() == 0
    assert page.evaluate("said") == ["Everything is here, except: Parcels out for delivery."]


def test_page__stands_still_for_who_wants_it_to(page, gate):
    page.emulate_media(reduced_motion="reduce")
    page.goto("/")
    page.locator(".bones").first.wait_for()
    moving = page.evaluate("document.getAnimations().length")
    gate.set()
    wait_for_the_end(page)
    assert moving == 0


def test_dashboard__has_no_word_of_the_protocol(page):
    page.goto("/")
    wait_for_the_end(page)
    said = page.locator(".dashboard").inner_text().lower()
    for word in ("cursor", "chunk", "token", "ndjson", "envelope", "manifest", "part "):
        assert word not in said
