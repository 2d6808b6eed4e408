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


def test_health__needs_no_package_of_health_checks(tmp_path):
    code = """
import sys
sys.modules["health_check"] = None
import django
django.setup()
from django.core.management import call_command
from partstream.health import HealthCheckView
call_command("partstream_health_check", verbosity=2)
try:
    import partstream.contrib.health_check
except ModuleNotFoundError as error:
    print(error.name.partition(".")[0])
"""
    assert run_python(code, tmp_path).splitlines()[-1] == "health_check"
