from __future__ import annotations

import dataclasses
import itertools
import math
import threading
from decimal import Decimal

import pytest
from django.core.signals import setting_changed
from django.test import override_settings

from partstream import conf
from partstream.conf import Settings, get_problems, get_settings
from partstream.exceptions import Misuse
from partstream.per_process import Kept
from partstream.setting_kinds import LONGEST_TTL

GOOD_KEY = "abcdefgh" * 4
SIGNED = "partstream.backends.cursors.signed.SignedCursorCodec"


def test_settings__have_defaults(monkeypatch, settings):
    monkeypatch.setattr(conf, "ENVIRONMENT", {})
    settings.DJANGO_PARTSTREAM = {}
    assert get_settings() == Settings(
        DEFAULT_CHUNK_SIZE=2,
        DEFAULT_CURSOR_TTL=3600,
        MAX_PARTS_PER_REQUEST=50,
        MAX_CURSOR_SIZE=1024,
        MAX_KEYS_PER_REQUEST=10,
        CURSOR_CODEC="partstream.backends.cursors.fernet.FernetCursorCodec",
        CURSOR_KEYS=None,
        PART_EXECUTOR="partstream.backends.executors.inline.InlineExecutor",
        PART_TIMEOUT=None,
        CHUNK_TIME_BUDGET=None,
        ENABLE_CACHING=True,
        CACHE_TTL=300,
        CACHE_MIN_DURATION=0.25,
        MAX_FRAGMENT_SIZE=1_048_576,
        CACHE_STORE="partstream.backends.caches.django_cache.DjangoCacheStore",
        IDENTITY=None,
        REQUEST_ID=None,
        ENABLE_RATE_LIMITING=True,
        RATE_LIMIT=100,
        BURST_LIMIT=10,
        RATE_LIMIT_STORE="partstream.backends.rate_limits.django_cache.DjangoCacheRateLimitStore",
        RATE_LIMIT_ON_STORE_ERROR="local",
        TRUSTED_PROXIES=(),
        IP_ALLOWLIST=(),
        IP_BLOCKLIST=(),
        ENABLE_AUDIT_LOGGING=True,
        HEALTH_CHECK_ENABLED=True,
    )


def test_settings__are_frozen_and_kept():
    assert get_settings() is get_settings()
    with pytest.raises(dataclasses.FrozenInstanceError):
        get_settings().DEFAULT_CHUNK_SIZE = 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEFAULT_CHUNK_SIZE", 1),
        ("DEFAULT_CURSOR_TTL", 1),
        ("MAX_PARTS_PER_REQUEST", 1),
        ("MAX_CURSOR_SIZE", 128),
        ("MAX_KEYS_PER_REQUEST", 1),
        ("CURSOR_CODEC", "some.path.Codec"),
        ("CURSOR_CODEC", {"BACKEND": "some.path.Codec"}),
        ("CURSOR_CODEC", {"BACKEND": "some.path.Codec", "OPTIONS": {"a": 1}}),
        ("CURSOR_KEYS", None),
        ("CURSOR_KEYS", (GOOD_KEY,)),
        ("PART_EXECUTOR", "some.path.Executor"),
        ("PART_EXECUTOR", {"BACKEND": "some.path.Executor", "OPTIONS": {"max_workers": 4}}),
        ("PART_TIMEOUT", None),
        ("PART_TIMEOUT", 0.001),
        ("PART_TIMEOUT", 5),
        ("PART_TIMEOUT", float(LONGEST_TTL)),
        ("CHUNK_TIME_BUDGET", None),
        ("CHUNK_TIME_BUDGET", 0.1),
        ("CHUNK_TIME_BUDGET", 1),
        ("ENABLE_CACHING", False),
        ("CACHE_TTL", 1),
        ("CACHE_TTL", LONGEST_TTL),
        ("CACHE_MIN_DURATION", 0),
        ("CACHE_MIN_DURATION", 1.5),
        ("MAX_FRAGMENT_SIZE", 1024),
        ("MAX_FRAGMENT_SIZE", 1 << 30),
        ("CACHE_STORE", "some.path.Store"),
        ("CACHE_STORE", {"BACKEND": "some.path.Store", "OPTIONS": {"alias": "other"}}),
        ("IDENTITY", None),
        ("IDENTITY", "some.path.function"),
        ("REQUEST_ID", None),
        ("REQUEST_ID", "some.path.function"),
    ],
)
def test_settings__are_overridden_and_restored(name, value):
    before = get_settings()
    with override_settings(DJANGO_PARTSTREAM={name: value}):
        assert get_settings() == dataclasses.replace(before, **{name: value})
    assert get_settings() == before


def test_settings__an_inner_override_replaces_the_outer_one():
    with override_settings(DJANGO_PARTSTREAM={"DEFAULT_CHUNK_SIZE": 5}):
        with override_settings(DJANGO_PARTSTREAM={"MAX_KEYS_PER_REQUEST": 7}):
            assert (get_settings().DEFAULT_CHUNK_SIZE, get_settings().MAX_KEYS_PER_REQUEST) == (
                2,
                7,
            )
        assert (get_settings().DEFAULT_CHUNK_SIZE, get_settings().MAX_KEYS_PER_REQUEST) == (5, 10)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("DEFAULT_CHUNK_SIZE", 0, "must be 1 or more, not 0."),
        ("DEFAULT_CHUNK_SIZE", -1, "must be 1 or more, not -1."),
        ("DEFAULT_CHUNK_SIZE", "2", "must be int, not str."),
        ("DEFAULT_CHUNK_SIZE", 2.0, "must be int, not float."),
        ("DEFAULT_CHUNK_SIZE", True, "must be int, not bool."),
        ("DEFAULT_CHUNK_SIZE", None, "must be int, not NoneType."),
        ("DEFAULT_CURSOR_TTL", 0, "must be 1 or more, not 0."),
        ("MAX_PARTS_PER_REQUEST", 0, "must be 1 or more, not 0."),
        ("MAX_CURSOR_SIZE", 127, "must be 128 or more, not 127."),
        ("MAX_KEYS_PER_REQUEST", [10], "must be int, not list."),
        ("CURSOR_CODEC", "nodots", "must be a dotted path, or"),
        ("CURSOR_CODEC", None, "must be a dotted path, or"),
        ("CURSOR_CODEC", {}, "must be a dotted path, or"),
        ("CURSOR_CODEC", {"OPTIONS": {}}, "must be a dotted path, or"),
        ("CURSOR_CODEC", {"BACKEND": 1}, "must be a dotted path, or"),
        ("CURSOR_CODEC", {"BACKEND": "a.B", "OPTIONS": []}, "must be a dotted path, or"),
        ("CURSOR_CODEC", {"BACKEND": "a.B", "OPTION": {}}, "must be a dotted path, or"),
        ("CURSOR_CODEC", {"BACKEND": "nodots"}, "must be a dotted path, or"),
        ("CURSOR_KEYS", [], "must be None or a list of at least one secret."),
        ("CURSOR_KEYS", GOOD_KEY, "must be None or a list of at least one secret."),
        ("CURSOR_KEYS", {GOOD_KEY}, "must be None or a list of at least one secret."),
        ("CURSOR_KEYS", [GOOD_KEY, "short"], "not a string of 32 characters or more."),
        ("CURSOR_KEYS", [GOOD_KEY.encode()], "not a string of 32 characters or more."),
        ("CURSOR_KEYS", [None], "not a string of 32 characters or more."),
        ("CURSOR_KEYS", ["a" * 64], "fewer than 8 different characters."),
        ("CURSOR_KEYS", ["ab" * 16], "fewer than 8 different characters."),
        ("PART_EXECUTOR", None, "must be a dotted path, or"),
        ("PART_EXECUTOR", "threads", "must be a dotted path, or"),
        ("PART_EXECUTOR", object(), "must be a dotted path, or"),
        ("PART_EXECUTOR", {"BACKEND": "a.B", "max_workers": 4}, "must be a dotted path, or"),
        ("PART_TIMEOUT", 0, "must be 0.001 or more, not 0."),
        ("PART_TIMEOUT", -1.5, "must be 0.001 or more, not -1.5."),
        ("PART_TIMEOUT", math.nan, "must be 0.001 or more, not nan."),
        ("PART_TIMEOUT", math.inf, f"must be {LONGEST_TTL} or less, not inf."),
        ("PART_TIMEOUT", -math.inf, "must be 0.001 or more, not -inf."),
        ("PART_TIMEOUT", 10**400, f"must be {LONGEST_TTL} or less, not 1"),
        ("PART_TIMEOUT", True, "must be float, not bool."),
        ("PART_TIMEOUT", "5", "must be float, not str."),
        ("PART_TIMEOUT", Decimal(5), "must be float, not Decimal."),
        ("CHUNK_TIME_BUDGET", 0.0, "must be 0.001 or more, not 0.0."),
        ("CHUNK_TIME_BUDGET", math.nan, "must be 0.001 or more, not nan."),
        ("CHUNK_TIME_BUDGET", math.inf, f"must be {LONGEST_TTL} or less, not inf."),
        ("CHUNK_TIME_BUDGET", False, "must be float, not bool."),
        ("CHUNK_TIME_BUDGET", "0.1", "must be float, not str."),
        ("ENABLE_CACHING", None, "must be bool, not NoneType."),
        ("ENABLE_CACHING", 1, "must be bool, not int."),
        ("ENABLE_CACHING", 0, "must be bool, not int."),
        ("ENABLE_CACHING", "False", "must be bool, not str."),
        ("CACHE_TTL", 0, "must be 1 or more, not 0."),
        ("CACHE_TTL", -300, "must be 1 or more, not -300."),
        ("CACHE_TTL", LONGEST_TTL + 1, f"must be {LONGEST_TTL} or less, not"),
        ("CACHE_TTL", 300.0, "must be int, not float."),
        ("CACHE_TTL", True, "must be int, not bool."),
        ("CACHE_TTL", "300", "must be int, not str."),
        ("CACHE_TTL", None, "must be int, not NoneType."),
        ("CACHE_MIN_DURATION", -0.1, "must be 0 or more, not -0.1."),
        ("CACHE_MIN_DURATION", math.nan, "must be 0 or more, not nan."),
        ("CACHE_MIN_DURATION", math.inf, f"must be {LONGEST_TTL} or less, not inf."),
        ("CACHE_MIN_DURATION", None, "must be float, not NoneType."),
        ("CACHE_MIN_DURATION", True, "must be float, not bool."),
        ("CACHE_MIN_DURATION", "0.25", "must be float, not str."),
        ("MAX_FRAGMENT_SIZE", 1023, "must be 1024 or more, not 1023."),
        ("MAX_FRAGMENT_SIZE", (1 << 30) + 1, "must be 1073741824 or less, not"),
        ("MAX_FRAGMENT_SIZE", 1e6, "must be int, not float."),
        ("MAX_FRAGMENT_SIZE", "1MB", "must be int, not str."),
        ("CACHE_STORE", None, "must be a dotted path, or"),
        ("CACHE_STORE", "default", "must be a dotted path, or"),
        ("CACHE_STORE", {"BACKEND": "a.B", "LOCATION": "x"}, "must be a dotted path, or"),
        ("IDENTITY", "nodots", "must be a dotted path, or None."),
        ("REQUEST_ID", "nodots", "must be a dotted path, or None."),
        ("IDENTITY", ".relative", "must be a dotted path, or None."),
        ("IDENTITY", len, "must be a dotted path, or None."),
        ("IDENTITY", {"BACKEND": "a.b"}, "must be a dotted path, or None."),
        ("IDENTITY", "", "must be a dotted path, or None."),
    ],
)
def test_settings__a_wrong_value_is_refused_at_every_use(name, value, says):
    with override_settings(DJANGO_PARTSTREAM={name: value}):
        for _ in range(2):
            with pytest.raises(Misuse) as caught:
                get_settings()
            assert f"DJANGO_PARTSTREAM['{name}']" in str(caught.value)
            assert says in str(caught.value)
    assert get_settings().DEFAULT_CHUNK_SIZE == 2


@pytest.mark.parametrize("secret", ["short and secret", "hunter2hunter2"])
def test_settings__a_weak_key_is_not_shown(secret):
    with override_settings(DJANGO_PARTSTREAM={"CURSOR_KEYS": [secret]}):
        assert secret not in "".join(map(str, get_problems()))
        with pytest.raises(Misuse) as caught:
            get_settings()
        assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("DEFAULT_CHUNKSIZE", "Did you mean 'DEFAULT_CHUNK_SIZE'?"),
        ("cursor_codec", "Did you mean 'CURSOR_CODEC'?"),
        ("MAX_KEY_PER_REQUEST", "Did you mean 'MAX_KEYS_PER_REQUEST'?"),
        ("PIGEONS", "The settings are DEFAULT_CHUNK_SIZE, DEFAULT_CURSOR_TTL,"),
        (7, "The settings are"),
    ],
)
def test_settings__an_unknown_name_is_refused_with_a_guess(name, guess):
    with override_settings(DJANGO_PARTSTREAM={name: 1}), pytest.raises(Misuse) as caught:
        get_settings()
    assert f"DJANGO_PARTSTREAM[{name!r}]" in str(caught.value)
    assert guess in str(caught.value)


@pytest.mark.parametrize("value", [None, [], "text", 3])
def test_settings__must_be_a_dictionary(value):
    with override_settings(DJANGO_PARTSTREAM=value), pytest.raises(Misuse) as caught:
        get_settings()
    assert "must be a dictionary" in str(caught.value)


def test_settings__all_faults_are_named_at_once():
    faulty = {"DEFAULT_CHUNK_SIZE": 0, "MAX_CURSOR_SIZE": "x", "PIGEONS": 1}
    with override_settings(DJANGO_PARTSTREAM=faulty), pytest.raises(Misuse) as caught:
        get_settings()
    assert len(str(caught.value).splitlines()) == 3
    assert len(get_problems()) == 0


# The environment, in processes of their own


@pytest.fixture
def read(monkeypatch):
    """The settings, or the faults, of a process that was started in this environment."""

    def read(**environment):
        monkeypatch.setattr(conf, "ENVIRONMENT", environment)
        with override_settings(DJANGO_PARTSTREAM={}):
            return get_settings()

    return read


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("1", True), ("TRUE", True), ("false", False), ("0", False), ("False", False)],
)
def test_environment__spells_a_switch(read, text, value):
    assert read(PARTSTREAM_ENABLE_CACHING=text).ENABLE_CACHING is value


@pytest.mark.parametrize(("text", "value"), [("3", 3.0), ("0.25", 0.25), ("007.50", 7.5)])
def test_environment__spells_a_number_of_seconds(read, text, value):
    seconds = read(PARTSTREAM_PART_TIMEOUT=text).PART_TIMEOUT
    assert seconds == value


@pytest.mark.parametrize(
    ("variable", "texts", "says"),
    [
        ("CHUNK_SIZE", ["", "two", "²", "9" * 5000], "must be a whole number."),
        ("CHUNK_SIZE", ["0"], "must be 1 or more, not 0."),
        ("MAX_CURSOR_SIZE", ["-1"], "must be a whole number."),
        ("CURSOR_CODEC", ["x"], "must be a dotted path, or"),
        (
            "ENABLE_CACHING",
            ["", "yes", "on", "2", "None", " true", "true\n"],
            "must be true or false.",
        ),
        (
            "PART_TIMEOUT",
            ["", "five", "nan", "inf", "-1", "1e3", ".5", "5.", "1,5", " 1", "1\n", "9" * 5000],
            "must be a number.",
        ),
        ("PART_TIMEOUT", ["0", "0.0", "0.0001"], "must be 0.001 or more, not 0."),
        ("PART_TIMEOUT", ["9" * 18], f"must be {LONGEST_TTL} or less, not"),
        ("CACHE_TTL", ["", "1.5", "1.0", "-1", "true", "1_000"], "must be a whole number."),
        ("CACHE_TTL", ["0"], "must be 1 or more, not 0."),
        ("MAX_FRAGMENT_SIZE", ["1MB", "1e6"], "must be a whole number."),
        ("MAX_FRAGMENT_SIZE", ["1023"], "must be 1024 or more, not 1023."),
        ("CACHE_STORE", ["", "default", "a..b", '{"BACKEND": "a.B"}'], "must be a dotted path, or"),
        ("PART_EXECUTOR", ["", "threads", "a.b c"], "must be a dotted path, or"),
        ("IDENTITY", ["", "nodots", "None", "a.b\n"], "must be a dotted path, or None."),
    ],
    ids=itertools.count(),
)
def test_environment__what_a_setting_does_not_take_is_refused_by_its_name(
    read, variable, texts, says
):
    for text in texts:
        with pytest.raises(Misuse) as caught:
            read(**{f"PARTSTREAM_{variable}": text})
        assert str(caught.value).startswith(f"PARTSTREAM_{variable} {says}"), text


def test_environment__all_bad_variables_are_named_at_once(read):
    bad = {"PARTSTREAM_ENABLE_CACHING": "maybe", "PARTSTREAM_PART_TIMEOUT": "soon"}
    with pytest.raises(Misuse) as caught:
        read(**bad, PARTSTREAM_CACHE_TTL="60")
    lines = str(caught.value).splitlines()
    assert {line.partition(" ")[0] for line in lines} == set(bad)
    assert len(lines) == 2


# What is made from settings


def test_kept__makes_once_and_again_after_a_change():
    made = []
    kept = Kept(lambda: made.append(1) or len(made), "SOME_SETTING").get
    assert [kept(), kept()] == [1, 1]
    setting_changed.send(sender=None, setting="OTHER_SETTING", value=1, enter=True)
    assert kept() == 1
    setting_changed.send(sender=None, setting="SOME_SETTING", value=1, enter=True)
    assert [kept(), kept()] == [2, 2]


def test_kept__raises_until_it_succeeds():
    made = []

    def make():
        made.append(1)
        if len(made) < 3:
            raise Misuse("not yet")
        return len(made)

    kept = Kept(make, "SOME_SETTING").get
    for _ in range(2):
        with pytest.raises(Misuse):
            kept()
    assert [kept(), kept()] == [3, 3]


def test_kept__makes_one_for_many_threads():
    entered, go = threading.Event(), threading.Event()
    made = []

    def make():
        entered.set()
        assert go.wait(10)
        made.append(object())
        return made[-1]

    kept = Kept(make, "SOME_SETTING").get
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(kept())) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert entered.wait(10)
    go.set()
    for thread in threads:
        thread.join(10)
    assert len(made) == 1
    assert seen == made * 8
