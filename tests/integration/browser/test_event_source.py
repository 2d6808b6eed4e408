"""A browser's own EventSource: it resumes by itself, and stops when it has everything."""

from __future__ import annotations

import pytest
from django.http import HttpResponse
from django.urls import path

from partstream import ProgressiveView, lazy
from partstream.backends.executors.threads import ThreadExecutor
from tests.support.browser import browser

__all__ = ["browser"]

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

#: Opens the stream; the result is what has come when the browser gives up.
LISTEN = """
() => new Promise((resolve) => {
  const source = new EventSource("/stream/");
  const told = {opened: 0, names: [], cursors: []};
  source.onopen = () => { told.opened += 1; };
  source.onmessage = ({data}) => {
    const record = JSON.parse(data);
    told.names.push(...record.results.flatMap(Object.keys));
    told.cursors.push(record.cursor === null);
  };
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) resolve(told);
  };
})
"""
WAIT = 60_000  # milliseconds


@pytest.fixture
def listen(browser, live_server, mount):
    """What an EventSource of a page gets from a view of these parts."""

    def listen(view):
        mount(path("", lambda request: HttpResponse("<!doctype html>")), path("stream/", view))
        page = browser.new_page()
        page.set_default_timeout(WAIT)
        try:
            page.goto(live_server.url)
            return page.evaluate(LISTEN)
        finally:
            page.close()

    return listen


def view_of(*parts, **attributes):
    attributes = {"parts": parts, "permission_classes": [], **attributes}
    return type("View", (ProgressiveView,), attributes).as_view()


def test_event_source__gets_all_and_is_told_to_stop(listen):
    told = listen(view_of(("now", 0), ("then", lazy(lambda request: 1))))
    assert told == {"opened": 1, "names": ["now", "then"], "cursors": [False, True]}


def test_event_source__that_is_cut_goes_on_after_what_it_has(
    listen, settings, held, executors, monkeypatch
):
    """Its time is up before the part has ended. The next connection joins the part."""
    settings.DJANGO_PARTSTREAM = {"ENABLE_RATE_LIMITING": False, "STREAM_MAX_SECONDS": 0.3}
    slow, streams = held("slow"), []

    class View(ProgressiveView):
        permission_classes = ()
        executor = executors(ThreadExecutor, max_workers=2)
        parts = (
            ("now", 0),
            ("quick", lazy(lambda request: 1)),
            ("slow", lazy(slow)),
        )

        def get(self, request):
            streams.append(request.headers.get("Last-Event-ID"))
            if len(streams) == 3:
                slow.release()
            return super().get(request)

    told = listen(View.as_view())
    assert told["names"] == ["now", "quick", "slow"]
    assert told["cursors"][-1] is True
    assert told["cursors"].count(True) == 1
    assert told["opened"] == 3
    assert slow.runs == 1
    # The last one asks with the end cursor.
    assert len(streams) == 4
    assert streams[0] is None
    assert all(streams[1:])
