"""What a server's process can still do after a hundred requests of each kind of loader."""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.concurrency import wait_until
from tests.support.processes import run_python
from tests.support.requirements import demand
from tests.support.wsgi import Answer

from .server_processes import SERVERS, serve

#: More than a pool has workers and places for abandoned calls together.
REQUESTS = 100
#: Of each kind of coroutine loader, where they are refused: a page of DEBUG takes its time.
REFUSALS = 25
PLAIN_KINDS = ["inline", "timed", "threads", "threads_timed", "fallback"]
COROUTINE_KINDS = [
    "coroutine",
    "coroutine_timed",
    "coroutine_threads",
    "coroutine_threads_timed",
]
HIDDEN_KINDS = ["hidden", "hidden_timed", "hidden_threads"]


def look_at(kind, answer, *, is_green):
    """Whether it is what a loader of this kind brings."""
    if is_green and kind in COROUTINE_KINDS:
        assert answer.status == 500
        assert b"has patched threads" in answer.body
        assert b"def instead of async def" in answer.body
    elif is_green and kind in HIDDEN_KINDS:
        [error] = answer.json()["errors"]
        assert error["code"] == "part_failed"
        assert "has patched threads" in error["exception"]
    else:
        assert (kind, answer.status) == (kind, 200), answer.body
        assert answer.json()["results"] == [{"part": 0}]


@pytest.mark.parametrize("name", SERVERS)
def test_server__works_after_each_kind_of_loader_and_ends(project, name, request):
    modules, _ = SERVERS[name]
    demand(*modules)
    with serve(name, **project) as server, ThreadPoolExecutor(4) as clients:
        coroutines = REFUSALS if "gevent" in modules else REQUESTS
        paths = [f"/{kind}/" for kind in COROUTINE_KINDS] * coroutines
        paths += [f"/{kind}/" for kind in PLAIN_KINDS + HIDDEN_KINDS] * REQUESTS
        for path, answer in zip(paths, clients.map(server.get, paths), strict=True):
            look_at(path.strip("/"), answer, is_green="gevent" in modules)
        for answer in clients.map(server.get, ["/plain/"] * 8):
            assert (answer.status, answer.json()) == (200, {"users": 0})
        # One that will never end does not hold up the server's end.
        assert server.get("/hanging/").json()["results"] == [{"part": "late"}]
        assert server.terminate() in (0, -signal.SIGTERM), server.log()
        assert "SIGKILL" not in server.log()
    if "database" in request.fixturenames:
        database = request.getfixturevalue("database")
        wait_until(lambda: not database.sessions())


EVENTLET = f"""
import eventlet
eventlet.monkey_patch()
import json
import django
django.setup()
from django.core.checks import run_checks
from django.core.wsgi import get_wsgi_application
from tests.integration.servers import urls
from tests.support.wsgi import ask

application = get_wsgi_application()

def get(path):
    answer = ask(application, path)
    return path.strip("/"), answer.status, answer.body.decode()

pool = eventlet.GreenPool(4)
kinds = [*urls.COROUTINE_KINDS] * {REFUSALS}
kinds += [*urls.PLAIN_KINDS, *urls.HIDDEN_KINDS] * {REQUESTS}
print(json.dumps({{
    "answers": list(pool.imap(get, [f"/{{kind}}/" for kind in kinds])),
    "plain": list(pool.imap(get, ["/plain/"] * 8)),
    "late": get("/hanging/"),
    "checks": [[message.id, str(message.obj)] for message in run_checks()],
}}))
"""


def test_eventlet__leaves_the_orm_to_plain_loaders(project, tmp_path):
    demand("eventlet")
    said = json.loads(run_python(EVENTLET, tmp_path, patience=120, **project))
    assert {kind for kind, _, _ in said["answers"]} == {
        *PLAIN_KINDS,
        *COROUTINE_KINDS,
        *HIDDEN_KINDS,
    }
    for kind, status, body in said["answers"]:
        look_at(kind, Answer(status, body.encode()), is_green=True)
    for _, status, body in said["plain"]:
        assert (status, json.loads(body)) == (200, {"users": 0})
    assert json.loads(said["late"][2])["results"] == [{"part": "late"}]
    refused = [check for check, _ in said["checks"] if check == "partstream.E010"]
    assert len(refused) == len(COROUTINE_KINDS)
