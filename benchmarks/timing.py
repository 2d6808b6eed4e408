"""Times cases side by side: medians of short, interleaved blocks."""

from __future__ import annotations

import gc
import random
import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from time import thread_time
from typing import Any, NamedTuple

#: Calls before those that are timed: after a change of settings, the first one reads them again.
WARM_UP = 3


class Case(NamedTuple):
    """A function to be timed.

    Attributes:
        prepare: Makes the inputs of one block, untimed.
        call: The function, called with each input.
        within: Makes the context in which a block runs, for example other settings.
    """

    prepare: Callable[[int], list[Any]]
    call: Callable[[Any], object]
    within: Callable[[], AbstractContextManager[object]] = nullcontext


def measure(
    cases: dict[str, Case],
    *,
    calls: int = 100,
    blocks: int = 60,
    clock: Callable[[], float] = thread_time,
) -> dict[str, float]:
    """Median microseconds per call of each case.

    Blocks of all cases alternate in random order, so that a noisy moment of the machine affects
    all of them alike. The ratio of two medians then says more than the medians themselves.

    Args:
        cases: Name -> case.
        calls: The number of timed calls in a block.
        blocks: The number of blocks of each case.
        clock: Seconds. By default the processor time of this thread; pass ``perf_counter`` where a
            call waits for another thread or process.
    """
    samples: dict[str, list[float]] = {name: [] for name in cases}
    order = list(cases)
    shuffle = random.Random(1).shuffle
    for block in range(blocks + 3):
        shuffle(order)
        for name in order:
            prepare, call, within = cases[name]
            with within():
                for one in prepare(WARM_UP):
                    call(one)
                given = prepare(calls)
                gc.collect()
                gc.disable()
                started = clock()
                for one in given:
                    call(one)
                seconds = clock() - started
                gc.enable()
            if block >= 3:  # The first blocks warm up.
                samples[name].append(seconds / calls * 1e6)
    return {name: statistics.median(values) for name, values in samples.items()}
