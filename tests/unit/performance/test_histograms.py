from __future__ import annotations

import math
import random
import statistics

import pytest

from partstream.performance.histograms import (
    LEAST,
    MOST,
    PER_DOUBLING,
    bucket_of,
    count_up_to,
    percentile,
)


@pytest.mark.parametrize("exponent", range(-10, 10))
def test_bucket_of__powers_of_two_are_bounds(exponent):
    bound = 2.0**exponent
    assert bucket_of(bound) == exponent * PER_DOUBLING
    assert bucket_of(bound * 1.0001) == exponent * PER_DOUBLING + 1


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-9])
def test_bucket_of__the_shortest(seconds):
    assert bucket_of(seconds) == LEAST


def test_bucket_of__the_longest():
    assert bucket_of(1e9) == MOST


def buckets_of(values):
    buckets: dict[int, int] = {}
    for value in values:
        bucket = bucket_of(value)
        buckets[bucket] = buckets.get(bucket, 0) + 1
    return buckets


@pytest.mark.parametrize("percent", [1, 25, 50, 90, 95, 99, 100])
def test_percentile__is_within_nine_percent(percent):
    draw = random.Random(percent)
    values = [draw.lognormvariate(-2, 1.5) for _ in range(5000)]
    exact = statistics.quantiles(values, n=100)[percent - 1] if percent < 100 else max(values)
    assert percentile(buckets_of(values), percent) == pytest.approx(exact, rel=0.09)


def test_percentile__without_values():
    assert math.isnan(percentile({}, 95))


def test_percentile__of_one_value():
    assert percentile(buckets_of([0.5]), 1) <= 0.5 == percentile(buckets_of([0.5]), 100)


def test_count_up_to__is_exact_at_powers_of_two():
    buckets = buckets_of([0.1, 0.25, 0.26, 1.0, 1.01])
    assert [count_up_to(buckets, exponent) for exponent in (-4, -2, -1, 0, 1)] == [0, 2, 3, 4, 5]
