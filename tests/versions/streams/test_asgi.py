"""Streams through Django's ASGI handler: the event loop waits, a thread takes the steps."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from contextlib import asynccontextmanager

import django
import pytest
from asgiref.testing import ApplicationCommunicator
from django.core.handlers.asgi import ASGIHandler

from partstream import lazy
from partstream.streams.registry import count_open_streams
from partstream.streams.stream import Stream
from tests.support.concurrency import PATIENCE
from tests.support.walk_client import merged

THREADS = "partstream.backends.executors.threads.ThreadExecutor"
EXECUTORS = pytest.mark.parametrize("executor", [None, THREADS], ids=["inline", "threads"])

pytestmark = [
    pytest.mark.django_db(transaction=True),
    # Django 5.2 does not close the body of a request whose client has left.
    pytest.mark.filterwarnings(
        "ignore:.*SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning"
    ),
]


def parts(*loaders):
    return [("now", 0), *((f"p{number}", lazy(loader)) for number, loader in enumerate(loaders))]


@asynccontextmanager
async def opened(url, accept="application/x-ndjson", handler=None):
    """A client of one stream; `piece` waits for its next bytes, None at the end."""
    path, _, query = url.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "query_string": query.encode(),
        "headers": [(b"host", b"testserver"), (b"accept", accept.encode())],
    }
    client = ApplicationCommunicator(handler or ASGIHandler(), scope)
    await client.send_input({"type": "http.request"})
    start = await client.receive_output(PATIENCE)
    assert start["status"] == 200

    async def piece():
        message = await client.receive_output(PATIENCE)
        assert message["type"] == "http.response.body"
        body = message.get("body", b"")
        return body if body or message.get("more_body") else None

    client.piece = piece
    yield client


async def records(client):
    """All records that remain."""
    text = b""
    while (piece := await client.piece()) is not None:
        text += piece
    return [json.loads(line) for line in text.splitlines() if line.strip()]


async def until(condition):
    """Wait until the condition holds: for what has no event to wait for."""
    async with asyncio_timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.002)


@asynccontextmanager
async def asyncio_timeout(seconds):
    """As asyncio.timeout(), which Python 3.10 has not."""
    task = asyncio.current_task()
    handle = asyncio.get_running_loop().call_later(seconds, task.cancel)
    try:
        yield
    finally:
        handle.cancel()


@EXECUTORS
def test_asgi__sends_each_part_when_it_has_ended(serve, held, executor):
    first, second = held("first"), held("second")
    url = serve(parts=parts(first, second), executor=executor)

    async def main():
        async with opened(url) as client:
            assert json.loads(await client.piece())["results"] == [{"now": 0}]
            first.release()
            assert json.loads(await client.piece())["results"] == [{"p0": "first"}]
            second.release()
            last = json.loads(await client.piece())
            assert (last["results"], last["cursor"]) == ([{"p1": "second"}], None)
            assert await client.piece() is None
            await client.wait(PATIENCE)

    asyncio.run(main())
    assert not count_open_streams()


@EXECUTORS
def test_asgi__of_many_parts(serve, executor):
    url = serve(parts=parts(*[lambda request, n=n: n for n in range(30)]), executor=executor)

    async def main():
        async with opened(url) as client:
            return await records(client)

    assert merged(asyncio.run(main())) == {"now": 0, **{f"p{n}": n for n in range(30)}}


@EXECUTORS
@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/event-stream"])
def test_asgi__beats_while_nothing_ends(serve, held, settings, executor, accept):
    settings.DJANGO_PARTSTREAM = {"ENABLE_RATE_LIMITING": False, "STREAM_HEARTBEAT": 0.1}
    slow = held("slow")
    url = serve(parts=parts(slow), executor=executor)

    async def main():
        async with opened(url, accept) as client:
            await client.piece()
            beats = [await client.piece() for _ in range(3)]
            slow.release()
            assert b'"p0":"slow"' in await client.piece()
            assert await client.piece() is None
            await client.wait(PATIENCE)
            return beats

    beat = b" " if accept == "application/x-ndjson" else b":\n\n"
    assert asyncio.run(main()) == [beat] * 3


@pytest.mark.skipif(django.VERSION < (5, 0), reason="Django 4.2 does not listen for a departure")
@EXECUTORS
def test_asgi__a_client_that_leaves_ends_the_stream_at_once(serve, held, calls, executor):
    slow = held("slow")
    url = serve(parts=parts(slow, calls.loader("p1")), executor=executor)

    async def main():
        async with opened(url) as client:
            await client.piece()
            assert count_open_streams() == 1
            await client.send_input({"type": "http.disconnect"})
            await until(lambda: not count_open_streams())
            await client.wait(PATIENCE)
        return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    assert asyncio.run(main()) == []
    slow.release()
    gc.collect()  # Now, while what Django has left open is ignored.


@EXECUTORS
def test_asgi__runs_its_steps_in_the_threads_of_requests(serve, executor, monkeypatch):
    """Never in the thread of the event loop: a step may ask a store or a database."""
    threads, original = [], Stream.step

    def step(stream):
        threads.append(threading.get_ident())
        return original(stream)

    monkeypatch.setattr(Stream, "step", step)
    url = serve(parts=parts(lambda request: 0), executor=executor)

    async def main():
        async with opened(url) as client:
            await records(client)
        return threading.get_ident()

    assert asyncio.run(main()) not in threads
    assert len(set(threads)) == 1


def test_asgi__many_streams_at_once(serve, held):
    slow = held("slow")
    url = serve(parts=parts(slow), executor=THREADS)

    async def one():
        async with opened(url) as client:
            return await records(client)

    async def main():
        tasks = [asyncio.ensure_future(one()) for _ in range(10)]
        await until(lambda: count_open_streams() == 10)
        slow.release()
        return await asyncio.gather(*tasks)

    assert [merged(found) for found in asyncio.run(main())] == [{"now": 0, "p0": "slow"}] * 10
    assert not count_open_streams()
