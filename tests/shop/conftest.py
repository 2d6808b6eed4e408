from __future__ import annotations

from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from django.test import override_settings

from shop import seeding
from shop.models import Customer, Order, OrderLine, Product, Stock

ORDERS = 600
CLOSED = "http://127.0.0.1:9/latest"


@pytest.fixture(autouse=True)
def shop_site(settings):
    """The shop's addresses, in its own time zone, with nobody at the exchange-rate service."""
    settings.ROOT_URLCONF = "shop.urls"
    settings.TIME_ZONE = "UTC"
    settings.SHOP_EXCHANGE_RATES_URL = CLOSED


@pytest.fixture(scope="module")
def seeded(django_db_setup, django_db_blocker):
    """A small shop that the tests of a module share; each of them is rolled back."""
    with django_db_blocker.unblock():
        with override_settings(TIME_ZONE="UTC"):
            counts = seeding.seed(ORDERS)
        yield counts
        clear()


def clear():
    for model in (OrderLine, Stock, Order, Product, Customer):
        model.objects.all().delete()


@pytest.fixture
def shop(seeded, db):
    """A small shop; the value is what was seeded."""
    return seeded


@pytest.fixture
def empty_shop(db):
    """A shop that nobody has seeded."""
    clear()


@pytest.fixture
def own_shop(db):
    """A small shop that this test alone has; the value is what was seeded."""
    return seeding.seed(ORDERS)


@pytest.fixture
def service(settings):
    """Start an exchange-rate service that gives this answer; a real one, on a free port."""
    servers = []

    def start(body, status=200):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(
            (server, Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}))
        )
        servers[-1][1].start()
        settings.SHOP_EXCHANGE_RATES_URL = f"http://127.0.0.1:{server.server_port}/latest"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()
