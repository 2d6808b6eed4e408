from __future__ import annotations

import pytest

import partstream
from tests.support.processes import run_python

NAMES = {
    "HybridProgressiveView",
    "PartError",
    "PartList",
    "ProgressiveView",
    "cached_for",
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


def test_package__imports_no_framework_and_no_optional_dependency(tmp_path):
    code = """
import sys
import django.conf
before = set(sys.modules)
import partstream
roots = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(roots & {"rest_framework", "cryptography", "jwt"}), django.conf.settings.configured)
"""
    assert run_python(code, tmp_path) == "[] False"


def test_package__imports_before_django_is_set_up(tmp_path):
    code = """
from partstream import PartError, PartList, lazy, safe_call
import django
print(django.apps.apps.ready)
django.setup()
from partstream import ProgressiveView, HybridProgressiveView
print(PartError.__name__, PartList.__name__, lazy.__name__, safe_call.__name__)
"""
    assert run_python(code, tmp_path).splitlines() == ["False", "PartError PartList lazy safe_call"]
