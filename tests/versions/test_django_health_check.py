"""django-health-check 4: our check in its list. It needs Django 5.2 or newer."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest
from django.test import AsyncClient, Client
from django.urls import path

from partstream.backends.caches.null import NullCacheStore
from partstream.health.shared_run import get_shared_run
from tests.support import marks
from tests.support.concurrency import PATIENCE, Held, in_background, in_threads, soon, wait_until
from tests.support.requirements import demand

CHECK = "partstream.contrib.health_check.PartstreamHealthCheck"


@pytest.fixture(autouse=True)
def django_health_check():
    demand("health_check")


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
def hanging(settings, monkeypatch):
    held = Held()
    monkeypatch.setattr(HangingStore, "held", held)
    settings.DJANGO_PARTSTREAM = {"CACHE_STORE": f"{__name__}.HangingStore"}
    yield held
    held.release()


@pytest.fixture
def mounted(mount):
    """Mounts django-health-check's view with these checks."""

    def mounted(*checks):
        from health_check.views import HealthCheckView

        mount(path("health/", HealthCheckView.as_view(checks=list(checks))))

    mounted(CHECK)
    return mounted


@pytest.fixture(params=["wsgi", "asgi"])
def ask(request, mounted):
    url = "/health/?format=json"
    if request.param == "wsgi":
        return lambda: Client().get(url)
    return lambda: asyncio.run(AsyncClient().get(url))


def test_check__says_that_all_is_well(ask):
    answer = ask()
    assert (answer.status_code, answer.json()) == (200, {"PartstreamHealthCheck()": "OK"})


def test_check__says_what_is_not(ask, settings):
    settings.DJANGO_PARTSTREAM = {"CACHE_STORE": f"{__name__}.BrokenStore"}
    answer = ask()
    assert (answer.status_code, answer.json()) == (
        500,
        {"PartstreamHealthCheck()": "Unavailable: cache_store: BrokenStore: ConnectionError"},
    )


def test_check__says_that_settings_are_not_valid(ask, settings):
    settings.DJANGO_PARTSTREAM = {"RATE_LIMIT": "hunter2"}
    [told] = ask().json().values()
    assert told.startswith("Unavailable: settings: wrong: DJANGO_PARTSTREAM['RATE_LIMIT']")
    assert "hunter2" not in told


@marks.timed
def test_check__waits_no_longer_than_its_timeout(ask, mounted, hanging):
    mounted("health_check.checks.Cache", (CHECK, {"timeout": timedelta(seconds=0.5)}))
    with soon():
        answer = ask()
    told = answer.json()
    assert told["PartstreamHealthCheck()"] == ("Unavailable: cache_store: no answer within 0.5 s")
    assert told["Cache(alias='default')"] == "OK"


def test_check__of_many_at_once_is_one_run(mounted, hanging):
    mounted((CHECK, {"timeout": timedelta(seconds=PATIENCE)}))
    with in_background(
        in_threads, 5, lambda number: Client().get("/health/?format=json")
    ) as answers:
        wait_until(lambda: get_shared_run()._waiting == 4)
        hanging.release()
        assert [json.loads(answer.content) for answer in answers()] == [
            {"PartstreamHealthCheck()": "OK"}
        ] * 5
    assert hanging.runs == 1
