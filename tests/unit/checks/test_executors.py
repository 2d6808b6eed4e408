"""What the checks say of parts that run in other threads than the request's."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from django.apps import apps
from django.conf import settings as django_settings
from django.core.checks import Error, run_checks
from django.urls import path
from rest_framework.views import APIView

from partstream import ProgressiveView, lazy, safe_call, with_timeout
from partstream.backends.executors.daemon_threads import patched_by
from partstream.backends.executors.inline import InlineExecutor
from partstream.backends.executors.threads import ThreadExecutor
from partstream.exceptions import Misuse
from partstream.mixins import ChunkMixin, CursorMixin
from tests.support.walk_client import get_json

THREADS = "partstream.backends.executors.threads.ThreadExecutor"
INLINE = "partstream.backends.executors.inline.InlineExecutor"


def before_call(request):
    """Any function of a request."""


HOOKS = {"before_call": "tests.unit.checks.test_executors.before_call"}


def load(request):
    return 1


async def load_async(request):
    return 1


class WithoutStreams(CursorMixin, ChunkMixin, APIView):
    def get(self, request):
        return self.walk_response(request)


@pytest.fixture
def found(mount):
    """What the checks say of a view with these attributes, by id."""

    def found(base=ProgressiveView, **attributes):
        view = type("Dashboard", (base,), {"__module__": __name__, **attributes})
        mount(path("dashboard/", view.as_view()))
        return {
            message.id: message
            for message in run_checks()
            if message.id in {"partstream.E009", "partstream.E010"}
        }

    return found


@pytest.fixture(params=["application", "engine"])
def tenants(request, monkeypatch):
    """A project that uses django-tenants, as its applications say, or its database's engine."""
    if request.param == "engine":
        engine = "django_tenants.postgresql_backend"
        monkeypatch.setitem(django_settings.DATABASES["default"], "ENGINE", engine)
    else:
        is_installed = apps.is_installed
        monkeypatch.setattr(
            apps, "is_installed", lambda name: name == "django_tenants" or is_installed(name)
        )


class Own:
    timed = with_timeout(lambda self, request: 1, 2)

    def plain(self, request):
        return 1

    async def later(self, request):
        return 1


@pytest.mark.parametrize(
    "attributes",
    [
        {"executor": THREADS, "parts": [("one", lazy(load))]},
        {"executor": ThreadExecutor(), "parts": [("one", lazy(load))]},
        {"parts": [("one", lazy(load)), ("two", lazy(load, timeout=2))]},
        {"parts": [("one", lazy(with_timeout(load, 2)))]},
        {"parts": [("one", lazy(safe_call(with_timeout(load, 2), fallback=0)))]},
        {"parts": [("one", lazy("timed"))], "timed": Own.timed},
        {"get_parts": lambda self: [("one", lazy(load, timeout=2))]},
        {"parts": [("one", lazy(load)), ("two", lazy(load, executor=THREADS))]},
        {
            "executor": {"BACKEND": THREADS, "OPTIONS": HOOKS},
            "parts": [("one", lazy(load)), ("two", lazy(load, timeout=2, executor=INLINE))],
        },
    ],
)
def test_tenants__without_hooks_are_an_error_where_parts_may_run_in_threads(
    found, tenants, attributes
):
    error = found(**attributes)["partstream.E009"]
    assert isinstance(error, Error)
    assert "Dashboard" in error.msg
    assert "partstream.contrib.django_tenants.before_call" in error.hint


def test_tenants__without_hooks_are_an_error_under_a_timeout_for_all(found, tenants, settings):
    settings.DJANGO_PARTSTREAM = {"PART_TIMEOUT": 5}
    assert "partstream.E009" in found(parts=[("one", lazy(load))])


@pytest.mark.parametrize(
    "attributes",
    [
        {"parts": [("one", 1)]},
        {"executor": {"BACKEND": THREADS, "OPTIONS": HOOKS}, "parts": [("one", lazy(load))]},
        {
            "executor": {"BACKEND": INLINE, "OPTIONS": HOOKS},
            "parts": [("one", lazy(load, timeout=2))],
        },
    ],
)
def test_tenants__with_hooks_or_without_loaders_are_none(found, tenants, attributes):
    assert found(**attributes) == {}


#: Parts that run in the request's thread, but not when they are streamed.
INLINE_PARTS = [
    {"parts": [("one", lazy(load)), ("two", 2), ("three", lazy("plain"))], "plain": Own.plain},
    {"parts": [("one", lazy(load_async))]},
    {"executor": THREADS, "parts": [("one", lazy(load, executor=INLINE))]},
    {
        "parts": [
            ("one", lazy(load)),
            ("two", lazy(load, executor={"BACKEND": THREADS, "OPTIONS": HOOKS})),
        ]
    },
]


@pytest.mark.parametrize("attributes", INLINE_PARTS)
def test_tenants__without_hooks_are_an_error_where_parts_are_streamed(found, tenants, attributes):
    error = found(**attributes)["partstream.E009"]
    assert "parts of Dashboard run in other threads when they are streamed" in error.msg
    assert error.hint.endswith(", or set MAX_STREAMS to 0.")


@pytest.mark.parametrize("attributes", INLINE_PARTS)
def test_tenants__without_hooks_are_none_where_nothing_is_streamed(
    found, tenants, settings, attributes
):
    assert found(WithoutStreams, **attributes) == {}
    settings.DJANGO_PARTSTREAM = {"MAX_STREAMS": 0}
    assert found(**attributes) == {}


class InRequestsThread(InlineExecutor):
    watches_time = False


def test_tenants__without_hooks_are_none_where_streams_keep_the_requests_thread(found, tenants):
    assert found(executor=InRequestsThread(), parts=[("one", lazy(load, timeout=2))]) == {}


def test_tenants__that_are_not_there_need_no_hooks(found):
    assert found(executor=THREADS, parts=[("one", lazy(load))]) == {}


@pytest.fixture(params=["gevent", "eventlet"])
def patched(request, monkeypatch):
    """A stand-in for a package that says it has patched threads; real ones are tested elsewhere."""
    if request.param == "gevent":
        name, module = "gevent.monkey", SimpleNamespace(is_module_patched=lambda _: True)
    else:
        name, module = "eventlet.patcher", SimpleNamespace(is_monkey_patched=lambda _: True)
    monkeypatch.setitem(sys.modules, name, module)
    return request.param


def test_green_threads__make_coroutine_loaders_an_error(found, patched):
    assert patched_by() == patched
    parts = [("one", lazy(load)), ("two", lazy("later"))]
    error = found(parts=parts, later=Own.later)["partstream.E010"]
    assert "'two'" in error.msg
    assert patched in error.msg
    assert "def instead of async def" in error.hint
    assert found(parts=[("one", lazy(load))]) == {}


@pytest.mark.parametrize("executor", [INLINE, THREADS])
@pytest.mark.parametrize("timeout", [None, 60])
def test_green_threads__coroutine_loaders_are_misuse(client, serve, patched, executor, timeout):
    parts = [("one", lazy(load)), ("two", lazy(load_async, timeout=timeout))]
    url = serve(parts=parts, executor=executor)
    with pytest.raises(Misuse, match=rf"ServedView: the loader of part 'two' .* {patched}"):
        client.get(url)


def test_green_threads__plain_loaders_work(client, serve, patched):
    parts = [("one", lazy(load)), ("two", lazy(load, timeout=60))]
    assert get_json(client, serve(parts=parts))["results"] == [{"one": 1}, {"two": 1}]


def test_green_threads__coroutines_that_show_late_fail_their_part(client, serve, patched, caplog):
    async def fallback(request, error):
        return 1

    parts = [
        ("late", lazy(lambda request: load_async(request))),
        ("covered", lazy(safe_call(lambda request: 1 / 0, fallback=fallback))),
    ]
    answer = get_json(client, serve(parts=parts))
    assert [error["code"] for error in answer["errors"]] == ["part_failed"] * 2
    assert caplog.text.count(f"{patched} has patched threads") == 2
