"""The recipe for TanStack Query, in Chromium."""

from __future__ import annotations

import pytest

from partstream.streams.registry import count_open_streams
from tests.support.concurrency import wait_until

from .documentation import block

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

MAIN = """
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { QueryClient, QueryClientProvider, useQuery } from "@tanstack/react-query";
import { dashboardQuery } from "./src/dashboardQuery.js";

globalThis.client = new QueryClient({ defaultOptions: { queries: { staleTime: 600_000 } } });
globalThis.query = dashboardQuery("/api/dashboard/");

function Parts() {
  const { data = {}, error, isFetching } = useQuery(query);
  return (
    <>
      {Object.values(data).map((part) => (
        <p key={part.name} id={part.name}>{part.error?.code ?? JSON.stringify(part.data)}</p>
      ))}
      <i>{error ? error.code : isFetching ? "loading" : "all"}</i>
    </>
  );
}

const root = createRoot(document.getElementById("root"));
globalThis.show = (isShown) =>
  root.render(
    <StrictMode>
      <QueryClientProvider client={client}>{isShown && <Parts />}</QueryClientProvider>
    </StrictMode>,
  );
show(true);
"""
PAGE = '<div id="root"></div><script type="module" src="/assets/main.js"></script>'


@pytest.fixture
def open_query(workspace, publish, start_site, tab):
    """Opens a page with a component that uses the query; the value is the site."""
    workspace.write("src/dashboardQuery.js", block("src/dashboardQuery.js"))
    workspace.write("main.jsx", MAIN)
    workspace.bundle("main.jsx", "assets/main.js")

    def open_query(view):
        publish(PAGE, view, directory=workspace.directory / "assets")
        site = start_site()
        tab.open(site.url)
        return site

    return open_query


def test_query__has_parts_as_they_come_by_one_request(open_query, tab, dashboard):
    site = open_query(dashboard.view)
    dashboard.forecast.release()
    tab.shows("#forecast", "23")
    tab.shows("i", "loading")
    assert tab.page.query_selector("#orders") is None
    dashboard.orders.release()
    tab.shows("#orders", "17")
    tab.shows("i", "all")
    [request] = site.asked()
    assert request.is_stream


def load(open_query, tab, dashboard):
    """Load everything; from then on the parts wait again, and are other ones."""
    dashboard.orders.release()
    dashboard.forecast.release()
    site = open_query(dashboard.view)
    tab.shows("i", "all")
    for part, data in ((dashboard.orders, 18), (dashboard.forecast, 24)):
        part.gate.clear()
        part.data = data
    return site


def test_refetch__keeps_the_old_data_until_the_new_has_come(open_query, tab, dashboard):
    site = load(open_query, tab, dashboard)
    tab.evaluate("void client.refetchQueries()")
    tab.shows("i", "loading")
    dashboard.forecast.release()
    tab.shows("#forecast", "24")
    tab.shows("#orders", "17")
    dashboard.orders.release()
    tab.shows("#orders", "18")
    tab.shows("i", "all")
    assert len(site.asked()) == 2


def test_refetch__forgets_a_part_that_is_no_longer_there(open_query, tab, dashboard):
    load(open_query, tab, dashboard)
    dashboard.view.parts = dashboard.view.parts[1:]
    dashboard.forecast.release()
    tab.evaluate("void client.refetchQueries()")
    tab.shows("#root", "24all")


def test_unmount__stops_the_stream_and_what_came_is_loaded_again(open_query, tab, dashboard):
    site = open_query(dashboard.view)
    dashboard.forecast.release()
    tab.shows("#forecast", "23")
    tab.evaluate("show(false)")
    wait_until(lambda: count_open_streams() == 0)
    tab.shows("#root", "")
    dashboard.orders.release()
    tab.evaluate("show(true)")
    tab.shows("#orders", "17")
    tab.shows("#forecast", "23")
    tab.shows("i", "all")
    assert len(site.asked()) == 2


def test_cancel__stops_the_stream(open_query, tab, dashboard):
    site = open_query(dashboard.view)
    dashboard.forecast.release()
    tab.shows("#forecast", "23")
    tab.evaluate("client.cancelQueries()")
    wait_until(lambda: count_open_streams() == 0)
    tab.shows("#root", "23all")
    assert len(site.asked()) == 1


def test_failure__is_the_error_of_the_query(open_query, tab, dashboard):
    def refuse(self, request, *args, **kwargs):
        self.permission_denied(request)

    dashboard.view.initial = refuse
    site = open_query(dashboard.view)
    tab.shows("i", "not_authenticated")
    assert len(site.asked()) == 1
    [refused] = tab.hear(1)
    assert "403" in refused
