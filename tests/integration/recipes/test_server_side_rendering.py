"""The recipe for server-side rendering: Node renders, Django has the parts, Chromium goes on."""

from __future__ import annotations

import html
import json
import os
import re
import socket
import subprocess
from types import SimpleNamespace
from urllib.request import Request, urlopen

import pytest
from django.http import HttpResponse
from rest_framework.permissions import AllowAny

from partstream import HybridProgressiveView, lazy
from partstream.backends.executors.threads import ThreadExecutor
from tests.support.concurrency import PATIENCE, wait_until

from .documentation import block

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

FILES = ["src/usePartstream.ts", "src/Dashboard.jsx", "server.jsx", "browser.jsx"]
SCRIPT = "</script><script>document.title = 'broken'</script>"


@pytest.fixture
def shop(held, executors):
    """A view whose first chunk has `meta` and `orders`; `forecast` and `stock` wait."""
    forecast, stock = held(23), held(5)
    calls = []

    def get_orders(request):
        calls.append("orders")
        return 17

    def get_meta(request):
        calls.append("meta")
        return {"user": str(request.user), "text": SCRIPT}

    class ShopView(HybridProgressiveView):
        permission_classes = (AllowAny,)
        executor = executors(ThreadExecutor)
        chunk_size = 2
        parts = (
            ("meta", lazy(get_meta)),
            ("orders", lazy(get_orders)),
            ("forecast", lazy(forecast)),
            ("stock", lazy(stock)),
        )

    return SimpleNamespace(view=ShopView, calls=calls, forecast=forecast, stock=stock)


@pytest.fixture
def start_node(workspace, tmp_path):
    """Starts the server of the recipe, with this origin of Django; the value is its own."""
    for name in FILES:
        workspace.write(name, block(name))
    workspace.bundle("browser.jsx", "assets/browser.js")
    # React's own code for servers asks for modules of Node in the form of CommonJS.
    workspace.bundle("server.jsx", "server.cjs", "--platform=node", "--format=cjs")
    processes, log = [], tmp_path / "node.log"

    def start_node(backend):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with log.open("a") as output:
            process = subprocess.Popen(
                ["node", "server.cjs"],
                cwd=workspace.directory,
                env={**os.environ, "BACKEND": backend, "PORT": str(port)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        processes.append(process)
        wait_until(lambda: process.poll() is not None or is_open(port))
        assert process.poll() is None, log.read_text()
        return f"http://127.0.0.1:{port}"

    yield start_node
    for process in processes:
        process.kill()
        process.wait()


def is_open(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


@pytest.fixture
def start(publish, start_site, start_node, workspace, settings):
    """Starts both servers under one origin: Django's passes requests for the page on to Node.

    Args of the value:
        view: The view at `/api/dashboard/`.
        host: The host under which Node asks Django.
        backend: The origin at which Node asks, if it is not Django's.
    """

    def start(view, *, host="127.0.0.1", backend=None):
        def ask_node(request):
            headers = {"Cookie": request.headers.get("Cookie", "")}
            with urlopen(Request(node, headers=headers), timeout=PATIENCE) as answer:
                return HttpResponse(answer.read(), content_type=answer.headers["Content-Type"])

        publish(ask_node, view, directory=workspace.directory / "assets")
        site = start_site()
        node = start_node(backend or f"http://{host}:{site.port}")
        return site

    return start


def page_of(site):
    """What arrives without JavaScript."""
    with urlopen(site.url, timeout=PATIENCE) as answer:
        return answer.read().decode()


def texts(page):
    """Element id -> its text, in HTML that React has rendered."""
    found = re.findall(r'<section id="(\w+)">(.*?)</section>', page, re.DOTALL)
    return {name: html.unescape(text) for name, text in found}


def of_browser(site):
    return [request for request in site.asked() if "Chrome" in request.agent]


def of_node(site):
    return [request for request in site.asked() if "Chrome" not in request.agent]


def test_html__has_the_first_chunk(start, shop):
    site = start(shop.view)
    page = page_of(site)
    found = texts(page)
    assert list(found) == ["meta", "orders", "forecast", "stock"]
    assert json.loads(found["meta"]) == {"user": "AnonymousUser", "text": SCRIPT}
    assert (found["orders"], found["forecast"], found["stock"]) == ("17", "…", "…")
    # Neither in the HTML nor in the JSON does data end an element.
    assert SCRIPT not in page
    assert "<script>document" not in page
    [request] = site.asked()
    assert not request.is_stream


def test_browser__goes_on_from_the_cursor_with_one_stream(start, shop, tab):
    site = start(shop.view)
    tab.open(site.url)
    tab.shows("#orders", "17")
    tab.shows("#stock", "…")
    shop.stock.release()
    tab.shows("#stock", "5")
    tab.shows("#forecast", "…")
    shop.forecast.release()
    tab.shows("#forecast", "23")
    tab.until("document.querySelector('main').getAttribute('aria-busy') === 'false'")
    [request] = of_browser(site)
    assert request.is_stream
    assert len(request.query["cursor"]) == 1
    assert len(of_node(site)) == 1
    assert shop.calls == ["meta", "orders"]
    assert (shop.forecast.runs, shop.stock.runs) == (1, 1)
    assert tab.page.title() == ""


def test_cookies__are_passed_on(start, shop, tab, log_in):
    """So the cursor is the user's own."""
    session = log_in()
    site = start(shop.view)
    shop.forecast.release()
    shop.stock.release()
    tab.open(site.url)
    tab.shows("#forecast", "23")
    tab.shows("#stock", "5")
    assert '"user":"ada"' in tab.page.text_content("#meta")
    assert all(f"sessionid={session}" in request.cookie for request in site.asked())
    assert (len(of_node(site)), len(of_browser(site))) == (1, 1)
    assert shop.calls == ["meta", "orders"]


def test_other_host__starts_again_once(start, shop, tab):
    site = start(shop.view, host="localhost")
    shop.forecast.release()
    shop.stock.release()
    tab.open(site.url)
    tab.shows("#forecast", "23")
    tab.shows("#stock", "5")
    assert [request.host for request in of_node(site)] == [f"localhost:{site.port}"]
    assert ["cursor" in request.query for request in of_browser(site)] == [True, False]
    assert shop.calls == ["meta", "orders"] * 2
    [refused] = tab.hear(1)
    assert "400" in refused


def test_backend__that_does_not_answer_leaves_everything_to_the_browser(start, shop, tab):
    site = start(shop.view, backend="http://127.0.0.1:9")
    shop.forecast.release()
    shop.stock.release()
    tab.open(site.url)
    for name, text in (("orders", "17"), ("forecast", "23"), ("stock", "5")):
        tab.shows(f"#{name}", text)
    assert of_node(site) == []
    [request] = of_browser(site)
    assert "cursor" not in request.query


def test_backend__that_refuses_leaves_everything_to_the_browser(start, shop, tab):
    def refuse_node(self, request, *args, **kwargs):
        if "Chrome" not in request.headers["User-Agent"]:
            self.permission_denied(request)
        super(shop.view, self).initial(request, *args, **kwargs)

    shop.view.initial = refuse_node
    shop.forecast.release()
    shop.stock.release()
    site = start(shop.view)
    tab.open(site.url)
    tab.shows("#stock", "5")
    assert (len(of_node(site)), len(of_browser(site))) == (1, 1)
