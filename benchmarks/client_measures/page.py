"""What a visitor of the demo's page sees, and when, in Chromium."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from statistics import median
from typing import Any

from playwright.sync_api import Page, Route, sync_playwright
from report import Row

from tests.support.browser import FLAGS, find_browser

from .servers import demo

PATIENCE = 120_000  # milliseconds
STREAM = re.compile(r"/api/dashboard/\?")

#: Notes when the first card was painted and when the last one was filled, and what moved.
NOTES = """
(() => {
  const notes = globalThis.notes = {first: 0, last: 0, shift: 0};
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) notes.shift += entry.value;
  }).observe({type: "layout-shift", buffered: true});
  addEventListener("DOMContentLoaded", () => new MutationObserver((changes) => {
    if (!changes.some(({target}) => target.dataset?.state === "filled")) return;
    notes.last = performance.now();
    // The frame with the change is painted before the task behind it runs.
    if (!notes.first) requestAnimationFrame(() => setTimeout(() => {
      notes.first ||= performance.now();
    }));
  }).observe(document, {subtree: true, attributeFilter: ["data-state"]}));
})();
"""


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Open the page several times; the one response runs beside it, as for a visitor."""
    with demo() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
        seen = list(_visits(browser, address, arguments.loads))
        browser.close()
    first = [visit["first"] for visit in seen]
    ratios = [visit["last"] / visit["slowest"] for visit in seen]
    shifts = [visit["shift"] for visit in seen]
    return [
        (
            "page: first part painted",
            "<= 150 ms",
            f"{median(first):.0f} ms ({max(first):.0f} at most)",
        ),
        (
            "page: all parts / the slowest part",
            "<= 1.05",
            f"{median(ratios):.3f} ({max(ratios):.3f} at most)",
        ),
        ("page: layout shift", "<= 0.05", f"{max(shifts):.3f} at most"),
    ]


def _visits(browser: Any, address: str, loads: int) -> Iterator[dict[str, float]]:
    for number in range(loads + 1):
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        visit = _visit(page, address)
        context.close()
        if number:  # The first one finds a server that has imported nothing.
            yield visit


def _visit(page: Page, address: str) -> dict[str, float]:
    """The times of one visit in milliseconds, and how long the slowest part ran on the server."""
    page.add_init_script(NOTES)
    streams = []

    def ask_for_costs(route: Route) -> None:
        route.continue_(url=f"{route.request.url}&debug=1")

    page.route(STREAM, ask_for_costs)
    page.on("response", lambda response: STREAM.search(response.url) and streams.append(response))
    page.goto(address)
    page.wait_for_selector("#next:not([hidden])")
    page.wait_for_selector('#one[data-state="done"]')
    notes = page.evaluate("notes")
    records = [json.loads(line) for line in streams[0].text().splitlines() if line.strip()]
    costs = [part for record in records for part in record["meta"]["debug"]["parts"]]
    return {**notes, "slowest": max(cost["ms"] for cost in costs)}
