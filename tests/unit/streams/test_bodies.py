"""The body for ASGI: how it waits."""

from __future__ import annotations

import asyncio

import pytest

from partstream.resolution.pending import Ends
from partstream.streams.bodies import AsyncBody
from partstream.streams.stream import Pause, Stream


def endless():
    while True:
        yield Pause(None)


@pytest.mark.parametrize("turns", range(6))
def test_async_body__a_departure_is_noticed_while_a_part_ends(turns):
    """``asyncio.wait_for`` of Python 3.10 and 3.11 loses a cancellation at this moment."""
    ends = Ends()
    stream = Stream(ends, b" ", 30, None)
    stream.begin(endless())

    async def main():
        task = asyncio.ensure_future(anext(aiter(AsyncBody(stream))))
        while ends.ring is None:
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        ends.wake()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=2)
        return task.cancelled()

    assert asyncio.run(main())
    assert stream.step() is None
