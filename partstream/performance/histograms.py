"""Histograms of durations, with buckets that grow exponentially.

Bucket ``i`` counts durations above ``2 ** ((i - 1) / 8)`` and up to ``2 ** (i / 8)`` seconds, so a
value that is read from a bucket is wrong by 9 % at most. These are the buckets of scale 3 of
OpenTelemetry's exponential histogram
(https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram). Each power of
two is a bound between two buckets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

#: Buckets in which a duration doubles.
PER_DOUBLING: Final = 8
#: The bucket of everything up to 2 ** -14 s, which is 61 microseconds.
LEAST: Final = -14 * PER_DOUBLING
#: The bucket of everything above 2 ** 12 s, which is more than an hour.
MOST: Final = 12 * PER_DOUBLING

_SHORTEST = 2.0 ** (LEAST / PER_DOUBLING)


def bucket_of(seconds: float) -> int:
    """The bucket that counts a duration in seconds.

    Example:
        ``bucket_of(1.0) == 0`` and ``bucket_of(2.0) == 8``
    """
    if seconds <= _SHORTEST:
        return LEAST
    return min(MOST, math.ceil(math.log2(seconds) * PER_DOUBLING))


def percentile(buckets: Mapping[int, int], percent: float) -> float:
    """The duration that this share of all durations does not exceed, in seconds.

    Within a bucket, durations count as evenly spread on a logarithmic scale.

    Args:
        buckets: Bucket -> the number of durations in it.
        percent: Above 0, at most 100.

    Returns:
        Seconds; NaN if there are no durations.
    """
    total = sum(buckets.values())
    if not total:
        return math.nan
    rank, below = total * percent / 100, 0
    for index in sorted(buckets):
        count = buckets[index]
        if below + count >= rank:
            break
        below += count
    share = (rank - below) / count
    return float(2.0 ** ((index - 1 + share) / PER_DOUBLING))


def count_up_to(buckets: Mapping[int, int], exponent: int) -> int:
    """The number of durations up to ``2 ** exponent`` seconds."""
    last = exponent * PER_DOUBLING
    return sum(count for index, count in buckets.items() if index <= last)
