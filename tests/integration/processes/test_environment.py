"""Settings from the environment, each read by a fresh process."""

from __future__ import annotations

import dataclasses
import json

import pytest

from partstream.conf import Settings
from tests.support.processes import run_python

GOOD_KEY = "abcdefgh" * 4


SIGNED = "partstream.backends.cursors.signed.SignedCursorCodec"


#: What a variable says, and the setting that comes of it.
READ = {
    "CHUNK_SIZE": ("7", {"DEFAULT_CHUNK_SIZE": 7}),
    "CURSOR_TTL": ("60", {"DEFAULT_CURSOR_TTL": 60}),
    "MAX_KEYS_PER_REQUEST": ("3", {"MAX_KEYS_PER_REQUEST": 3}),
    "PART_TIMEOUT": ("2.5", {"PART_TIMEOUT": 2.5}),
    "CHUNK_TIME_BUDGET": ("0.1", {"CHUNK_TIME_BUDGET": 0.1}),
    "ENABLE_CACHING": ("false", {"ENABLE_CACHING": False}),
    "CACHE_TTL": ("61", {"CACHE_TTL": 61}),
    "CACHE_MIN_DURATION": ("0", {"CACHE_MIN_DURATION": 0.0}),
    "MAX_FRAGMENT_SIZE": ("2048", {"MAX_FRAGMENT_SIZE": 2048}),
    "PART_EXECUTOR": ("some.path.Executor", {"PART_EXECUTOR": "some.path.Executor"}),
    "CACHE_STORE": ("some.path.Store", {"CACHE_STORE": "some.path.Store"}),
    "CURSOR_CODEC": (SIGNED, {"CURSOR_CODEC": SIGNED}),
    "HEALTH_CHECK_ENABLED": ("false", {"HEALTH_CHECK_ENABLED": False}),
    "CURSOR_KEYS": (GOOD_KEY, {"CURSOR_KEYS": None}),
}


def test_environment__is_read_once_and_keys_are_not(tmp_path):
    code = """
import json, os
import django
django.setup()
from django.test import override_settings
from partstream.backends.loader import get_cursor_codec
from partstream.conf import get_settings
print(json.dumps(vars(get_settings())))
print(type(get_cursor_codec()).__name__)
os.environ["PARTSTREAM_CHUNK_SIZE"] = "9"
with override_settings(DJANGO_PARTSTREAM={}):
    print(get_settings().DEFAULT_CHUNK_SIZE)
"""
    environment = {f"PARTSTREAM_{name}": text for name, (text, _) in READ.items()}
    settings, codec, later = run_python(code, tmp_path, **environment).splitlines()
    # The environment of all tests.
    expected = dataclasses.asdict(Settings(ENABLE_RATE_LIMITING=False))
    for _, setting in READ.values():
        expected |= setting
    assert json.loads(settings) == json.loads(json.dumps(expected))
    assert (codec, later) == ("SignedCursorCodec", "7")


def test_environment__wins_over_the_settings_file_and_loses_to_an_override(tmp_path):
    (tmp_path / "own_settings.py").write_text(
        "from tests.settings import *\n"
        "DJANGO_PARTSTREAM = {'DEFAULT_CHUNK_SIZE': 5, 'MAX_KEYS_PER_REQUEST': 4}\n"
    )
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import django
django.setup()
from django.test import override_settings
from partstream.conf import get_settings

def show():
    s = get_settings()
    print(s.DEFAULT_CHUNK_SIZE, s.DEFAULT_CURSOR_TTL, s.MAX_KEYS_PER_REQUEST)

show()
with override_settings(DJANGO_PARTSTREAM={{"DEFAULT_CHUNK_SIZE": 9}}):
    show()
with override_settings(DJANGO_PARTSTREAM={{}}):
    show()
with override_settings(USE_TZ=False):
    show()
show()
"""
    shown = run_python(
        code, tmp_path, DJANGO_SETTINGS_MODULE="own_settings", PARTSTREAM_CHUNK_SIZE="7"
    )
    assert shown.splitlines() == ["7 3600 4", "9 3600 10", "7 3600 10", "7 3600 4", "7 3600 4"]


def test_environment__a_bad_value_never_stops_the_start_but_the_first_use(tmp_path):
    code = """
import django
django.setup()
from partstream.conf import get_settings
from partstream.exceptions import Misuse
for _ in range(2):
    try:
        get_settings()
    except Misuse as error:
        print(error)
"""
    shown = run_python(
        code, tmp_path, PARTSTREAM_CHUNK_SIZE="two", PARTSTREAM_ENABLE_CACHING="maybe"
    )
    lines = shown.splitlines()
    assert lines[0].startswith("PARTSTREAM_CHUNK_SIZE must be a whole number. It is 'two'.")
    assert lines[1].startswith("PARTSTREAM_ENABLE_CACHING must be true or false. It is 'maybe'.")
    assert lines[2:] == lines[:2]


@pytest.mark.parametrize("declared", ["None", "{'PIGEONS': 1, 'CURSOR_KEYS': ['x']}"])
def test_ready__never_raises(tmp_path, declared):
    (tmp_path / "own_settings.py").write_text(
        f"from tests.settings import *\nDJANGO_PARTSTREAM = {declared}\n"
    )
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import django
django.setup()
import tests.example.urls
print("up")
"""
    assert run_python(code, tmp_path, DJANGO_SETTINGS_MODULE="own_settings") == "up"


def test_setting__is_imported_at_first_use(tmp_path):
    (tmp_path / "slow.py").write_text("print('imported')\n\ndef tenant(request): return None\n")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import django
django.setup()
from partstream.conf import get_settings
from partstream.identity import get_dimension
get_settings()
print("ready")
print(get_dimension(None), get_dimension(None))
"""
    said = run_python(code, tmp_path, PARTSTREAM_IDENTITY="slow.tenant")
    assert said.splitlines() == ["ready", "imported", "(None,) (None,)"]
