"""Times cases side by side: medians of short, interleaved blocks."""

from __future__ import annotations

import gc
import random
import statistics
from collections.abc import Callable
from time import perf_counter

#: Makes the inputs of one block (untimed), and the function that is timed on each input.
Case = tuple[Callable[[int], list], Callable[[object], object]]


def measure(cases: dict[str, Case], *, calls: int = 100, blocks: int = 60) -> dict[str, float]:
    """Median microseconds per call of each case.

    Blocks of all cases alternate in random order, so that a noisy moment of the machine affects
    all of them alike. The ratio of two medians then says more than the medians themselves.
    """
    samples: dict[str, list[float]] = {name: [] for name in cases}
    order = list(cases)
    shuffle = random.Random(1).shuffle
    for block in range(blocks + 3):
        shuffle(order)
        for name in order:
            prepare, call = cases[name]
            given = prepare(calls)
            gc.collect()
            gc.disable()
            started = perf_counter()
            for one in given:
                call(one)
            seconds = perf_counter() - started
            gc.enable()
            if block >= 3:  # The first blocks warm up.
                samples[name].append(seconds / calls * 1e6)
    return {name: statistics.median(values) for name, values in samples.items()}
