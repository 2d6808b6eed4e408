"""Marks that the tests share."""

from __future__ import annotations

import pytest

#: Of a test that gives a real thread or server a fraction of a second. It is run again where it
#: fails, twice at most: a busy machine may stop a thread for longer, but not each time.
timed = pytest.mark.flaky(reruns=2)

#: Of every other test, with CI set: a machine that other work keeps busy may hold anything up.
once_more = pytest.mark.flaky(reruns=1)

#: Of a test inside a transaction whose parts run in threads, and query nothing.
leaves_transaction = pytest.mark.filterwarnings(
    "ignore:Part '.*' of .* runs in another thread:RuntimeWarning"
)

#: Of a test with routers whose paths have format suffixes: DRF 3.15 registers its converter again
#: for each of them.
with_suffixes = pytest.mark.filterwarnings("ignore:Converter 'drf_format_suffix' is already")
