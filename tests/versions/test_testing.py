from __future__ import annotations

import asyncio
import itertools
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from threading import Event, get_ident

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from django.http import HttpResponse
from django.test import Client, TestCase, TransactionTestCase
from django.urls import get_resolver, include, path
from rest_framework.response import Response
from rest_framework.test import APIClient, APITestCase
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from partstream import (
    HybridProgressiveView,
    PartError,
    ProgressiveView,
    lazy,
    safe_call,
    with_timeout,
)
from partstream.backends.executors.calls import State
from partstream.backends.executors.threads import ThreadExecutor
from partstream.backends.loader import get_executor, get_rate_limit_store
from partstream.exceptions import Misuse
from partstream.testing import close_connections, collect, inline
from tests.example.models import Note


def closed(request):
    raise PartError("The warehouse is closed.", code="warehouse_closed")


GOOD = [("a", 1), ("b", lazy(lambda request, a: a + 1, depends_on=["a"])), ("c", None)]
BAD = [("a", 1), ("stock", lazy(closed)), ("c", 3)]


@pytest.fixture(params=["walk", "keys", "stream", "sse"])
def mode(request):
    return request.param


def test_collect__has_every_part(client, serve, mode):
    parts = collect(client, serve(HybridProgressiveView, parts=GOOD), mode=mode)
    assert parts == {"a": 1, "b": 2, "c": None}
    assert parts.errors == {}
    # A stream begins with what is there already.
    assert "".join(parts) == {"stream": "acb", "sse": "acb"}.get(mode, "abc")
    assert parts.requests == {"walk": 2, "keys": 4, "stream": 1, "sse": 1}[mode]


def test_collect__walks_a_view_of_any_kind(client, serve):
    assert collect(client, serve(ProgressiveView, parts=GOOD, chunk_size=1)).requests == 3


def test_collect__takes_the_client_of_drf(serve, mode):
    assert collect(APIClient(), serve(HybridProgressiveView, parts=GOOD), mode=mode)["b"] == 2


def test_collect__keeps_the_applications_own_query(client, serve, mode):
    url = serve(
        HybridProgressiveView,
        get_parts=lambda self: [
            ("q", self.request.query_params.getlist("q")),
            ("b", 2),
            ("r", self.request.query_params.get("r")),
        ],
        chunk_size=1,
    )
    parts = collect(client, f"{url}?q=a%20b&q=%C3%A9&r=1", mode=mode)
    assert parts == {"q": ["a b", "é"], "b": 2, "r": "1"}


@pytest.mark.parametrize("parameter", ["cursor", "after"])
def test_collect__does_without_a_link(client, serve, parameter):
    url = serve(
        get_parts=lambda self: [(name, len(self.request.GET["x"])) for name in "abcde"],
        get_cursor_query_param=lambda self: parameter,
    )
    query = "?x=" + "a" * 3003
    first = client.get(url + query)
    assert "Link" not in first.headers
    assert collect(client, url + query) == dict.fromkeys("abcde", 3003)
    onward = f"{query}&{parameter}={first.json()['cursor']}"
    assert collect(client, url + onward) == dict.fromkeys("cde", 3003)


def test_collect__hands_its_extras_to_each_request(client, serve, mode):
    url = serve(
        HybridProgressiveView,
        get_parts=lambda self: [(name, self.request.META["HTTP_X_WHO"]) for name in "abc"],
    )
    assert collect(client, url, mode=mode, HTTP_X_WHO="ada") == dict.fromkeys("abc", "ada")


def test_collect__a_failed_part_fails_the_test(client, serve, mode):
    url = serve(HybridProgressiveView, parts=BAD)
    with pytest.raises(AssertionError, match="warehouse_closed"):
        collect(client, url, mode=mode)


def test_collect__a_failed_part_may_be_allowed(client, serve, mode):
    parts = collect(client, serve(HybridProgressiveView, parts=BAD), mode=mode, allow_errors=True)
    assert parts == {"a": 1, "c": 3}
    assert parts.errors["stock"]["code"] == "warehouse_closed"


@pytest.mark.parametrize("allow_errors", [True, False])
def test_collect__a_refused_request_fails_the_test(client, serve, mode, allow_errors):
    url = serve(HybridProgressiveView, parts=GOOD, http_method_names=["post"])
    with pytest.raises(AssertionError, match="answered 405"):
        collect(client, url, mode=mode, allow_errors=allow_errors)


def test_collect__a_walk_refused_on_its_way_fails_the_test(client, serve):
    names = iter("bc")

    def get_parts(self):
        return [("a", 1), (next(names), 2), ("d", 3)]

    url = serve(get_parts=get_parts)
    with pytest.raises(AssertionError, match="answered 409"):
        collect(client, url)


def test_collect__refuses_another_mode(client, serve):
    with pytest.raises(ValueError, match="mode='json': write 'walk', 'keys', 'stream' or 'sse'"):
        collect(client, serve(parts=GOOD), mode="json")


def test_collect__by_key_needs_a_manifest(client, serve):
    with pytest.raises(AssertionError, match="/served/manifest/ answered 404"):
        collect(client, serve(ProgressiveView, parts=GOOD), mode="keys")


def test_collect__of_no_parts(client, serve, mode):
    assert collect(client, serve(HybridProgressiveView, parts=[]), mode=mode) == {}


class Faulty(APIView):
    """What no view of ours answers: it is asked at /faulty/?fault=...."""

    def get(self, request):
        fault = request.query_params["fault"]
        more = fault != "disagree"
        response = Response({"results": [{"a": 1}], "cursor": "x" if more else None})
        token = "y" if fault == "other" else "x"
        response.headers["Link"] = f'<?fault={fault}&cursor={token}>; rel="next"'
        if fault == "endless":
            response.data["results"] = []
        return response


@pytest.mark.urls(__name__)
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("twice", "part 'a' came twice"),
        ("disagree", "the cursor and the Link header disagree"),
        ("other", "the cursor and the Link header disagree"),
        ("endless", "the walk does not end"),
    ],
)
def test_collect__a_faulty_answer_fails_the_test(client, monkeypatch, fault, says):
    monkeypatch.setattr("partstream.testing.collecting._MOST_REQUESTS", 20)
    with pytest.raises(AssertionError, match=says):
        collect(client, f"/faulty/?fault={fault}")


# Limits

MEMORY = "partstream.backends.rate_limits.memory.MemoryRateLimitStore"


@pytest.fixture
def limited(settings):
    """Two walks in ten seconds, and three requests in a minute."""
    settings.DJANGO_PARTSTREAM = {
        "ENABLE_RATE_LIMITING": True,
        "BURST_LIMIT": 2,
        "RATE_LIMIT": 3,
        "RATE_LIMIT_STORE": MEMORY,
    }
    get_rate_limit_store()._clock = lambda: 0


@pytest.mark.usefixtures("limited")
def test_collect__is_neither_limited_nor_counted(client, serve, mode):
    url = serve(HybridProgressiveView, parts=GOOD, chunk_size=1)
    for _ in range(4):
        assert len(collect(client, url, mode=mode)) == 3
    assert [client.get(url).status_code for _ in range(3)] == [200, 200, 429]
    # It is exempt for itself, not for its client.
    assert len(collect(client, url, mode=mode)) == 3
    assert client.get(url).status_code == 429


@pytest.mark.usefixtures("limited")
def test_collect__that_fails_exempts_nothing_more(client, serve, mode):
    url = serve(HybridProgressiveView, parts=BAD)
    with pytest.raises(AssertionError, match="warehouse_closed"):
        collect(client, url, mode=mode)
    assert [client.get(url).status_code for _ in range(3)] == [200, 200, 429]


@pytest.mark.usefixtures("limited")
def test_collect__exempts_no_request_of_another_thread(client, serve):
    def ask_beside(request):
        with ThreadPoolExecutor(1) as pool:
            return list(pool.map(lambda _: Client().get(url).status_code, range(3)))

    url = serve(parts=[("a", lazy(lambda request: 1))])
    other = path("collected/", ProgressiveView.as_view(parts=[("beside", lazy(ask_beside))]))
    get_resolver().url_patterns.append(other)
    assert collect(client, "/collected/")["beside"] == [200, 200, 429]


class Never(BaseThrottle):
    def allow_request(self, request, view):
        return False


@pytest.mark.usefixtures("limited")
def test_collect__throttles_of_the_project_count_it(client, serve):
    with pytest.raises(AssertionError, match="answered 429"):
        collect(client, serve(parts=GOOD, throttle_classes=[Never]))


class NotesView(HybridProgressiveView):
    parts = [
        ("count", lazy("get_count")),
        ("texts", lazy("get_texts")),
        ("later", lazy("get_later")),
    ]

    def get_count(self, request):
        return Note.objects.count()

    def get_texts(self, request):
        return Note.objects.values_list("text", flat=True)

    async def get_later(self, request):
        return await Note.objects.acount()


@pytest.mark.urls(__name__)
class CollectInTestCase(TestCase):
    @classmethod
    def setUpTestData(cls):
        Note.objects.create(text="uncommitted")

    def test_collect__sees_the_rows_of_the_test(self):
        for mode in ("walk", "keys", "stream", "sse"):
            assert collect(self.client, "/notes/", mode=mode) == {
                "count": 1,
                "texts": ["uncommitted"],
                "later": 1,
            }


@pytest.mark.urls(__name__)
class CollectInAPITestCase(APITestCase):
    def test_collect__sees_the_rows_of_the_test(self):
        Note.objects.create(text="uncommitted")
        assert collect(self.client, "/notes/")["texts"] == ["uncommitted"]


# In the caller's thread

THREADS = "partstream.backends.executors.threads.ThreadExecutor"


def whereabouts(request):
    return get_ident()


async def whereabouts_later(request):
    return await sync_to_async(get_ident)()


@pytest.fixture
def threaded(serve, executors):
    """The URL of a view whose parts are elsewhere, or nowhere, without `inline()`."""
    executor = executors(ThreadExecutor, max_workers=2)
    return serve(
        parts=[
            ("plain", lazy(whereabouts)),
            ("timed", lazy(whereabouts, timeout=30)),
            ("later", lazy(whereabouts_later)),
            ("timed_later", lazy(whereabouts_later, timeout=30)),
            ("from_python", lazy(lambda request: with_timeout(whereabouts, 30)(request))),
        ],
        executor=executor,
        time_budget=30,
        chunk_size=5,
    )


def here(client, url):
    """Which parts ran in this thread."""
    return {name for name, ident in collect(client, url).items() if ident == get_ident()}


NAMES = {"plain", "timed", "later", "timed_later", "from_python"}


def test_inline__runs_all_in_the_callers_thread(client, threaded):
    assert here(client, threaded) == set()
    with inline():
        assert here(client, threaded) == NAMES
    assert here(client, threaded) == set()


def test_inline__runs_what_is_meant_for_a_worker_in_the_callers_thread():
    with inline():
        call = get_executor().submit_to_worker(get_ident, timeout=0.001)
    assert (call.state, call.result, call.deadline) == (State.DONE, get_ident(), None)


def test_inline__as_a_decorator_as_often_as_it_is_called(client, threaded):
    @inline()
    def decorated():
        return here(client, threaded)

    assert decorated() == NAMES
    assert here(client, threaded) == set()
    assert decorated() == NAMES


def test_inline__without_parentheses_is_misuse():
    with pytest.raises(Misuse) as caught:
        inline(here)
    assert str(caught.value) == "@inline needs parentheses. Write @inline(), or with inline():."


def test_inline__within_itself(client, threaded):
    with inline():
        with inline():
            assert here(client, threaded) == NAMES
        assert here(client, threaded) == NAMES
    assert here(client, threaded) == set()


def test_inline__ends_with_an_error(client, threaded):
    with pytest.raises(KeyError), inline():
        raise KeyError
    assert here(client, threaded) == set()


def test_inline__wins_over_the_settings(client, serve, settings):
    settings.DJANGO_PARTSTREAM = {"PART_EXECUTOR": THREADS, "PART_TIMEOUT": 30}
    url = serve(parts=[("plain", lazy(whereabouts)), ("later", lazy(whereabouts_later))])
    assert here(client, url) == set()
    with inline():
        assert here(client, url) == {"plain", "later"}


def test_inline__keeps_no_time(client, serve, settings):
    settings.DJANGO_PARTSTREAM = {"PART_TIMEOUT": 0.001}
    pause = Event()

    def slow(request):
        pause.wait(0.02)
        return get_ident()

    async def slow_later(request):
        await asyncio.sleep(0.02)
        return get_ident()

    parts = [
        ("a", lazy(slow, timeout=0.001)),
        ("b", lazy(slow_later, timeout=0.001)),
        ("c", lazy(slow)),
        ("d", lazy(safe_call(slow, None))),
        ("e", lazy(slow_later)),
    ]
    # A budget is not refused, though no executor is there to keep it; and it is not kept.
    url = serve(parts=parts, time_budget=0.001, enable_caching=False, chunk_size=5)
    with inline():
        parts = collect(client, url)
    assert set(parts) == set("abcde")
    assert parts.requests == 1
    assert parts["a"] == parts["c"] == parts["d"] == get_ident()


def test_inline__runs_them_in_declared_order(client, threaded, serve, calls):
    url = serve(parts=[(name, lazy(calls.loader(name))) for name in "abcd"], executor=THREADS)
    with inline():
        collect(client, url)
    assert calls == list("abcd")


# Outside of the test's transaction

LEAVES = r"Part '\w+' of Threaded runs in another thread, .* partstream\.testing\.inline\(\)"


class Threaded(ProgressiveView):
    executor = THREADS
    chunk_size = 3
    parts = [("now", 1), ("plain", lazy(whereabouts)), ("later", lazy(whereabouts_later))]


class Timed(ProgressiveView):
    """Inside a transaction, it stays in the request's thread."""

    parts = [("timed", lazy(whereabouts, timeout=30))]


@pytest.mark.urls(__name__)
class WarningInTestCase(TestCase):
    def test_threads__a_warning_names_inline(self):
        with pytest.warns(RuntimeWarning, match=LEAVES) as caught:
            collect(self.client, "/leaving/")
        assert [str(each.message).split()[1] for each in caught] == ["'plain'", "'later'"]

    def test_threads__python_shows_the_warning_once(self):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            for _ in range(3):
                collect(self.client, "/leaving/")
        assert len(caught) == 2

    def test_threads__inline_warns_of_nothing(self):
        with inline():
            assert set(collect(self.client, "/leaving/").values()) == {1, get_ident()}

    def test_threads__a_job_that_stays_warns_of_nothing(self):
        assert collect(self.client, "/timed/") == {"timed": get_ident()}

    def test_threads__an_inner_block_is_of_the_test_still(self):
        with transaction.atomic(), pytest.warns(RuntimeWarning, match=LEAVES):
            collect(self.client, "/leaving/")


@pytest.mark.urls(__name__)
class SilenceInTransactionTestCase(TransactionTestCase):
    def test_threads__without_a_transaction_nothing_warns(self):
        assert len(collect(self.client, "/leaving/")) == 3

    def test_threads__a_block_that_is_not_the_tests_warns_of_nothing(self):
        with transaction.atomic():
            assert len(collect(self.client, "/leaving/")) == 3
        close_connections()


def test_threads__a_server_has_no_test(client, serve, threaded, monkeypatch, db):
    """Without Django's module of tests, as in a server, no connection is looked at."""
    monkeypatch.delitem(sys.modules, "django.test.testcases")
    assert here(client, threaded) == set()


class ThreadedNotes(NotesView):
    executor = THREADS
    time_budget = 30
    parts = [*NotesView.parts, ("timed", lazy("get_count", timeout=30))]


@pytest.mark.urls(__name__)
class InlineInTestCase(TestCase):
    @classmethod
    def setUpTestData(cls):
        Note.objects.create(text="uncommitted")

    @inline()
    def test_inline__sees_the_rows_of_the_test(self):
        self.check()

    def test_inline__sees_the_rows_of_the_test_in_a_block(self):
        with inline():
            self.check()

    def check(self):
        for mode in ("walk", "keys", "stream", "sse"):
            assert collect(self.client, "/threaded/", mode=mode) == {
                "count": 1,
                "texts": ["uncommitted"],
                "later": 1,
                "timed": 1,
            }


urlpatterns = [
    path("leaving/", Threaded.as_view()),
    path("timed/", Timed.as_view()),
    path("threaded/", include(ThreadedNotes.urls())),
    path("notes/", include(NotesView.urls())),
    path("faulty/", Faulty.as_view()),
]


# Other views


class Plain(APIView):
    """An endpoint that is not partstream's."""

    permission_classes = []
    authentication_classes = []
    body = None

    def get(self, request):
        return self.body if isinstance(self.body, HttpResponse) else Response(self.body)


@pytest.mark.parametrize(
    "body",
    [
        {"count": 1, "next": None, "previous": None, "results": [{"id": 1}]},
        [{"id": 1}],
        {},
        None,
        HttpResponse("<p>A page.</p>"),
    ],
    ids=itertools.count(),
)
@pytest.mark.parametrize("where", ["walk", "keys", "keys, without a slash"])
def test_collect__of_another_view_says_so(client, mount, body, where):
    view = Plain.as_view(body=body)
    mount(path("orders", view), path("orders/", view), path("orders/manifest/", view))
    url = "/orders" if "without" in where else "/orders/"
    with pytest.raises(AssertionError, match=r"^/orders[a-z/]* is not a partstream view\. It answ"):
        collect(client, url, mode=where.partition(",")[0])
