"""One stream: its steps, and its end."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest

from partstream.exceptions import StreamsFull
from partstream.resolution.pending import Ends
from partstream.streams import stream as streams
from partstream.streams.registry import Registry
from partstream.streams.stream import Pause, Stream


def test_close__while_a_step_gives_its_connections_back(monkeypatch):
    """The step has looked whether the stream is closed, and still has the lock."""
    registry, closed = Registry(), []
    monkeypatch.setattr(streams, "registry", registry)

    def steps():
        try:
            while True:
                yield Pause(None)
        finally:
            closed.append(True)

    @contextmanager
    def closed_meanwhile(renew):
        yield
        other = threading.Thread(target=stream.close)
        other.start()
        other.join()

    monkeypatch.setattr(streams, "sessions_for_a_moment", closed_meanwhile)
    stream = Stream(Ends(), b" ", 5, None)
    registry.add(stream, 1)
    stream.begin(steps())
    stream.step()
    assert closed == [True]
    assert not len(registry)
    assert stream.step() is None


def test_registry__counts_no_response_that_was_thrown_away(monkeypatch):
    """It may exist until the next garbage collection, with no server to send it."""
    registry, now = Registry(), 0.0
    monkeypatch.setattr(streams, "monotonic", lambda: now)
    monkeypatch.setattr(streams, "registry", registry)
    thrown_away, sent = Stream(Ends(), b" ", 5, None), Stream(Ends(), b" ", 5, None)
    for stream in (thrown_away, sent):
        registry.add(stream, 2)
        stream.begin(iter([Pause(None)] * 9))
    sent.step()
    late = Stream(Ends(), b" ", 5, None)
    with pytest.raises(StreamsFull):
        registry.add(late, 2)
    now = streams.ABANDONED_SECONDS + 1.0
    registry.add(late, 2)
    assert len(registry) == 2
    assert not sent.is_abandoned
