from __future__ import annotations

import pytest

import partstream

NAMES = {
    "HybridProgressiveView",
    "PartError",
    "PartList",
    "ProgressiveView",
    "cached_for",
    "endpoint",
    "lazy",
    "safe_call",
    "with_timeout",
}


def test_package__hands_on_the_public_names():
    assert set(partstream.__all__) == NAMES
    for name in NAMES:
        assert getattr(partstream, name).__name__ == name
    assert set(dir(partstream)) >= NAMES


def test_package__has_no_other_name():
    with pytest.raises(AttributeError, match="'partstream' has no attribute 'with_pigeons'"):
        partstream.with_pigeons  # noqa: B018
