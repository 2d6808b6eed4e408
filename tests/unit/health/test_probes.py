"""Which probes there are, and what they tell."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest
from django.core.exceptions import ImproperlyConfigured

from partstream import conf
from partstream.backends.executors.threads import ThreadExecutor
from partstream.backends.loader import get_executor
from partstream.exceptions import Misuse, NoThread, ProbeFailed
from partstream.health import run_probes
from partstream.health.probes import describe, get_probes
from tests.support.concurrency import PATIENCE, Held, wait_until

NULL = "partstream.backends.caches.null.NullCacheStore"
DUMMY = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
SIGNED = "partstream.backends.cursors.signed.SignedCursorCodec"
DJANGO_STORE = "partstream.backends.caches.django_cache.DjangoCacheStore"


@pytest.fixture(autouse=True)
def environment(monkeypatch, settings):
    """Nothing is set."""
    monkeypatch.setattr(conf, "ENVIRONMENT", {})
    settings.DJANGO_PARTSTREAM = {}


def found():
    """Name -> message, with a mark before those of what failed."""
    return {
        result.name: result.message if result.ok else f"FAILED {result.message}"
        for result in run_probes(PATIENCE)
    }


ALL = {
    "settings": "no problems",
    "cursor_codec": "FernetCursorCodec",
    "cache_store": "DjangoCacheStore",
    "rate_limit_store": "DjangoCacheRateLimitStore",
    "executors": "InlineExecutor",
}


def without(*names):
    return {name: message for name, message in ALL.items() if name not in names}


def test_probes__try_what_a_project_uses_that_sets_nothing():
    assert found() == ALL


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        ({"CACHE_STORE": NULL}, without("cache_store")),
        ({"ENABLE_RATE_LIMITING": False}, without("rate_limit_store")),
        ({"ENABLE_CACHING": False}, without("cache_store")),
        # `cached_for()` may use it.
        ({"ENABLE_CACHING": False, "CACHE_STORE": DJANGO_STORE}, ALL),
        ({"ENABLE_CACHING": False, "CACHE_STORE": NULL}, without("cache_store")),
        ({"CURSOR_CODEC": SIGNED}, {**ALL, "cursor_codec": "SignedCursorCodec"}),
        ({"IDENTITY": "tests.unit.health.test_probes.get_tenant"}, ALL),
        ({"REQUEST_ID": "tests.unit.health.test_probes.get_tenant"}, ALL),
    ],
)
def test_probes__try_nothing_else(settings, configured, expected):
    settings.DJANGO_PARTSTREAM = configured
    assert found() == expected


def test_probes__try_no_cache_that_keeps_nothing(settings):
    settings.CACHES = DUMMY
    assert found() == without("cache_store")


def get_tenant(request):
    return None


def test_probes__a_store_that_a_variable_names_is_used(settings, monkeypatch):
    monkeypatch.setattr(conf, "ENVIRONMENT", {"PARTSTREAM_CACHE_STORE": DJANGO_STORE})
    settings.DJANGO_PARTSTREAM = {"ENABLE_CACHING": False}
    assert found() == ALL


# Settings


def test_settings__that_are_wrong_are_the_only_result(settings, monkeypatch):
    monkeypatch.setattr(conf, "ENVIRONMENT", {"PARTSTREAM_CHUNK_SIZE": "hunter2"})
    settings.DJANGO_PARTSTREAM = {"RATE_LIMIT": "hunter2", "TYPO": "hunter2"}
    assert found() == {
        "settings": "FAILED wrong: PARTSTREAM_CHUNK_SIZE, DJANGO_PARTSTREAM['RATE_LIMIT'], "
        "DJANGO_PARTSTREAM['TYPO']; `manage.py check` says why"
    }


def test_settings__that_are_no_dictionary_are_wrong(settings):
    settings.DJANGO_PARTSTREAM = "hunter2"
    assert found() == {
        "settings": "FAILED wrong: DJANGO_PARTSTREAM; `manage.py check` says why",
    }


CHECK_SAYS = "FAILED it cannot be used as it is configured; `manage.py check` says why"


@pytest.mark.parametrize(
    ("configured", "name"),
    [
        ({"IDENTITY": "no.such.function"}, "settings"),
        ({"CURSOR_CODEC": "no.such.Codec"}, "cursor_codec"),
        ({"CACHE_STORE": {"BACKEND": DJANGO_STORE, "OPTIONS": {"alias": "x"}}}, "cache_store"),
        ({"RATE_LIMIT_STORE": "no.such.Store"}, "rate_limit_store"),
        ({"PART_EXECUTOR": "no.such.Executor"}, "executors"),
    ],
)
def test_backend__that_cannot_be_made_is_a_failure(settings, configured, name):
    settings.DJANGO_PARTSTREAM = configured
    assert found() == {**ALL, name: CHECK_SAYS}


# Backends


class Silent(ThreadExecutor):
    """An executor that fails with a secret."""

    def probe(self):
        raise OSError(errno.EHOSTUNREACH, "hunter2")


def test_backend__that_fails_is_named():
    get_executor({"BACKEND": f"{__name__}.Silent"}, where="executor")
    assert found()["executors"] == "FAILED Silent: OSError (No route to host)"


def test_executors__of_views_are_tried_too():
    held = Held()
    executor = get_executor(
        {"BACKEND": "partstream.backends.executors.threads.ThreadExecutor", "OPTIONS": {}},
        where="executor",
    )
    assert found()["executors"] == "InlineExecutor, ThreadExecutor"
    executor.pool.max_abandoned = 1
    call = executor.submit(held, timeout=PATIENCE)
    held.wait_until_begun()
    call.give_up()
    assert found()["executors"] == (
        "FAILED ThreadExecutor: 1 calls that timed out still run (max_abandoned)"
    )
    held.release()
    wait_until(lambda: not executor.abandoned)


def test_probes__have_the_names_of_the_reference():
    assert [probe.name for probe in get_probes()] == list(ALL)


# What exceptions say


def caused(error, cause):
    error.__cause__ = cause
    return error


def within(error, context):
    error.__context__ = context
    return error


class ClientError(Exception):
    """Of some library."""


CONNECTION = ConnectionRefusedError(errno.ECONNREFUSED, "hunter2")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ProbeFailed("an entry is lost"), "an entry is lost"),
        (Misuse("hunter2"), CHECK_SAYS.removeprefix("FAILED ")),
        (ImproperlyConfigured("hunter2"), CHECK_SAYS.removeprefix("FAILED ")),
        (ValueError("hunter2"), "ValueError"),
        (ClientError("hunter2"), "tests.ClientError"),
        (NoThread("hunter2"), "partstream.NoThread"),
        (CONNECTION, "ConnectionRefusedError (Connection refused)"),
        (within(ClientError("hunter2"), CONNECTION), "tests.ClientError (Connection refused)"),
        (
            caused(ClientError("hunter2"), CONNECTION),
            "ConnectionRefusedError (Connection refused)",
        ),
        (
            caused(KeyError("hunter2"), within(ClientError("hunter2"), CONNECTION)),
            "tests.ClientError (Connection refused)",
        ),
        (TimeoutError("hunter2"), "TimeoutError"),
        (socket.gaierror(-2, "hunter2"), "socket.gaierror"),
        (ssl.SSLError(1, "hunter2"), "ssl.SSLError"),
    ],
    ids=repr,
)
def test_describe__has_no_text_of_others(error, says):
    assert describe(error) == says


@pytest.mark.parametrize("join", [caused, within])
def test_describe__ends_where_a_chain_goes_in_a_circle(join):
    first, second = ClientError(), ClientError()
    join(first, join(second, first))
    assert describe(first) == "tests.ClientError"
