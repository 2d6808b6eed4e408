"""`manage.py partstream_walk`: what it prints of real views."""

from __future__ import annotations

import io
import json
import re
from io import StringIO

import pytest
from django.contrib.auth.decorators import login_required
from django.core.management import CommandError, call_command
from django.db import connection
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import include, path
from rest_framework.permissions import IsAdminUser
from rest_framework.renderers import BaseRenderer, JSONRenderer

from partstream import HybridProgressiveView, PartError, ProgressiveView, cached_for, lazy
from partstream.management import visits, waterfall
from partstream.parts.outcome import Outcome
from partstream.resolution.observers import PartRun, get_observers
from tests.support.concurrency import wait_until
from tests.support.marks import leaves_transaction
from tests.support.streams import until_second_request

pytestmark = pytest.mark.django_db


def query(times):
    def load(request, **dependencies):
        with connection.cursor() as cursor:
            for _ in range(times):
                cursor.execute("SELECT 1")
        return times

    return load


def refuse(request):
    raise PartError("closed", code="closed")


class Board(HybridProgressiveView):
    chunk_size = 2
    parts = [
        ("meta", {"version": 1}),
        ("orders", lazy(query(3))),
        ("stock", lazy(query(1), depends_on=["orders"])),
        ("closed", lazy(refuse)),
        ("margins", lazy(query(1), permission_classes=[IsAdminUser])),
    ]


class Hidden(ProgressiveView):
    parts = [("margins", lazy(query(1), permission_classes=[IsAdminUser]))]


@pytest.fixture(autouse=True)
def urls(mount):
    mount(
        path("board/", include(Board.urls())),
        path("plain/", lambda request: HttpResponse("{}", content_type="application/json")),
        path("hidden/", Hidden.as_view()),
    )


class Terminal(StringIO):
    def isatty(self):
        return True


def run(*args, stderr=None, **options):
    """The lines of the output."""
    output = StringIO()
    call_command("partstream_walk", *args, stdout=output, stderr=stderr or StringIO(), **options)
    assert not get_observers()
    return output.getvalue().splitlines()


def rows(lines):
    """Name of the part -> chunk, queries and source."""
    found = {}
    for line in lines[1:-1]:
        words = line.replace("█", "").split()
        found[words[1]] = int(words[0]), line
    return found


@pytest.mark.django_db(transaction=True)
def test_walk__prints_each_part():
    lines = run("/board/")
    assert lines[0].split() == ["chunk", "part", "ms", "queries", "bytes", "source"]
    found = rows(lines)
    assert list(found) == ["meta", "orders", "stock", "closed"]
    first, again = (line for line in lines if " orders " in line)
    assert re.search(r"█ +\d+\.\d +3 +1  loader$", first)
    # The next chunk has a part that needs it, and so takes it from the walk's cache.
    assert re.search(r"orders +0\.0 +1  cache$", again)
    assert found["meta"][1].endswith("13  immediate")
    assert found["closed"][1].endswith("error: closed")
    assert re.fullmatch(
        r"2 requests, [\d,]+ ms, \d+ queries of parts, [\d,]+ bytes of responses", lines[-1]
    )


def test_walk__as_a_user(staff):
    assert "margins" not in rows(run("/board/"))
    assert "margins" in rows(run("/board/", "--user", staff.username))


def test_walk__needs_no_session(staff, django_assert_num_queries):
    from django.contrib.sessions.models import Session

    run("/board/", user=staff.username)
    assert not Session.objects.exists()


def test_walk__query_and_whole_url(settings):
    settings.ALLOWED_HOSTS = ["board.example"]
    assert "orders" in rows(run("/board/?year=2026"))
    assert "orders" in rows(run("https://board.example/board/?year=2026"))


hosts_seen = []


def note_host(get_response):
    """A middleware that notes each request's host."""

    def respond(request):
        hosts_seen.append(request.get_host())
        return get_response(request)

    return respond


@pytest.mark.parametrize(
    ("hosts", "host"), [(["*"], "localhost"), ([".example.org"], "example.org"), ([], "localhost")]
)
def test_walk__chooses_an_allowed_host(settings, hosts, host):
    settings.ALLOWED_HOSTS, settings.DEBUG = hosts, not hosts
    settings.MIDDLEWARE = [f"{__name__}.note_host"]
    hosts_seen.clear()
    run("/board/")
    assert set(hosts_seen) == {host}


def test_walk__follows_a_cursor_of_another_name(mount):
    class Report(ProgressiveView):
        chunk_size = 1
        cursor_query_param = "after"
        parts = [("a", 1), ("b", 2), ("c", 3)]

    mount(path("report/", Report.as_view()))
    assert list(rows(run("/report/?year=2026"))) == ["a", "b", "c"]


def test_walk__shows_caches_and_joined_runs(mount, empty_cache):
    class Cached(ProgressiveView):
        parts = [("shared", lazy(cached_for(60, shared=True)(query(1))))]

    mount(path("cached/", Cached.as_view()))
    assert rows(run("/cached/"))["shared"][1].endswith("loader")
    again = rows(run("/cached/"))["shared"][1]
    assert again.endswith("cache")
    assert "█" not in again


@leaves_transaction
def test_walk__parts_that_are_left_to_a_later_chunk(mount, held, threads, empty_cache):
    slow = held("late")

    class Budget(ProgressiveView):
        time_budget = 0.05
        executor = threads
        chunk_size = 2
        parts = [("quick", 1), ("slow", lazy(slow)), ("last", lazy("let_go"))]

        def let_go(self, request):
            slow.release()
            return 1

    mount(path("budget/", Budget.as_view()))
    found = [line for line in run("/budget/") if " slow " in line]
    assert found[0].endswith("pending")
    assert found[1].endswith(("joined", "cache"))


def test_walk__goes_on_after_a_refusal_by_the_rate_limit(settings, monkeypatch):
    waits = []
    settings.DJANGO_PARTSTREAM = {
        "ENABLE_RATE_LIMITING": True,
        "RATE_LIMIT": 1,
        "RATE_LIMIT_STORE": "partstream.backends.rate_limits.memory.MemoryRateLimitStore",
    }

    def wait(seconds):
        waits.append(seconds)
        settings.DJANGO_PARTSTREAM = {"ENABLE_RATE_LIMITING": False}

    monkeypatch.setattr(visits.time, "sleep", wait)
    stderr = StringIO()
    assert list(rows(run("/board/", stderr=stderr))) == ["meta", "orders", "stock", "closed"]
    assert len(waits) == 1
    assert f"goes on in {waits[0]} s" in stderr.getvalue()


def test_walk__shows_progress_on_a_terminal_alone():
    terminal, file = Terminal(), StringIO()
    run("/board/", stderr=terminal)
    assert "running: orders" in terminal.getvalue()
    # The line is empty at the end.
    assert terminal.getvalue().rstrip("\r").rpartition("\r")[2].strip() == ""
    run("/board/", stderr=file)
    assert file.getvalue() == ""


@leaves_transaction
def test_walk__shows_nothing_after_its_end(mount, held, threads):
    """A loader that went on after its timeout ends when the prompt has returned."""
    slow, terminal = held(), Terminal()

    class Slow(ProgressiveView):
        executor = threads
        parts = [("slow", lazy(slow, timeout=0.05))]

    mount(path("slow/", Slow.as_view()))
    run("/slow/", stderr=terminal)
    shown = terminal.getvalue()
    assert "running: slow" in shown
    slow.release()
    wait_until(lambda: not threads.abandoned)
    assert terminal.getvalue() == shown


class Vendor(JSONRenderer):
    """JSON under a name of its own."""

    media_type = "application/vnd.shop+json"


class Pack(BaseRenderer):
    """No JSON at all."""

    media_type = "application/x-pack"

    def render(self, data, *args, **kwargs):
        return repr(data).encode()


@pytest.mark.parametrize("renderers", [[Vendor], [Pack], [Pack, JSONRenderer]])
def test_walk__of_a_view_with_renderers_of_its_own(mount, renderers):
    class Report(ProgressiveView):
        chunk_size = 1
        renderer_classes = renderers
        parts = [("a", 1), ("b", 2)]

    mount(path("report/", Report.as_view()))
    assert list(rows(run("/report/"))) == ["a", "b"]


def test_walk__the_user_is_the_same_for_djangos_middleware(mount, staff):
    mount(path("board/", login_required(Board.as_view())))
    with pytest.raises(CommandError, match=r"answers 302. It redirects to /accounts/login/"):
        run("/board/")
    assert "margins" in rows(run("/board/", user=staff.username))


def test_walk__below_the_path_of_the_project(settings, staff):
    """Its URL as a browser shows it, and without the project's path."""
    settings.FORCE_SCRIPT_NAME = "/shop"
    assert "orders" in rows(run("/shop/board/"))
    assert "orders" in rows(run("https://localhost/shop/board/?year=2026"))
    assert "orders" in rows(run("/board/"))


def test_walk__in_an_encoding_without_blocks():
    output = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    call_command("partstream_walk", "/board/", stdout=output)
    output.seek(0)
    assert "#" in output.read()


@pytest.mark.parametrize("wait", ["Wed, 21 Oct 2026 07:28:00 GMT", "-1", "1.5", ""])
def test_walk__a_wait_that_is_no_number_is_a_second(mount, monkeypatch, wait):
    """Other middleware may write a date."""
    waits, answers = [], []

    def answer(request):
        if not answers:
            answers.append(429)
            return HttpResponse(status=429, headers={"Retry-After": wait})
        return Board.as_view()(request)

    monkeypatch.setattr(visits.time, "sleep", waits.append)
    mount(path("board/", answer))
    run("/board/")
    assert waits == [1]


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("board/", "is not a path"),
        ("/nowhere/", r"answers 404\.$"),
        ("/board/manifest/", "not a view that delivers parts"),
        ("/hidden/", "has no parts for this user"),
        ("/plain/", "not a view that delivers parts"),
        ("/board/?cursor=x", "cursor_invalid"),
    ],
)
def test_walk__says_what_is_wrong(url, text):
    with pytest.raises(CommandError, match=text):
        run(url)
    assert not get_observers()


@pytest.mark.parametrize("name", ["nobody", "", "a\x00b"])
def test_walk__an_unknown_user(name):
    with pytest.raises(CommandError, match="There is no user"):
        run("/board/", user=name)


@pytest.mark.parametrize("columns", [20, 80, 400])
def test_draw__fits_the_terminal(columns):
    (heading,) = waterfall.draw([], 0.0, 1.0, columns)
    # Below 62 columns its lines wrap.
    assert len(heading) <= max(columns, 62)


# A stream


def test_stream__prints_each_part():
    lines = run("/board/", "--stream")
    assert lines[0].split() == ["record", "part", "ms", "queries", "bytes", "source"]
    found = rows(lines)
    assert list(found) == ["meta", "orders", "stock", "closed"]
    assert [number for number, _ in found.values()] == [1, 2, 3, 4]
    assert len(lines) == 6
    assert found["meta"][1].endswith("13  immediate")
    # Three queries, between those of a savepoint, because the test is in a transaction.
    assert re.search(r"█ +\d+\.\d +5 +1  loader$", found["orders"][1])
    assert found["closed"][1].endswith("error: closed")
    assert re.fullmatch(
        r"1 request, 4 records, the first after [\d,]+ ms, the last after [\d,]+ ms, "
        r"\d+ queries of parts, [\d,]+ bytes of responses",
        lines[-1],
    )


@leaves_transaction
@pytest.mark.parametrize("parameter", ["cursor", "after"])
def test_stream__that_ends_early_is_resumed(mount, settings, held, threads, parameter):
    settings.DJANGO_PARTSTREAM = {"STREAM_MAX_SECONDS": 0.1}
    slow = held("slow")

    class Board(until_second_request(slow), ProgressiveView):
        executor = threads
        cursor_query_param = parameter
        parts = [("meta", 1), ("slow", lazy(slow))]

    mount(path("board/", Board.as_view()))
    lines = run("/board/?year=2026", "--stream")
    found = rows(lines)
    assert list(found) == ["meta", "slow"]
    requests, records = map(int, re.match(r"(\d+) requests, (\d+) records, ", lines[-1]).groups())
    # Each stream begins with a record.
    assert found["meta"][0] == 1 < requests < found["slow"][0] == records
    assert "█" in found["slow"][1]


def test_stream__as_a_user(staff):
    assert "margins" not in rows(run("/board/", "--stream"))
    assert "margins" in rows(run("/board/", "--stream", "--user", staff.username))


def test_stream__goes_on_after_a_refusal_by_the_rate_limit(mount, monkeypatch):
    waits, answers = [], []

    def answer(request):
        if not answers:
            answers.append(429)
            return HttpResponse(status=429, headers={"Retry-After": "7"})
        return Board.as_view()(request)

    monkeypatch.setattr(visits.time, "sleep", waits.append)
    mount(path("board/", answer))
    stderr = StringIO()
    assert len(rows(run("/board/", "--stream", stderr=stderr))) == 4
    assert waits == [7]
    assert "goes on in 7 s" in stderr.getvalue()


def test_stream__of_parts_that_ran_elsewhere(mount):
    """What no observer of this process saw has its record, and what that says."""
    record = {"results": [{"a": 1}], "errors": [{"part": "b", "code": "closed"}], "cursor": None}
    mount(path("board/", lambda request: ndjson(json.dumps(record).encode() + b"\n")))
    lines = run("/board/", "--stream")
    assert [line.split() for line in lines[1:-1]] == [["1", "a"], ["1", "b", "error:", "closed"]]


def test_stream__a_part_that_ended_between_two_streams_keeps_its_run():
    """The resumed stream finds it in the walk's cache."""
    recording = waterfall.StreamRecording(lambda names: None)
    run = PartRun(None, None, "slow", [])
    with recording.running(run):
        pass
    recording.ended(run, Outcome("slow", b"1", None, 0.1, "loader"))
    recording.resolved(None, None, [Outcome("slow", b"1", None, 0.0, "cache")], [])
    recording.take({"results": [{"slow": 1}], "cursor": None})
    (row,) = recording.rows
    assert (row.number, row.run, row.source) == (1, run, "loader")


def ndjson(*pieces):
    return StreamingHttpResponse(iter(pieces), content_type="application/x-ndjson")


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([], "/faulty/ streams no record"),
        ([b'{"results":[],"cursor":null}'], "/faulty/ streams no record"),
        ([b'{"results":[],"cursor":null}\n'], "/faulty/ has no parts for this user"),
        ([b'{"results":[{"a":1}],"cursor":"x"}\n'], "/faulty/ streams the part 'a' twice"),
        ([b"<html>\n"], "/faulty/ does not stream records. This is not JSON: '<html>'"),
        (
            [b'{"cursor":"x","stream_error":{"code":"stream_failed"}}\n'],
            "The stream of /faulty/ broke: .*stream_failed.* The log has the exception",
        ),
    ],
)
def test_stream__says_what_is_wrong(mount, pieces, text):
    answers = []

    def answer(request):
        answers.append(ndjson(*pieces))
        return answers[-1]

    mount(path("faulty/", answer))
    with pytest.raises(CommandError, match=text):
        run("/faulty/", "--stream")
    assert not get_observers()
    assert all(response.closed for response in answers)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("/board/", r"answers 406\. {.*not_acceptable"),
        ("/plain/", "/plain/ answers, but it does not stream"),
        ("/nowhere/", r"answers 404\.$"),
    ],
)
def test_stream__of_a_view_that_has_none(monkeypatch, url, text):
    monkeypatch.setattr(Board, "offers_streams", classmethod(lambda cls, initkwargs: False))
    with pytest.raises(CommandError, match=text):
        run(url, "--stream")


def test_walk__of_a_stream_names_the_option():
    with pytest.raises(CommandError, match=r"/board/ answers with a stream. Write --stream\."):
        run("/board/?format=ndjson")
