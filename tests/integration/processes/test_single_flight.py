"""Single flight across processes, and after a fork."""

from __future__ import annotations

import time

import pytest

from tests.support.concurrency import PATIENCE, wait_until
from tests.support.processes import run_python
from tests.support.redis import needs_redis
from tests.support.single_flight_processes import LOCAL_STORE, Crew, Run
from tests.support.walk_client import merged


def test_fork__a_child_has_no_flights(tmp_path):
    code = """
import os, signal, threading
import django
django.setup()
from django.test import Client, RequestFactory
from partstream import cached_for
from partstream.caching.single_flight import get_single_flight

began, go = threading.Event(), threading.Event()
parent = os.getpid()

def load(request):
    if os.getpid() == parent:
        began.set()
        assert go.wait(30)
    return os.getpid()

loader = cached_for(60, shared=True)(load)
request = RequestFactory().get("/")
thread = threading.Thread(target=loader, args=[request])
thread.start()
assert began.wait(30)
flights = get_single_flight()
with flights._lock:  # As another thread might hold it just now.
    child = os.fork()
if child == 0:
    signal.alarm(30)
    print(flights._flights == {}, loader(request) == os.getpid(), flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
go.set()
thread.join(30)
print(loader(request) == parent)
"""
    shown = run_python(code, tmp_path, PYTHONWARNINGS="ignore")
    assert shown.splitlines() == ["True True", "True"]


@pytest.fixture(scope="module")
def crew(redis_url, tmp_path_factory):
    hired = Crew(tmp_path_factory.mktemp("crew"), redis_url)
    yield hired
    hired.close()


@pytest.fixture
def run(redis_url):
    redis = pytest.importorskip("redis")
    with redis.Redis.from_url(redis_url) as client:
        yield Run(client)


def results(futures):
    """What a crew has answered: the data of the one part, or the code of its error."""
    answers = [future.result(PATIENCE) for future in futures]
    return [
        answer
        if not isinstance(answer, dict)
        else answer["errors"][0]["code"]
        if "errors" in answer
        else merged([answer]).get("slow")
        for answer in answers
    ]


CREW_VIEWS = ["CachedView", "CoroutineView", "ThreadedView", "called"]


@needs_redis
@pytest.mark.parametrize("view", CREW_VIEWS)
def test_processes__sixty_four_callers_in_four_run_it_once(crew, run, view):
    members = crew.hire(4)
    asked = [member.ask(view, run=run.name) for member in members * 16]
    wait_until(lambda: run.entered == 64)
    owner = run.wait_until_begun()
    run.let_go(64)
    assert results(asked) == [[owner, 1]] * 64
    assert run.count == 1
    assert results([members[3].ask(view, run=run.name)]) == [[owner, 1]]


@needs_redis
@pytest.mark.parametrize("view", ["CachedView", "called"])
def test_processes__a_failed_owner_has_each_of_the_others_run_once(crew, run, view):
    members = crew.hire(3)
    asked = [members[0].ask(view, run=run.name, failing=1)]
    run.wait_until_begun()
    for member in members[1:] * 4:
        asked.append(member.ask(view, run=run.name, failing=1))
    wait_until(lambda: run.entered == 9)
    run.let_go()
    # Without a queue: the second does not wait for the first.
    assert {run.wait_until_begun() for _ in range(2)} == {member.pid for member in members[1:]}
    run.let_go(8)
    first, *others = results(asked)
    assert first == ("this run fails" if view == "called" else "part_failed")
    assert {number for _, number in others} == {2, 3}
    assert {pid for pid, _ in others} == {member.pid for member in members[1:]}
    assert run.count == 3


@needs_redis
def test_processes__a_killed_owner_is_followed_within_the_time_of_its_lock(crew, run):
    owner, other = crew.hire(2, lock_ttl=1)
    owner.ask("CachedView", run=run.name)
    assert run.wait_until_begun() == owner.pid
    asked = [other.ask("CachedView", run=run.name) for _ in range(16)]
    wait_until(lambda: run.entered == 17)
    assert run.count == 1
    owner.kill()
    killed = time.monotonic()
    assert run.wait_until_begun() == other.pid
    assert time.monotonic() - killed < 1 + 1  # The lock's time, and another for a slow machine.
    run.let_go(16)
    assert results(asked) == [[other.pid, 2]] * 16
    assert run.count == 2


@needs_redis
def test_processes__a_lock_is_renewed_while_the_loader_runs(crew, run, redis_url):
    import redis

    owner, other = crew.hire(2, lock_ttl=1)
    with redis.Redis.from_url(redis_url) as client:
        before = set(client.keys("*.lock"))
        asked = [owner.ask("CachedView", run=run.name)]
        assert run.wait_until_begun() == owner.pid
        (lock,) = set(client.keys("*.lock")) - before
        asked += [other.ask("CachedView", run=run.name) for _ in range(2)]
        wait_until(lambda: run.entered == 3)
        left, renewals, began = client.pttl(lock), 0, time.monotonic()
        while renewals < 4 or time.monotonic() - began < 1.5:
            now = client.pttl(lock)
            assert 0 < now <= 1000
            renewals += now > left
            left = now
        run.let_go(3)
        assert results(asked) == [[owner.pid, 1]] * 3
        assert run.count == 1
        wait_until(lambda: not client.exists(lock))


@needs_redis
def test_processes__moved_work_is_joined_from_another(crew, run):
    one, other = crew.hire(2)
    first = one.ask("MovingView", run=run.name).result(PATIENCE)
    assert first["results"] == [{"quick": 1}]
    assert run.wait_until_begun() == one.pid
    asked = [other.ask("MovingView", run=run.name, cursor=first["cursor"]) for _ in range(2)]
    wait_until(lambda: run.entered == 3)
    run.let_go(3)
    assert results(asked) == [[one.pid, 1]] * 2
    assert results([other.ask("MovingView", run=run.name, cursor=first["cursor"])]) == [
        [one.pid, 1]
    ]
    assert run.count == 1


@needs_redis
def test_processes__moved_work_that_failed_runs_again_in_another(crew, run):
    one, other = crew.hire(2)
    first = one.ask("MovingView", run=run.name, failing=1).result(PATIENCE)
    run.wait_until_begun()
    asked = other.ask("MovingView", run=run.name, failing=1, cursor=first["cursor"])
    wait_until(lambda: run.entered == 2)
    run.let_go(2)
    assert results([asked]) == [[other.pid, 2]]
    assert run.count == 2


@needs_redis
def test_processes__moved_work_of_a_killed_one_is_made_again(crew, run):
    one, other = crew.hire(2, lock_ttl=1)
    first = one.ask("MovingView", run=run.name).result(PATIENCE)
    assert run.wait_until_begun() == one.pid
    asked = other.ask("MovingView", run=run.name, cursor=first["cursor"])
    wait_until(lambda: run.entered == 2)
    one.kill()
    assert run.wait_until_begun() == other.pid
    run.let_go()
    assert results([asked]) == [[other.pid, 2]]


@needs_redis
def test_processes__moved_work_of_a_killed_one_is_made_again_by_one_of_the_others(crew, run):
    one, *others = crew.hire(3, lock_ttl=1)
    first = one.ask("MovingView", run=run.name).result(PATIENCE)
    assert run.wait_until_begun() == one.pid
    asked = [other.ask("MovingView", run=run.name, cursor=first["cursor"]) for other in others]
    wait_until(lambda: run.entered == 3)
    one.kill()
    maker = run.wait_until_begun()
    run.let_go(2)
    assert results(asked) == [[maker, 2]] * 2
    assert run.count == 2


@needs_redis
def test_processes__moved_work_runs_again_where_nothing_is_shared(crew, run):
    one, other = crew.hire(2, store=LOCAL_STORE)
    first = one.ask("MovingView", run=run.name).result(PATIENCE)
    assert run.wait_until_begun() == one.pid
    asked = other.ask("MovingView", run=run.name, cursor=first["cursor"])
    assert run.wait_until_begun() == other.pid
    run.let_go(2)
    assert results([asked]) == [[other.pid, 2]]
    assert run.count == 2
