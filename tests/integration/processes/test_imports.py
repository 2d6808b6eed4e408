from __future__ import annotations

from tests.support.processes import run_python


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
