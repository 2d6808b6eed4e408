"""Eight parts that take up to 600 ms, one of them with 2 MB of JSON."""

from __future__ import annotations

import time
from functools import partial

from partstream import ProgressiveView, lazy

from .rows import rows
from .sleeps import LARGE, ORDER, SLEEPS

THREADS = "partstream.backends.executors.threads.ThreadExecutor"
_SMALL, _LARGE = rows(500), rows(2_000_000)


def _load(request, name):
    time.sleep(SLEEPS[name] / 1000)
    return _LARGE if name == LARGE else _SMALL


class EightView(ProgressiveView):
    """The parts side by side: as a stream, as one response, or as a walk with a budget."""

    executor = THREADS
    chunk_size = 8
    parts = [(name, lazy(partial(_load, name=name))) for name in ORDER]


class InlineView(EightView):
    """The parts one after another, in one response."""

    executor = "partstream.backends.executors.inline.InlineExecutor"


class OneByOneView(EightView):
    """A part in a response. The quick parts are first, which is the best order for a walk."""

    chunk_size = 1
    parts = sorted(EightView.parts, key=lambda pair: SLEEPS[pair[0]])
