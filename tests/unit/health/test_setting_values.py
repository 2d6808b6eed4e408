"""The values of settings, and the secrets that they never show."""

from __future__ import annotations

import dataclasses
import importlib
import json
import string
from inspect import signature
from pathlib import Path

import pytest
from django.test import override_settings
from hypothesis import example, given
from hypothesis import strategies as st

import partstream
from partstream import conf
from partstream.backends.base import Backend
from partstream.conf import Settings
from partstream.health.setting_values import (
    NOT_VALID,
    OPTIONS,
    get_setting_values,
    masked_url,
)

STORE = "partstream.backends.caches.redis.RedisCacheStore"


@pytest.fixture(autouse=True)
def environment(monkeypatch, settings):
    """Nothing is set."""
    monkeypatch.setattr(conf, "ENVIRONMENT", {})
    settings.DJANGO_PARTSTREAM = {}


def shown():
    return {name: (value, source) for name, value, source in get_setting_values()}


def test_values__are_all_settings_in_their_order():
    fields = dataclasses.fields(Settings)
    assert [name for name, _, _ in get_setting_values()] == [field.name for field in fields]
    assert {source for _, _, source in get_setting_values()} == {"default"}
    assert shown()["DEFAULT_CHUNK_SIZE"] == (2, "default")
    assert shown()["TRUSTED_PROXIES"] == ([], "default")


def test_values__have_their_sources(settings, monkeypatch):
    monkeypatch.setattr(
        conf, "ENVIRONMENT", {"PARTSTREAM_CHUNK_SIZE": "7", "PARTSTREAM_RATE_LIMIT": "8"}
    )
    # An override wins over the environment.
    settings.DJANGO_PARTSTREAM = {
        "RATE_LIMIT": 9,
        "TRUSTED_PROXIES": ["10.0.0.0/8", "unix"],
        "IDENTITY": "mysite.tenants.get_tenant",
        "PART_TIMEOUT": None,
    }
    values = shown()
    assert values["DEFAULT_CHUNK_SIZE"] == (7, "PARTSTREAM_CHUNK_SIZE")
    assert values["RATE_LIMIT"] == (9, "settings.py")
    assert values["TRUSTED_PROXIES"] == (["10.0.0.0/8", "unix"], "settings.py")
    assert values["IDENTITY"] == ("mysite.tenants.get_tenant", "settings.py")
    assert values["PART_TIMEOUT"] == (None, "settings.py")
    assert values["BURST_LIMIT"] == (10, "default")


def test_values__the_environment_wins_over_the_settings_file(monkeypatch):
    monkeypatch.setattr(conf, "ENVIRONMENT", {"PARTSTREAM_RATE_LIMIT": "8"})
    monkeypatch.setattr(conf, "_overrides", 0)
    monkeypatch.setattr("django.conf.settings.DJANGO_PARTSTREAM", {"RATE_LIMIT": 9})
    assert shown()["RATE_LIMIT"] == (8, "PARTSTREAM_RATE_LIMIT")


@pytest.mark.parametrize("declared", [{"RATE_LIMIT": "hunter2", "TYPO": 1}, "hunter2", 5])
def test_values__that_are_not_valid_are_not_shown(settings, monkeypatch, declared):
    monkeypatch.setattr(conf, "ENVIRONMENT", {"PARTSTREAM_CHUNK_SIZE": "hunter2"})
    settings.DJANGO_PARTSTREAM = declared
    values = shown()
    assert values["DEFAULT_CHUNK_SIZE"] == (NOT_VALID, "PARTSTREAM_CHUNK_SIZE")
    if isinstance(declared, dict):
        assert values["RATE_LIMIT"] == (NOT_VALID, "settings.py")
    assert values["BURST_LIMIT"] == (10, "default")
    assert "hunter2" not in json.dumps(values)


@pytest.mark.parametrize(
    ("keys", "count"),
    [(["abcdefgh" * 4], "1 secret"), (["abcdefgh" * 4, "hgfedcba" * 4], "2 secrets"), (None, None)],
)
def test_keys__are_counted(settings, keys, count):
    settings.DJANGO_PARTSTREAM = {"CURSOR_KEYS": keys}
    assert shown()["CURSOR_KEYS"] == (count, "settings.py")


# Options


def test_options__of_our_backends_are_shown(settings):
    settings.DJANGO_PARTSTREAM = {
        "CACHE_STORE": {
            "BACKEND": STORE,
            "OPTIONS": {
                "cluster_url": "rediss://ada:hunter2@redis-1.example.com:6379?socket_timeout=9",
                "retry_after": 2.5,
            },
        },
        "RATE_LIMIT_STORE": {"BACKEND": "some.Store", "OPTIONS": {"alias": "default"}},
        "PART_EXECUTOR": {
            "BACKEND": "some.Executor",
            "OPTIONS": {"max_workers": 4, "before_call": "mysite.tenants.before_call"},
        },
        "CURSOR_CODEC": {"BACKEND": "some.Codec"},
    }
    values = shown()
    assert values["CACHE_STORE"][0] == {
        "BACKEND": STORE,
        "OPTIONS": {"cluster_url": "rediss://***@redis-1.example.com:6379?***", "retry_after": 2.5},
    }
    assert values["RATE_LIMIT_STORE"][0] == {
        "BACKEND": "some.Store",
        "OPTIONS": {"alias": "default"},
    }
    assert values["PART_EXECUTOR"][0]["OPTIONS"] == {
        "max_workers": 4,
        "before_call": "mysite.tenants.before_call",
    }
    assert values["CURSOR_CODEC"][0] == {"BACKEND": "some.Codec"}


def test_options__of_our_backends_are_known():
    """Else an operator would see three asterisks for a number that is no secret."""
    given = {"keys", "max_size"}  # By the loader.
    of_tests = {"clock"}
    known = set()
    root = Path(partstream.__file__).parent
    for path in (root / "backends").rglob("*.py"):
        if path.stem.startswith(("redis", "jwt")) and path.parent.name != "backends":
            pytest.importorskip("jwt" if path.stem == "jwt" else "django_redis")
        elif path.stem.startswith("redis"):
            continue
        name = ".".join(path.relative_to(root.parent).with_suffix("").parts)
        for kind in vars(importlib.import_module(name)).values():
            if isinstance(kind, type) and issubclass(kind, Backend) and kind is not Backend:
                known |= {
                    name
                    for name, option in signature(kind).parameters.items()
                    if option.kind is not option.VAR_KEYWORD  # Those of its base.
                }
    assert known - given - of_tests == set(OPTIONS)


def option(name, value):
    configured = {"CACHE_STORE": {"BACKEND": "mysite.stores.Store", "OPTIONS": {name: value}}}
    with override_settings(DJANGO_PARTSTREAM=configured):
        return shown()["CACHE_STORE"][0]["OPTIONS"][str(name)]


@pytest.mark.parametrize(
    "value",
    [
        "hunter2",
        b"hunter2",
        7,
        ["hunter2"],
        {"password": "hunter2"},
        "redis://:hunter2@redis.example.com",
        {"LOCATION": "redis://:hunter2@redis.example.com"},
        None,
        ...,
    ],
    ids=repr,
)
@pytest.mark.parametrize("name", ["password", "dsn", "LOCATION", "entries", 7])
def test_options__of_others_are_masked(name, value):
    assert option(name, value) == "***"


@pytest.mark.parametrize("name", sorted(OPTIONS))
@pytest.mark.parametrize(
    "value",
    ["hunter2", "hunter2:hunter2", "a hunter2", True, ["hunter2"], {"hunter2": 1}, ...],
    ids=repr,
)
def test_options__that_hold_something_else_are_masked(name, value):
    assert option(name, value) == "***"


# URLs


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://127.0.0.1:6379", "redis://127.0.0.1:6379"),
        ("redis://redis-1.example.com", "redis://redis-1.example.com"),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("rediss://[2001:DB8::1]:6379/", "rediss://[2001:DB8::1]:6379/"),
        ("redis://:hunter2@host:6379/0", "redis://***@host:6379/0"),
        ("redis://ada:hunter2@host", "redis://***@host"),
        ("redis://host?password=hunter2", "redis://host?***"),
        ("redis://ada:h%40@host?password=hunter2", "redis://***@host?***"),
    ],
)
def test_url__has_its_user_and_query_masked(url, masked):
    assert masked_url(url) == masked


@pytest.mark.parametrize(
    "url",
    [
        "hunter2",
        "ada:hunter2@host",
        "redis://",
        "redis://:hunt@er2@host:6379",
        "redis://:hunt/er2@host:6379",
        "redis://hunt/er2@host:6379",
        "redis://hunt?er2@host:6379",
        "redis://hunt#er2@host:6379",
        "redis://:hunt?er2@host:6379/0?db=1",
        "redis://host/hunter2",
        "https://hunter2",
        "redis://host#hunter2",
        "redis://host:hunter2",
        "redis://host?password=hunt@er2",
        "redis://host/0?a=b#hunter2",
        "redis://one:6379,redis://:hunter2@two:6379",
        " redis://:hunter2@host",
        "redis://:hunter2@host\n",
        ["redis://:hunter2@host"],
        None,
    ],
    ids=repr,
)
def test_url__of_another_form_is_masked(url):
    assert masked_url(url) == "***"


#: Unlike anything that is shown, in whole or in part.
MARK = "hunter2"
TEXT = st.text(string.ascii_letters + string.digits + ":/?#[]@!$&'()*+,;=%.-_ ~", max_size=6)
SECRET = st.builds(lambda before, after: f"{before}{MARK}{after}", TEXT, TEXT)

SHAPES = st.one_of(
    SECRET,
    st.builds("redis://:{}@host:6379/0".format, SECRET),
    st.builds("rediss://ada:{}@host".format, SECRET),
    st.builds("redis://{}@host:6379".format, SECRET),
    st.builds("redis://host:6379/0?password={}".format, SECRET),
    st.builds("redis://ada:{}@host?x={}".format, SECRET, SECRET),
    st.builds("redis://{}:{}@".format, TEXT, SECRET),
    st.builds(str.encode, SECRET),
)
NESTED = st.recursive(
    SHAPES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
# What is a dotted path is shown as one.
NAMES = st.sampled_from(sorted(OPTIONS.keys() - {"before_call", "after_call"})) | TEXT
BACKENDS = ["CURSOR_CODEC", "PART_EXECUTOR", "CACHE_STORE", "RATE_LIMIT_STORE"]


@given(
    setting=st.sampled_from(BACKENDS),
    options=st.dictionaries(NAMES, NESTED, max_size=3),
    key=SECRET,
)
@example("CACHE_STORE", {"cluster_url": f"redis://h/?{MARK}@x"}, MARK)
@example("CACHE_STORE", {"cluster_url": f"a://{MARK}"}, MARK)
def test_secret__is_in_no_value(setting, options, key):
    declared = {
        setting: {"BACKEND": "mysite.backends.Backend", "OPTIONS": options},
        "CURSOR_KEYS": [f"{key} of 32 characters or more, abcdef"],
    }
    with override_settings(DJANGO_PARTSTREAM=declared):
        values = shown()
        assert values["CURSOR_KEYS"] == ("1 secret", "settings.py")
        assert MARK not in json.dumps(values) + repr(values)
