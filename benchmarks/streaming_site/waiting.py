"""Parts that wait until they are released, so that a stream is idle for as long as it should be."""

from __future__ import annotations

import asyncio
import threading

from django.http import HttpResponse

from partstream import ProgressiveView, lazy

from .eight import THREADS

#: Seconds after which a part no longer waits: the benchmark has failed by then.
MOST = 120


class Gate:
    """Where the parts of this process wait.

    Attributes:
        begun: How many have come since it was closed.
    """

    def __init__(self):
        self.begun = 0
        self._lock = threading.Lock()
        self._is_open = threading.Event()

    def _come(self):
        with self._lock:
            self.begun += 1

    def wait(self, request):
        """A loader, which waits in a thread."""
        self._come()
        self._is_open.wait(MOST)
        return {"waited": True}

    async def wait_in_loop(self, request):
        """A loader, which waits in an event loop."""
        self._come()
        for _ in range(2 * MOST):
            if self._is_open.is_set():
                break
            await asyncio.sleep(0.5)
        return {"waited": True}

    def open(self):
        """Let all go on, those that come later, too."""
        self._is_open.set()

    def close(self):
        """Let those that come from now on wait."""
        with self._lock:
            self.begun = 0
        self._is_open.clear()


gate = Gate()


def release(request):
    gate.open()
    return HttpResponse()


def hold(request):
    gate.close()
    return HttpResponse()


def begun(request):
    return HttpResponse(str(gate.begun))


class WaitingView(ProgressiveView):
    """One part at once, and two that wait, each in a thread."""

    executor = {"BACKEND": THREADS, "OPTIONS": {"max_workers": 64}}
    parts = [("about", {"waits": True}), ("one", lazy(gate.wait)), ("two", lazy(gate.wait))]


class WaitingCoroutinesView(WaitingView):
    """The same with coroutines, which take no thread each."""

    parts = [
        ("about", {"waits": True}),
        ("one", lazy(gate.wait_in_loop)),
        ("two", lazy(gate.wait_in_loop)),
    ]
