"""What a visitor of the demo's page sees, and when, in Chromium."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from statistics import median
from typing import Any

from playwright.sync_api import Page, sync_playwright
from report import Row

from tests.support.browser import FLAGS, find_browser

from .servers import demo

PATIENCE = 120_000  # milliseconds

#: Notes when the first card was painted and when the last one was filled, what moved, and what
#: the server says of the costs of the stream's parts.
NOTES = """
(() => {
  const notes = globalThis.notes = {first: 0, last: 0, shift: 0, records: ""};
  const ask = globalThis.fetch;
  globalThis.fetch = async (url, options) => {
    if (!/\\/api\\/dashboard\\/\\?/.test(url)) return ask(url, options);
    const response = await ask(`${url}&debug=1`, options);
    const decoder = new TextDecoder();
    const tap = new TransformStream({transform(bytes, out) {
      notes.records += decoder.decode(bytes, {stream: true});
      out.enqueue(bytes);
    }});
    return new Response(response.body.pipeThrough(tap), response);
  };
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
    page.goto(address)
    page.wait_for_selector("#next:not([hidden])")
    page.wait_for_selector('#one[data-state="done"]')
    notes = page.evaluate("notes")
    records = [json.loads(line) for line in notes["records"].splitlines() if line.strip()]
    costs = [cost for record in records for cost in record["meta"]["debug"].values()]
    return {**notes, "slowest": max(cost["duration"] or 0 for cost in costs)}
