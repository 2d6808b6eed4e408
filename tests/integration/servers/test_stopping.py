"""SIGTERM: a server ends in time whatever runs in it, and its clients go on at the next one."""

from __future__ import annotations

import http.client
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import pytest

from tests.support.concurrency import PATIENCE, wait_until
from tests.support.marks import timed
from tests.support.requirements import demand

from .server_processes import SERVERS, ask, serve
from .stopping_urls import ABANDONED, COROUTINES

#: Those with threads; gevent's have no coroutine loaders.
THREADED = [name for name in SERVERS if "gevent" not in name]
#: The sooner they have begun, the sooner their parts time out.
CLIENTS = 4
#: Seconds of grace where a test waits for its end.
SHORT_GRACE = 2
ENDED = (0, -signal.SIGTERM)


@pytest.fixture(params=THREADED)
def name(request):
    """Each server in turn."""
    demand(*SERVERS[request.param][0])
    return request.param


@pytest.fixture
def start(project, opened):
    """Starts servers of the project: ``start(name, grace=5)`` is a context."""

    def start(name, **options):
        urls = "tests.integration.servers.stopping_urls"
        return serve(name, SERVERS_URLCONF=urls, **project, **opened.environment, **options)

    return start


@pytest.fixture
def clients():
    with ThreadPoolExecutor(CLIENTS) as clients:
        yield clients


def begin_walk(server, opened):
    """The first chunk of a walk, while the loader of its second part waits at the gate."""
    envelope = server.get("/walk/").json()
    assert envelope["results"] == [{"first": 1}]
    slow = opened.next()
    assert slow.name == "slow"
    return f"/walk/?cursor={envelope['cursor']}", slow


def walk_on(server, path):
    """The parts of the rest of a walk, by name, and whatever failed.

    The view has a time budget, so the order of its parts is that in which they end.
    """
    parts, errors = [], []
    while path is not None:
        envelope = server.get(path).json()
        parts += envelope["results"]
        errors += envelope.get("errors", [])
        path = f"/walk/?cursor={envelope['cursor']}" if envelope["cursor"] else None
    return sorted(parts, key=list), errors


SECOND = [{"slow": 0}, {"next": 0}]
REST = [{"last": 4}, {"next": 0}, {"slow": 0}]


@timed
@pytest.mark.parametrize("name", SERVERS)
def test_stop__waits_for_no_loader_that_was_left_behind_and_no_idle_connection(
    start, opened, clients, name, request
):
    demand(*SERVERS[name][0])
    kinds = list(ABANDONED)
    if "gevent" in name:
        kinds = [kind for kind in kinds if kind.removesuffix("_threads") not in COROUTINES]
    # Behind one that blocks the loop no coroutine begins.
    kinds.sort(key=lambda kind: kind.startswith("in_loop"))
    with start(name) as server, ExitStack() as stack:
        for answer in clients.map(server.get, [f"/{kind}/" for kind in kinds[:-1]]):
            assert answer.json()["results"] == [{"part": "late"}]
        assert server.get(f"/{kinds[-1]}/").json()["results"] == [{"part": "late"}]
        visits = [opened.next() for _ in kinds]
        kept, _silent = [stack.enter_context(closing(server.connect())) for _ in range(2)]
        assert ask(kept, "/plain/").status == 200
        assert server.terminate() in ENDED, server.log()
        for visit in visits:
            visit.wait_until_gone()
    if "database" in request.fixturenames:
        database = request.getfixturevalue("database")
        wait_until(lambda: not database.sessions())


def test_stop__answers_what_is_in_flight_and_the_walk_goes_on_elsewhere(
    start, opened, clients, name
):
    with start(name) as server:
        path, slow = begin_walk(server, opened)
        held = clients.submit(server.get, "/held/")
        visits = [slow, opened.next()]
        going_on = clients.submit(server.get, path)
        visits.append(opened.next())
        assert [visit.name for visit in visits] == ["slow", "held", "next"]
        server.begin_to_stop()
        assert not held.done()
        for visit in visits:
            visit.release()
        answer = held.result(PATIENCE)
        assert (answer.status, answer.json()["results"]) == (200, [{"first": None}, {"count": 0}])
        answer = going_on.result(PATIENCE).json()
        assert answer["results"] == SECOND
        assert server.wait_until_ended() in ENDED
    with start(name) as server:
        assert walk_on(server, f"/walk/?cursor={answer['cursor']}") == ([{"last": 4}], [])
    assert opened.is_empty()


def test_stop__of_a_walk_whose_part_is_running_runs_it_again(start, opened, clients, name):
    with start(name) as server:
        path, slow = begin_walk(server, opened)
        assert server.terminate() in ENDED, server.log()
        slow.wait_until_gone()
    with start(name) as server:
        rest = clients.submit(walk_on, server, path)
        visits = [opened.next(), opened.next()]
        assert {visit.name for visit in visits} == {"slow", "next"}
        for visit in visits:
            visit.release()
        assert rest.result(PATIENCE) == (REST, [])
    assert opened.is_empty()


def test_stop__of_one_server_lets_another_join_its_parts(start, opened, clients, name):
    with start(name) as new, start(name) as old:
        path, slow = begin_walk(old, opened)
        going_on = clients.submit(old.get, path)
        following = opened.next()
        old.begin_to_stop()
        rest = clients.submit(walk_on, new, path)
        # Nothing says of this part that it is slow, so the new server does not look for it.
        again = opened.next()
        assert (following.name, again.name) == ("next", "next")
        for visit in (slow, following, again):
            visit.release()
        assert going_on.result(PATIENCE).json()["results"] == SECOND
        assert old.wait_until_ended() in ENDED
        assert rest.result(PATIENCE) == (REST, [])
    assert opened.is_empty()


def test_stop__has_an_end_whatever_a_client_or_a_loader_does(start, opened, name):
    """After its grace: a loader without a timeout, half a request, an answer that nobody reads."""
    with start(name, grace=SHORT_GRACE) as server, ExitStack() as stack:
        held, half, unread = [stack.enter_context(closing(server.connect())) for _ in range(3)]
        held.request("GET", "/held/")
        visit = opened.next()
        half.sock.sendall(b"GET /plain/ HTTP/1.1\r\nHost: local")
        unread.request("GET", "/large/")
        assert unread.sock.recv(1) == b"H"
        server.begin_to_stop()
        assert server.wait_until_ended() in ENDED
        visit.wait_until_gone()
        with pytest.raises((http.client.HTTPException, OSError)):
            held.getresponse()
