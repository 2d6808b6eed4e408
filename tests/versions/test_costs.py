"""What staff may see of each part's cost: ``meta.debug``, ``Server-Timing``, lines of the log."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.db.backends.signals import connection_created
from django.test import Client

from partstream import HybridProgressiveView, lazy
from partstream.exceptions import PartError
from partstream.resolution import observation
from partstream.wire.responses import LONGEST_LINK
from tests.support.log_messages import message
from tests.support.marks import leaves_transaction
from tests.support.walk_client import at, get_json, names

pytestmark = pytest.mark.django_db

LOGGED = {"ENABLE_DEBUG_LOGGING": True}
SECRET = "password=hunter2"


def query(times):
    def load(request, **dependencies):
        with connection.cursor() as cursor:
            for number in range(times):
                cursor.execute("SELECT %s", [number])
        return times

    return load


def close_for_good():
    """Close this thread's connection, also to a database in memory, which Django leaves open."""
    connection.connection.close()
    connection.connection = None


def fail(request):
    raise ValueError(SECRET)


PARTS = [
    ("meta", 1),
    ("orders", lazy(query(3))),
    ("stock", lazy(query(1), depends_on=["orders"])),
    ("rates", lazy(fail)),
]


@pytest.fixture
def url(serve, settings):
    settings.DJANGO_PARTSTREAM = LOGGED
    return serve(HybridProgressiveView, parts=PARTS, chunk_size=2)


@pytest.fixture
def staff_client(staff):
    client = Client()
    client.force_login(staff)
    return client


def without_tokens(response):
    """The status, headers and body, less what differs from request to request."""
    body = json.loads(response.content)
    for holder in (body, *body.get("errors", [])):
        for field in ("cursor", "retry_cursor"):
            if holder.get(field):
                holder[field] = "TOKEN"
    headers = {name: value for name, value in response.items() if name != "X-Request-ID"}
    headers.pop("Link", None)
    return response.status_code, headers, body


# The clients that see it


@pytest.mark.parametrize("path", ["", "parts/"])
@pytest.mark.parametrize("who", ["anonymous", "user", "staff without the setting"])
def test_debug__others_get_the_same_answer(url, settings, user, staff, client, path, who):
    if who == "user":
        client.force_login(user)
    if who == "staff without the setting":
        client.force_login(staff)
        settings.DJANGO_PARTSTREAM = {}
    query = "?keys=stock,rates" if path else "?"
    plain = client.get(f"{url}{path}{query}")
    asking = client.get(f"{url}{path}{query}&debug=1")
    assert without_tokens(plain) == without_tokens(asking)
    assert "Server-Timing" not in asking.headers
    assert "debug" not in asking.json()["meta"]


def test_debug__staff_see_it(url, staff_client):
    meta = get_json(staff_client, f"{url}?debug=1")["meta"]
    assert meta["debug"].keys() == {"meta", "orders"}
    assert meta["debug"]["meta"]["source"] == "immediate"
    orders = meta["debug"]["orders"]
    assert orders["source"] == "loader"
    assert 0 <= orders["duration"] < 60_000
    assert "debug" not in get_json(staff_client, url)["meta"]


def test_debug__under_debug_everybody_sees_it(url, client, settings):
    settings.DEBUG = True
    assert "debug" in get_json(client, f"{url}?debug=1")["meta"]


@pytest.mark.parametrize("value", ["0", "", "2", "true", "1&debug=1x"])
def test_debug__other_values_are_the_applications(url, staff_client, value):
    assert "debug" not in get_json(staff_client, f"{url}?debug={value}")["meta"]


def test_debug__a_walk_stays_in_debug(url, staff_client):
    first = staff_client.get(f"{url}?debug=1")
    link = re.match(r"<(.*)>", first.headers["Link"])[1]
    second = get_json(staff_client, url + link)
    assert names(second) == ["stock"]
    # A part that another one needs has run here, too.
    assert second["meta"]["debug"].keys() >= {"stock", "rates"}


@pytest.mark.django_db(transaction=True)
def test_debug__counts_queries(url, staff_client):
    debug = get_json(staff_client, f"{url}parts/?keys=stock,meta&debug=1")["meta"]["debug"]
    assert {name: entry["queries"] for name, entry in debug.items()} == {
        "meta": 0,
        "orders": 3,
        "stock": 1,
    }


@pytest.mark.django_db(transaction=True)
def test_debug__counts_queries_of_the_first_coroutine_of_a_thread(serve, settings):
    """Its connection was open before anything was counted."""
    settings.DJANGO_PARTSTREAM, settings.DEBUG = LOGGED, True

    async def load(request):
        return await sync_to_async(query(3))(request)

    url = serve(parts=[("later", lazy(load))])

    def ask():
        connection_created.disconnect(dispatch_uid="partstream.queries")
        connection.ensure_connection()
        try:
            return get_json(Client(), f"{url}?debug=1")["meta"]["debug"]["later"]["queries"]
        finally:
            close_for_good()

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(ask).result() == 3


def test_debug__secrets_of_a_failed_part_stay_secret(url, staff_client):
    response = staff_client.get(f"{url}parts/?keys=rates&debug=1")
    assert SECRET not in response.content.decode()
    assert "ValueError" not in response.content.decode()
    assert SECRET not in str(response.headers)
    assert response.json()["meta"]["debug"]["rates"]["source"] == "loader"


@leaves_transaction
def test_debug__pending_parts(serve, settings, staff_client, held, threads, empty_cache):
    settings.DJANGO_PARTSTREAM = LOGGED
    slow = held("late")
    parts = [("quick", lazy(query(1))), ("slow", lazy(slow))]
    url = serve(parts=[("quick", 1), parts[1]], executor=threads, time_budget=0.05)
    first = get_json(staff_client, f"{url}?debug=1")
    assert first["meta"]["debug"]["slow"] == {
        "duration": None,
        "source": "pending",
        "queries": None,
    }
    slow.release()
    second = get_json(staff_client, at(url, first["cursor"], debug=1))
    # It depends on whether it had ended before the second request.
    assert second["meta"]["debug"]["slow"]["source"] in {"joined", "cache"}


def test_debug__a_whole_response(settings, staff_client, mount):
    from django.urls import path
    from rest_framework.views import APIView

    from partstream.mixins import ChunkMixin

    class Whole(ChunkMixin, APIView):
        parts = [("meta", 1)]

        def get(self, request):
            return self.walk_response(request)

    settings.DJANGO_PARTSTREAM = LOGGED
    mount(path("whole/", Whole.as_view()))
    response = staff_client.get("/whole/?debug=1")
    assert response.json()["meta"]["debug"]["meta"]["source"] == "immediate"
    assert response.headers["Server-Timing"].startswith("meta;dur=")


# Server-Timing


@pytest.mark.django_db(transaction=True)
def test_server_timing__of_a_request_by_key(url, staff_client):
    timing = staff_client.get(f"{url}parts/?keys=meta,orders").headers["Server-Timing"]
    entries = dict(entry.split(";", 1) for entry in timing.split(", ") if ";" in entry)
    assert entries.keys() == {"meta", "orders"}
    assert re.search(r'orders;dur=\d+\.\d;desc="loader, 3 queries"', timing)
    assert re.search(r'meta;dur=\d+\.\d;desc="immediate, 0 queries"', timing)


@pytest.mark.parametrize("query", ["", "x=" + "a" * 900, "x=" + "a" * 1300, "x=" + "a" * 3000])
def test_server_timing__is_cut_so_that_all_headers_stay_small(serve, settings, staff_client, query):
    settings.DJANGO_PARTSTREAM = {**LOGGED, "MAX_PARTS_PER_REQUEST": 200}
    parts = [(f"{'n' * 50}{number}", 1) for number in range(200)]
    url = serve(parts=parts, chunk_size=150)
    headers = staff_client.get(url, QUERY_STRING=query).headers
    timing, link = headers.get("Server-Timing", ""), headers.get("Link", "")
    assert len(timing) + len(link) <= LONGEST_LINK
    if len(query) < 1000:
        assert timing
    # No entry is cut in two.
    assert all(re.fullmatch(r"\w+;dur=\d+\.\d;desc=\"[\w, ]+\"", e) for e in split(timing))


def split(timing):
    return re.findall(r'[^,\s][^"]*"[^"]*"', timing)


def test_server_timing__the_slowest_first(serve, settings, staff_client, monkeypatch):
    from partstream.parts.outcome import Outcome
    from partstream.wire.costs import server_timing

    outcomes = [
        Outcome(name, b"1", None, duration, "loader")
        for name, duration in [("a", 0.001), ("b", 0.5), ("c", 0.02)]
    ]
    assert server_timing(outcomes, lambda name: None, 1000) == (
        'b;dur=500.0;desc="loader", c;dur=20.0;desc="loader", a;dur=1.0;desc="loader"'
    )
    assert server_timing(outcomes, lambda name: 1, 50) == 'b;dur=500.0;desc="loader, 1 query"'
    assert server_timing(outcomes, lambda name: 1, 10) == ""


# Lines of the log


def warnings(caplog):
    return [message(record) for record in caplog.records if record.levelname == "WARNING"]


def test_log__repeated_queries(serve, settings, client, caplog):
    settings.DJANGO_PARTSTREAM = LOGGED
    most = observation.MOST_REPEATS
    get_json(client, serve(parts=[("few", lazy(query(most))), ("many", lazy(query(most + 1)))]))
    (line,) = warnings(caplog)
    assert line.startswith(f"Part 'many' of ServedView ran one statement {most + 1} times.")
    assert line.endswith("The statement: SELECT %s")


class Composed:
    """A statement that is no text, as those of ``psycopg.sql``: it has values, and no hash."""

    __hash__ = None

    def __repr__(self):
        return SECRET


def test_log__statements_that_are_objects(serve, settings, client, caplog):
    """They run, and nothing of them is logged."""
    settings.DJANGO_PARTSTREAM = LOGGED

    def compose(request):
        def execute_text(execute, sql, params, many, context):
            return execute("SELECT 1", params, many, context)

        with connection.execute_wrapper(execute_text), connection.cursor() as cursor:
            for _ in range(50):
                cursor.execute(Composed())
        return 1

    assert "errors" not in get_json(client, serve(parts=[("composed", lazy(compose))]))
    assert SECRET not in caplog.text


def test_log__a_statement_is_one_line(serve, settings, client, caplog):
    settings.DJANGO_PARTSTREAM = LOGGED

    def load(request):
        with connection.cursor() as cursor:
            for _ in range(50):
                cursor.execute("SELECT\n   1")

    get_json(client, serve(parts=[("lines", lazy(load))]))
    (line,) = warnings(caplog)
    assert line.endswith("The statement: SELECT 1")


def test_log__slow_parts(serve, settings, client, caplog, monkeypatch):
    settings.DJANGO_PARTSTREAM = LOGGED
    monkeypatch.setattr(observation, "SLOW_SECONDS", 0.0)
    get_json(client, serve(parts=[("orders", lazy(query(1)))]))
    (line,) = warnings(caplog)
    assert re.fullmatch(r"Part 'orders' of ServedView is slow: it took \d+\.\d s\.", line)


def test_log__nothing_without_the_setting(serve, client, caplog, monkeypatch):
    monkeypatch.setattr(observation, "SLOW_SECONDS", 0.0)
    get_json(client, serve(parts=[("many", lazy(query(50)))]))
    assert not warnings(caplog)


def test_log__errors_of_a_part_are_logged_once(serve, settings, client, caplog):
    settings.DJANGO_PARTSTREAM = LOGGED

    def refuse(request):
        raise PartError("closed", code="closed")

    get_json(client, serve(parts=[("closed", lazy(refuse)), ("rates", lazy(fail))]))
    assert len([record for record in caplog.records if "rates" in record.getMessage()]) == 1
