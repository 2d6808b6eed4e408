from __future__ import annotations

import argparse
import base64
import datetime as dt
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http.cookiejar import CookieJar
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from threading import Event, Thread
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, ProxyHandler, Request, build_opener

import pytest
from django.contrib.auth import authenticate, get_user_model
from django.core.management import CommandError, call_command
from django.utils import timezone

from shop import seeding
from shop.management.commands.demo import Command
from shop.models import Order
from tests.shop.test_views import EVERYBODY
from tests.support.marks import timed

MANAGE = Path(__file__).resolve().parents[2] / "testproject" / "manage.py"
START_SECONDS = 60
NDJSON = "application/x-ndjson"


@pytest.fixture
def command(settings):
    settings.DEBUG = True
    return Command(stdout=StringIO())


def is_of_now(order, since):
    """Whether an order was placed in the minute in which a test began, or later; not in future."""
    return since.replace(second=0, microsecond=0) <= order.placed_at <= timezone.now()


def test_prepare__makes_rows_of_now_and_a_staff_account(db, command):
    began = timezone.now()
    command.prepare(orders=50, verbosity=0)
    assert Order.objects.count() == 50
    assert is_of_now(Order.objects.latest("placed_at"), began)
    assert authenticate(username="demo", password="demo").is_staff


def test_prepare__on_another_day_moves_the_rows(db, command):
    command.prepare(orders=50, verbosity=0)
    newest = Order.objects.latest("placed_at")
    for days in (-3, 3):  # that day is the newest, past or future
        seeding.move_to(timezone.now() + dt.timedelta(days=days))
        began = timezone.now()
        command.prepare(orders=50, verbosity=0)
        assert Order.objects.count() == 50
        assert Order.objects.latest("placed_at") == newest
        assert is_of_now(Order.objects.latest("placed_at"), began)


def test_prepare__a_second_time_keeps_rows_and_account(db, command):
    command.prepare(orders=50, verbosity=0)
    staff = get_user_model().objects.get()
    staff.set_password("mine now")
    staff.save()
    command.prepare(orders=70, verbosity=0)
    assert Order.objects.count() == 50
    assert authenticate(username="demo", password="mine now") == staff


def test_prepare__makes_no_public_password_without_debug(db, command, settings):
    settings.DEBUG = False
    with pytest.raises(CommandError, match="DEBUG"):
        command.prepare(orders=50, verbosity=0)
    assert not get_user_model().objects.exists()


def test_check_port__says_what_to_do_when_it_is_taken(command):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match=f"Port {port} is in use.*--port"):
            command.check_port(port)
    command.check_port(port)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_check_port__refuses_what_is_no_port(command, port):
    with pytest.raises(CommandError, match="between 1 and 65535"):
        command.check_port(port)


def test_demo__looks_at_the_port_before_it_touches_the_database(command):
    # No `db` fixture: a query would fail this test.
    with pytest.raises(CommandError, match="between 1 and 65535"):
        call_command(command, port=0)


def test_instructions__name_the_address_the_commands_and_the_account(command):
    text = command.instructions("http://127.0.0.1:8000")
    assert "  http://127.0.0.1:8000/\n" in text
    assert "demo only" in text
    assert max(map(len, text.splitlines())) <= 100


class Demo:
    """A running `manage.py demo`, and a browser-like client of it."""

    def __init__(self, process, address):
        self.process = process
        self.address = address
        self.cookies = CookieJar()
        self.opener = build_opener(ProxyHandler({}), HTTPCookieProcessor(self.cookies))

    def get(self, path, **data):
        """The text at a path; with data it is posted."""
        body = urlencode(data).encode() if data else None
        with self.opener.open(self.request(path, body=body), timeout=START_SECONDS) as answer:
            return answer.read().decode()

    def request(self, path, accept="*/*", body=None):
        headers = {"Referer": self.address + path, "Accept": accept}
        return Request(self.address + path, body, headers)

    def wait(self):
        """Return when the server answers."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return self.get("/")
            except URLError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


class RatesService(ThreadingHTTPServer):
    """An exchange-rate service that gives no rates until the test lets it.

    Attributes:
        released: Set it to let all who ask have their answer.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), RatesHandler)
        self.released = Event()


class RatesHandler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        # The shop waits a second for each piece of an answer; white space may stand before JSON.
        while not self.server.released.wait(0.1):
            self.wfile.write(b" ")
        self.wfile.write(b'{"base": "EUR", "rates": {"USD": 1.25}}')

    def log_message(self, *args):
        pass


@pytest.fixture
def rates():
    with RatesService() as service:
        thread = Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield service
        service.released.set()
        service.shutdown()
        thread.join()


@pytest.fixture
def demo(tmp_path, rates):
    """`manage.py demo` in a process of its own, with a database file of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DJANGO_", "SHOP_", "PARTSTREAM_"))
    }
    with open(tmp_path / "log", "w+") as log:
        process = subprocess.Popen(
            [sys.executable, MANAGE, "demo", "--port", str(port), "--orders", "300"],
            env={
                **kept,
                "DATABASE_URL": f"sqlite:///{tmp_path / 'shop.sqlite3'}",
                "SHOP_EXCHANGE_RATES_URL": f"http://127.0.0.1:{rates.server_port}/latest",
            },
            cwd=tmp_path,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield Demo(process, f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
            try:
                process.wait(START_SECONDS)
            finally:
                process.kill()
            log.seek(0)
            print(log.read())


def test_demo__serves_page_and_parts_and_lets_staff_in(demo, rates):
    rates.released.set()
    assert "<main data-dashboard=" in demo.wait()
    for name in ("dashboard.js", "parts.js", "dashboard.css", "icon.svg"):
        assert demo.get(f"/static/shop/{name}")

    path, names = "/api/dashboard/", []
    while path:
        envelope = json.loads(demo.get(path))
        assert "errors" not in envelope
        names += [name for result in envelope["results"] for name in result]
        path = envelope["cursor"] and f"/api/dashboard/?cursor={envelope['cursor']}"
    assert len(names) == 12

    login = "/admin/login/?next=/"
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', demo.get(login))[1]
    page = demo.get(login, username="demo", password="demo", csrfmiddlewaretoken=token)
    assert "Sign out" in page
    margins = json.loads(demo.get("/api/dashboard/parts/?keys=margins"))
    assert margins["results"][0]["margins"]

    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[1]
    assert "Sign in as staff" in demo.get("/admin/logout/?next=/", csrfmiddlewaretoken=token)


def test_demo__answers_every_command_that_it_prints(demo, rates):
    rates.released.set()
    demo.wait()
    cursor = json.loads(demo.get("/api/dashboard/"))["cursor"]
    commands = [
        shlex.split(line.replace("CURSOR", cursor))
        for line in Command().instructions(demo.address).splitlines()
        if line.startswith("  curl ")
    ]
    assert len(commands) == 12
    options = argparse.ArgumentParser()
    options.add_argument("-N", action="store_true")
    options.add_argument("-H", default="Accept: */*")
    options.add_argument("-u", default="")
    options.add_argument("--max-time")
    options.add_argument("url")
    answers = []
    for _, *arguments in commands:
        given = options.parse_args(arguments)
        request = demo.request(given.url.removeprefix(demo.address), given.H.split(": ")[1])
        if given.u:
            credentials = base64.b64encode(given.u.encode()).decode()
            request.add_header("Authorization", f"Basic {credentials}")
        with demo.opener.open(request, timeout=START_SECONDS) as answer:
            answers.append((given, answer.headers["Content-Type"], answer.read().decode()))
    for given, content_type, text in answers:
        assert content_type.startswith(NDJSON) == given.N
        if "visit=" in given.url:
            assert json.loads(text)["errors"][0]["code"] == "courier_unavailable"
            again = demo.get(given.url.removeprefix(demo.address))
            assert "deliveries" in json.loads(again)["results"][0]
        else:
            assert '"errors"' not in text or "/schema/" in given.url
        if "margins" in given.url:
            assert json.loads(text)["results"][0]["margins"]


@timed
def test_demo__streams_beside_the_blocking_answer(demo, rates):
    """Each record arrives while a part still runs, for which the blocking answer waits, too."""
    demo.wait()
    others = {*EVERYBODY} - {"exchange_rates"}
    with ThreadPoolExecutor(1) as pool:
        blocking = pool.submit(demo.get, "/api/blocking/")
        try:
            with demo.opener.open(demo.request("/api/dashboard/", NDJSON)) as stream:
                records = (json.loads(line) for line in stream if line.strip())
                arrived = []
                while {*arrived} != others:
                    record = next(records)
                    arrived += [name for result in record["results"] for name in result]
                assert not blocking.done()
                rates.released.set()
                last = next(records)
                assert list(last["results"][0]) == ["exchange_rates"]
                assert last["results"][0]["exchange_rates"]["live"] is True
                assert last["cursor"] is None
                assert next(records, None) is None
        finally:
            rates.released.set()
        assert {*json.loads(blocking.result())} == {*EVERYBODY}


@timed
def test_demo__sends_what_is_ready_first(demo, rates):
    demo.wait()
    first = json.loads(demo.get("/api/ready-first/"))
    assert first["cursor"] is not None
    assert "exchange_rates" in first["meta"]["pending"]
    assert {"meta", "today"} <= {name for result in first["results"] for name in result}
    rates.released.set()
    names = [name for result in first["results"] for name in result]
    cursor = first["cursor"]
    while cursor:
        envelope = json.loads(demo.get(f"/api/ready-first/?cursor={cursor}"))
        names += [name for result in envelope["results"] for name in result]
        cursor = envelope["cursor"]
    assert sorted(names) == sorted(EVERYBODY)


def test_site__has_its_entry_points_and_nothing_to_mend(tmp_path):
    code = """
from shopsite.wsgi import application
print(application)
from shopsite.asgi import application
print(application)
from django.core.management import call_command
call_command("check", fail_level="WARNING")
call_command("makemigrations", check_changes=True, dry_run=True)
call_command("spectacular", fail_on_warn=True, validate=True, format="openapi-json")
"""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "DATABASE_URL": f"sqlite:///{tmp_path / 'shop.sqlite3'}"},
        cwd=MANAGE.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"(\w+) object at", done.stdout) == ["WSGIHandler", "ASGIHandler"]
    paths = json.loads(done.stdout[done.stdout.index("\n{") :])["paths"]
    assert {path.split("/")[2] for path in paths} == {"dashboard", "ready-first", "report"}
