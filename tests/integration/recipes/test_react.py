"""The recipe for React, in Chromium, with React's development build, which warns."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.urls import include, path
from rest_framework.permissions import AllowAny

from partstream import HybridProgressiveView, PartError, lazy
from partstream.streams.registry import count_open_streams
from tests.support.concurrency import wait_until

from .documentation import block

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

FILES = ["src/usePartstream.ts", "src/Dashboard.jsx"]
MAIN = """
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Dashboard } from "./src/Dashboard.jsx";

const root = createRoot(document.getElementById("root"));
globalThis.show = (url) => root.render(<StrictMode>{url && <Dashboard url={url} />}</StrictMode>);
show("/api/dashboard/");
"""
PAGE = '<div id="root"></div><script type="module" src="/assets/main.js"></script>'


@pytest.fixture
def open_component(workspace, publish, start_site, tab):
    """Opens a page with the component; the value is the site."""
    for name in FILES:
        workspace.write(name, block(name))
    workspace.write("main.jsx", MAIN)
    workspace.bundle("main.jsx", "assets/main.js")

    def open_component(view, *patterns):
        publish(PAGE, view, *patterns, directory=workspace.directory / "assets")
        site = start_site()
        tab.open(site.url)
        return site

    return open_component


def test_component__shows_parts_as_they_come_by_one_request(open_component, tab, dashboard):
    """`StrictMode` mounts it twice."""
    site = open_component(dashboard.view)
    tab.shows("#orders", "…")
    tab.shows("#forecast", "…")
    assert tab.page.get_attribute("main", "aria-busy") == "true"
    dashboard.forecast.release()
    tab.shows("#forecast", "23")
    tab.shows("#orders", "…")
    dashboard.orders.release()
    tab.shows("#orders", "17")
    tab.until("document.querySelector('main').getAttribute('aria-busy') === 'false'")
    [request] = site.asked()
    assert request.is_stream
    assert (dashboard.orders.runs, dashboard.forecast.runs) == (1, 1)


def test_retry__asks_for_the_failed_part_alone(open_component, tab):
    state = SimpleNamespace(is_open=False, forecasts=0)

    def get_orders(request):
        if not state.is_open:
            raise PartError("The shop is closed.", code="shop_closed")
        return 17

    def get_forecast(request):
        state.forecasts += 1
        return 23

    class ShopView(HybridProgressiveView):
        permission_classes = (AllowAny,)
        parts = (("orders", lazy(get_orders)), ("forecast", lazy(get_forecast)))

    site = open_component(ShopView)
    tab.shows("#orders", "The shop is closed.Retry")
    tab.shows("#forecast", "23")
    state.is_open = True
    tab.page.click("#orders button")
    tab.shows("#orders", "17")
    assert len(site.asked()) == 2
    assert state.forecasts == 1


def test_unmount__stops_the_stream(open_component, tab, dashboard):
    site = open_component(dashboard.view)
    tab.shows("#orders", "…")
    assert count_open_streams() == 1
    tab.evaluate("show(null)")
    wait_until(lambda: count_open_streams() == 0)
    tab.shows("#root", "")
    assert len(site.asked()) == 1


def test_url__that_changes_is_loaded(open_component, tab, dashboard):
    class OtherView(HybridProgressiveView):
        permission_classes = (AllowAny,)
        parts = (("customers", lazy(lambda request: 5)),)

    other = path("api/other/", include(OtherView.urls(name="other")))
    site = open_component(dashboard.view, other)
    tab.shows("#orders", "…")
    tab.evaluate("show('/api/other/')")
    tab.shows("#root", "5")
    wait_until(lambda: count_open_streams() == 0)
    assert (len(site.asked()), len(site.asked("/api/other/"))) == (1, 1)


def test_failure__offers_to_go_on(open_component, tab):
    state = SimpleNamespace(is_there=False)

    class ShopView(HybridProgressiveView):
        permission_classes = (AllowAny,)
        parts = (("orders", 17),)

        def initial(self, request, *args, **kwargs):
            if not state.is_there:
                self.permission_denied(request)
            super().initial(request, *args, **kwargs)

    open_component(ShopView)
    tab.shows("button", "Go on")
    [refused] = tab.hear(1)
    assert "403" in refused
    state.is_there = True
    tab.page.click("button")
    tab.shows("#root", "17")
