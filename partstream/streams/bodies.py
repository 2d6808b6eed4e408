"""The bodies of streaming responses: they take the steps of a stream, and wait between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from time import monotonic

from asgiref.sync import sync_to_async

from .stream import Record, Stream


class SyncBody:
    """The body for WSGI. It waits in the server's thread.

    Django closes it with the response, so the stream ends when its client leaves.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._pieces: Iterator[bytes] = iter(())

    def __iter__(self) -> SyncBody:
        return self

    def __next__(self) -> bytes:
        stream = self._stream
        piece = next(self._pieces, None)
        silent_until = monotonic() + stream.heartbeat_seconds
        while piece is None:
            step = stream.step()
            if step is None:
                raise StopIteration
            if isinstance(step, Record):
                self._pieces = step.pieces
                piece = next(self._pieces, None)
                continue
            until = step.until
            stream.ends.wait(silent_until if until is None else min(until, silent_until))
            if monotonic() >= silent_until and not stream.ends:
                piece = stream.heartbeat
        return piece

    def close(self) -> None:
        """End the stream."""
        self._stream.close()


class AsyncBody:
    """The body for ASGI. It waits in the event loop; steps run in the request's thread.

    Django iterates over it in one task, and cancels that task when the client leaves.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        stream, bell = self._stream, asyncio.Event()
        loop = asyncio.get_running_loop()

        def ring() -> None:
            with suppress(RuntimeError):  # The loop is closed, and nobody waits.
                loop.call_soon_threadsafe(bell.set)

        stream.ends.ring = ring
        # Steps run in the request's thread, because middleware may have opened connections there.
        take_step = sync_to_async(stream.step)
        silent_until = monotonic() + stream.heartbeat_seconds
        try:
            while (step := await take_step()) is not None:
                if isinstance(step, Record):
                    for piece in step.pieces:
                        yield piece
                    silent_until = monotonic() + stream.heartbeat_seconds
                    continue
                until = silent_until if step.until is None else min(step.until, silent_until)
                # Not wait_for(): before Python 3.12 it may lose the cancellation.
                alarm = loop.call_later(max(0.0, until - monotonic()), bell.set)
                try:
                    await bell.wait()
                finally:
                    alarm.cancel()
                bell.clear()
                if monotonic() >= silent_until and not stream.ends:
                    yield stream.heartbeat
                    silent_until = monotonic() + stream.heartbeat_seconds
        finally:
            await self._leave()

    async def _leave(self) -> None:
        """End the stream in the request's thread, because that may access a store."""
        with suppress(asyncio.CancelledError, RuntimeError):
            await asyncio.shield(asyncio.ensure_future(sync_to_async(self._stream.close)()))

    def close(self) -> None:
        """End the stream."""
        self._stream.close()
