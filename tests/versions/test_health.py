"""The health check: the view under WSGI and ASGI, and the command."""

from __future__ import annotations

import asyncio
import json
import re
from io import StringIO

import django
import pytest
from asgiref.sync import ThreadSensitiveContext
from django.core.checks import register
from django.core.checks.registry import registry
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import AsyncClient, Client
from django.urls import path

from partstream.backends.caches.null import NullCacheStore
from partstream.exceptions import Misuse, ProbeFailed
from partstream.health import HealthCheckView
from partstream.health.shared_run import get_shared_run
from partstream.management.commands.partstream_health_check import Command
from tests.support import marks
from tests.support.concurrency import PATIENCE, Held, in_background, in_threads, wait_until

OK, ERROR = b'{"status": "ok"}', b'{"status": "error"}'


class BrokenStore(NullCacheStore):
    """A store that is down, and would say what its password is."""

    keeps = True

    def probe(self):
        raise ConnectionError("redis://:hunter2@host is down")


class HangingStore(NullCacheStore):
    """A store that hangs until the test lets it go."""

    keeps = True
    held = Held()

    def probe(self):
        self.held()


@pytest.fixture
def broken(settings):
    settings.DJANGO_PARTSTREAM = {"CACHE_STORE": f"{__name__}.BrokenStore"}


@pytest.fixture
def hanging(settings, monkeypatch):
    """The project's store hangs; the value has ``runs``, and ``release()``."""
    held = Held()
    monkeypatch.setattr(HangingStore, "held", held)
    settings.DJANGO_PARTSTREAM = {"CACHE_STORE": f"{__name__}.HangingStore"}
    yield held
    held.release()
    wait_until(lambda: no_thread("partstream-probe"))


def no_thread(name):
    from threading import enumerate as enumerate_threads

    return all(thread.name != name for thread in enumerate_threads())


@pytest.fixture
def mounted(mount):
    """The view at /health/; a function mounts it with other arguments."""

    def mounted(**initkwargs):
        mount(path("health/", HealthCheckView.as_view(**initkwargs)))

    mounted()
    return mounted


@pytest.fixture(params=["wsgi", "asgi"])
def ask(request, mounted):
    """Asks the view in either world."""
    if request.param == "wsgi":
        return lambda method="get": getattr(Client(), method)("/health/")
    return lambda method="get": asyncio.run(getattr(AsyncClient(), method)("/health/"))


# The view


def test_view__says_that_all_is_well(ask):
    answer = ask()
    assert (answer.status_code, answer.content) == (200, OK)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Type"] == "application/json"


def test_view__says_nothing_but_that_something_is_not(ask, broken, caplog):
    answer = ask()
    assert (answer.status_code, answer.content) == (503, ERROR)
    assert answer.headers["Cache-Control"] == "no-store"
    [line] = [
        record.getMessage() for record in caplog.records if record.name == "partstream.health"
    ]
    assert line == "The health check fails: cache_store: BrokenStore: ConnectionError."


def test_view__answers_head(ask, settings, broken):
    assert (ask("head").status_code, ask("head").content) == (503, b"")
    settings.DJANGO_PARTSTREAM = {}
    assert (ask("head").status_code, ask("head").content) == (200, b"")


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete", "options"])
def test_view__answers_no_other_method(ask, method, caplog):
    answer = ask(method)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("method", ["get", "head", "post", "options"])
@pytest.mark.parametrize("others", [{}, {"RATE_LIMIT": "hunter2"}], ids=["valid", "not valid"])
def test_view__is_not_there_where_it_is_switched_off(ask, settings, method, others):
    settings.DJANGO_PARTSTREAM = {"HEALTH_CHECK_ENABLED": False, **others}
    assert ask(method).status_code == 404


@pytest.mark.parametrize(
    "configured",
    [{"RATE_LIMIT": "hunter2"}, {"HEALTH_CHECK_ENABLED": "hunter2"}, {"TYPO": 1}, "hunter2"],
    ids=repr,
)
def test_view__says_so_where_the_settings_are_not_valid(ask, settings, configured):
    settings.DJANGO_PARTSTREAM = configured
    answer = ask()
    assert (answer.status_code, answer.content) == (503, ERROR)


def test_view__waits_no_longer_than_its_timeout(ask, mounted, hanging):
    # Not as long as the store hangs: that is until the end of the test.
    mounted(timeout=0.05)
    assert ask().content == ERROR
    hanging.wait_until_begun()
    assert hanging.runs == 1


def test_view__of_a_flood_is_one_run_in_threads(mounted, hanging):
    mounted(timeout=PATIENCE)
    with in_background(in_threads, 20, lambda number: Client().get("/health/")) as answers:
        wait_until(lambda: get_shared_run()._waiting == 19)
        hanging.release()
        assert {answer.content for answer in answers()} == {OK}
    assert hanging.runs == 1


def test_view__of_a_flood_is_one_run_in_an_event_loop(mounted, hanging):
    mounted(timeout=PATIENCE)

    async def request():
        # As Django does under ASGI: each request has a thread of its own.
        async with ThreadSensitiveContext():
            return await AsyncClient().get("/health/")

    async def flood():
        return await asyncio.gather(*(request() for _ in range(20)))

    with in_background(asyncio.run, flood()) as answers:
        wait_until(lambda: get_shared_run()._waiting == 19)
        hanging.release()
        assert {answer.content for answer in answers()} == {OK}
    assert hanging.runs == 1


def test_view__opens_no_transaction(ask, monkeypatch):
    # Without the mark of a test with a database, any access would fail.
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    assert ask().content == OK


@pytest.mark.skipif(django.VERSION < (5, 1), reason="the middleware came with Django 5.1")
def test_view__needs_no_login(ask, settings):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE,
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ]
    assert ask().content == OK


@pytest.mark.parametrize("timeout", [0, -1, "2", None, True])
def test_view__a_timeout_that_is_none_is_misuse(timeout):
    with pytest.raises(Misuse, match=r"HealthCheckView\.timeout is .*\. Write seconds above 0"):
        HealthCheckView.as_view(timeout=timeout)
    own = type("OwnView", (HealthCheckView,), {"timeout": timeout})
    with pytest.raises(Misuse, match=r"OwnView\.timeout is "):
        own.as_view()


# The command


def run(*arguments, **options):
    """What the command writes, and the error that it ends with."""
    out = StringIO()
    try:
        call_command("partstream_health_check", *arguments, stdout=out, no_color=True, **options)
    except CommandError as error:
        return out.getvalue(), str(error)
    return out.getvalue(), None


def lines(text):
    return [re.sub(r" +\d+\.\d{3} s", " SECONDS", line) for line in text.splitlines()]


def test_command__writes_a_line_for_each_probe(settings):
    settings.DJANGO_PARTSTREAM = {"ENABLE_RATE_LIMITING": True}
    text, error = run()
    assert error is None
    assert lines(text) == [
        "settings          ok SECONDS  no problems",
        "cursor_codec      ok SECONDS  FernetCursorCodec",
        "cache_store       ok SECONDS  DjangoCacheStore",
        "rate_limit_store  ok SECONDS  DjangoCacheRateLimitStore",
        "executors         ok SECONDS  InlineExecutor",
    ]
    assert len({line.index(" s  ") for line in text.splitlines()}) == 1


def test_command__ends_with_an_error_where_a_probe_fails(broken):
    text, error = run()
    assert lines(text)[2] == "cache_store   failed SECONDS  BrokenStore: ConnectionError"
    assert error == "1 of 4 probes failed: cache_store."


@marks.timed
def test_command__gives_up_after_its_timeout(hanging):
    text, error = run("--timeout=0.5")
    assert lines(text)[2] == "cache_store   failed SECONDS  no answer within 0.5 s"
    assert error == "1 of 4 probes failed: cache_store."


def test_command__writes_one_json_object(broken):
    text, error = run("--format=json")
    report = json.loads(text)
    for probe in report["probes"]:
        assert probe.pop("seconds") >= 0
    assert report == {
        "status": "error",
        "probes": [
            {"name": "settings", "ok": True, "message": "no problems"},
            {"name": "cursor_codec", "ok": True, "message": "FernetCursorCodec"},
            {"name": "cache_store", "ok": False, "message": "BrokenStore: ConnectionError"},
            {"name": "executors", "ok": True, "message": "InlineExecutor"},
        ],
    }
    assert error == "1 of 4 probes failed: cache_store."


def test_command__of_a_healthy_project_says_so_in_json():
    text, error = run("--format=json")
    assert (json.loads(text)["status"], error) == ("ok", None)
    assert "settings" not in json.loads(text)


def test_command__lists_the_settings(settings):
    settings.DJANGO_PARTSTREAM = {
        "DEFAULT_CHUNK_SIZE": 3,
        "CURSOR_KEYS": ["hunter2 and thirty characters more"],
        "CACHE_STORE": {
            "BACKEND": "partstream.backends.caches.django_cache.DjangoCacheStore",
            "OPTIONS": {"alias": "default", "retry_after": 1},
        },
    }
    text, _ = run("--verbosity=2")
    probes, values = text.split("\n\n")
    assert len(probes.splitlines()) == 4
    shown = {line.split()[0]: line.split(maxsplit=2)[1:] for line in values.splitlines()}
    assert shown["DEFAULT_CHUNK_SIZE"] == ["settings.py", "3"]
    assert shown["CURSOR_KEYS"] == ["settings.py", "'1 secret'"]
    assert shown["CACHE_TTL"] == ["default", "300"]
    assert shown["ENABLE_RATE_LIMITING"] == ["PARTSTREAM_ENABLE_RATE_LIMITING", "False"]
    assert shown["CACHE_STORE"][1].endswith("'OPTIONS': {'alias': 'default', 'retry_after': 1}}")
    assert "hunter2" not in text
    report = json.loads(run("--verbosity=2", "--format=json")[0])
    assert report["settings"]["DEFAULT_CHUNK_SIZE"] == {"value": 3, "source": "settings.py"}
    assert report["settings"]["ENABLE_RATE_LIMITING"] == {
        "value": False,
        "source": "PARTSTREAM_ENABLE_RATE_LIMITING",
    }
    assert list(report["settings"]) == list(shown)


@pytest.mark.parametrize("configured", [{"RATE_LIMIT": "hunter2"}, "hunter2"], ids=repr)
def test_command__reports_settings_that_are_not_valid(settings, configured):
    settings.DJANGO_PARTSTREAM = configured
    text, error = run("--verbosity=2")
    assert text.startswith("settings  failed")
    assert error == "1 of 1 probes failed: settings."
    assert "hunter2" not in text


@pytest.mark.parametrize("timeout", ["0", "-1", "five", "nan", "inf", "", "1e3"])
def test_command__refuses_a_timeout_that_is_none(timeout):
    text, error = run(f"--timeout={timeout}")
    assert text == ""
    assert f"--timeout: {timeout!r} is no number of seconds above 0" in error


@pytest.mark.parametrize("timeout", [0, -1, None, True, "five"])
def test_command__refuses_it_from_a_program_too(timeout):
    _, error = run(timeout=timeout)
    assert error.startswith("--timeout: ")


@pytest.mark.parametrize("timeout", [5, 2.5, "2.5"], ids=repr)
def test_command__takes_a_timeout_from_a_program(timeout):
    assert run(timeout=timeout)[1] is None


def test_command__runs_no_system_check(monkeypatch, capsys):
    """Some of them ask the servers that may hang."""

    def check(app_configs, **options):
        raise ProbeFailed("a system check ran")

    monkeypatch.setattr(registry, "registered_checks", {*registry.registered_checks})
    register(check)
    Command().run_from_argv(["manage.py", "partstream_health_check"])
    assert capsys.readouterr().out.startswith("settings      ok ")
    with pytest.raises(ProbeFailed):
        call_command("check")
