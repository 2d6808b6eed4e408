"""What a walk keeps, for how long and for whom; and law 8, of all that is kept."""

from __future__ import annotations

import json
import time

import pytest
import time_machine
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.test import RequestFactory
from django.utils import translation
from rest_framework.permissions import BasePermission

from partstream import PartError, ProgressiveView, cached_for, lazy, safe_call, with_timeout
from partstream.backends.loader import get_cache_store
from tests.support.concurrency import in_background, wait_until
from tests.support.marks import timed
from tests.support.walk_client import at, first_cursor, get_json, merged, names, walk

pytestmark = pytest.mark.usefixtures("empty_cache")

NOW = 1_800_000_000
NOTING = "tests.support.stores.NotingStore"


@pytest.fixture
def configure(settings):
    """Set more of the settings beside the store that notes what it is asked."""

    def configure(**more):
        settings.DJANGO_PARTSTREAM = {"CACHE_STORE": NOTING, **more}
        return get_cache_store()

    return configure


class Shop:
    """Loaders that note their runs; the rates change with each."""

    def __init__(self):
        self.runs = []

    def loader(self, name):
        def load(request, **dependencies):
            self.runs.append(name)
            return [name, len(self.runs), *dependencies.values()]

        return load

    def parts(self):
        return [
            ("rates", lazy(self.loader("rates"))),
            ("news", lazy(self.loader("news"))),
            ("orders", lazy(self.loader("orders"), depends_on=["rates"])),
            ("stock", lazy(self.loader("stock"))),
            ("plan", lazy(self.loader("plan"), depends_on=["rates", "orders"])),
        ]


@pytest.fixture
def shop():
    return Shop()


# Round trips


def test_walk__a_first_request_reads_and_locks_nothing(client, serve, store, shop, executor):
    parts = [part for part in shop.parts() if not part[1].depends_on]
    get_json(client, serve(parts=parts, chunk_size=2, executor=executor))
    assert store.taken() == []


def test_walk__a_first_request_writes_what_is_needed_later(client, serve, store, shop, executor):
    get_json(client, serve(parts=shop.parts(), chunk_size=3, executor=executor))
    assert store.taken() == [("write", 2)]  # rates and orders, for the plan


def test_walk__a_cursor_reads_and_writes_once(client, serve, configure, shop, executor):
    store = configure(CACHE_MIN_DURATION=0)
    url = serve(parts=shop.parts(), chunk_size=2, executor=executor)
    token = first_cursor(client, url)
    assert store.taken() == [("write", 1)]
    token = get_json(client, at(url, token))["cursor"]
    assert store.taken() == [("read", 3), ("write", 2)]  # orders, stock, and the rates
    get_json(client, at(url, token))
    assert store.taken() == [("read", 3), ("write", 1)]  # the plan, and what it depends on
    assert sorted(shop.runs) == ["news", "orders", "plan", "rates", "stock"]


def test_walk__what_is_kept_is_there_before_the_answer_leaves(store, shop):
    class View(ProgressiveView):
        authentication_classes = ()
        parts = shop.parts()

    response = View.as_view()(RequestFactory().get("/"))
    assert store.taken() == [("write", 1)]
    assert json.loads(response.content)["cursor"]


def test_walk__immediate_values_are_not_asked_for(client, serve, store, calls):
    url = serve(
        parts=[("a", 1), ("b", 2), ("c", lazy(calls.loader("c"), depends_on=["a"]))], chunk_size=1
    )
    walk(client, url)
    assert store.taken() == [("read", 1)]


def test_walk__a_head_request_touches_nothing(client, serve, configure, shop):
    store = configure(CACHE_MIN_DURATION=0)
    url = serve(parts=shop.parts())
    token = first_cursor(client, url)
    store.taken()
    assert client.head(at(url, token)).status_code == 200
    assert store.taken() == []


# What is kept


def test_walk__a_dependency_is_made_once(client, serve, store, shop, executor):
    url = serve(parts=shop.parts(), chunk_size=1, executor=executor)
    seen = merged(walk(client, url))
    assert sorted(shop.runs) == ["news", "orders", "plan", "rates", "stock"]
    assert seen["orders"][2] == seen["rates"]
    assert seen["plan"][2:] == [seen["rates"], seen["orders"]]


def test_walk__a_dependency_that_is_delivered_last_is_made_once(client, serve, store, shop):
    parts = shop.parts()[::-1]
    seen = merged(walk(client, serve(parts=parts, chunk_size=1)))
    assert sorted(shop.runs) == ["news", "orders", "plan", "rates", "stock"]
    assert seen["plan"][2:] == [seen["rates"], seen["orders"]]


def test_walk__without_need_nothing_is_kept(client, serve, store, shop):
    url = serve(parts=[part for part in shop.parts() if not part[1].depends_on], chunk_size=1)
    walk(client, url)
    assert store.taken() == [("read", 1), ("read", 1)]


def test_walk__a_slow_part_is_there_for_a_repeated_cursor(client, serve, configure, shop, executor):
    store = configure(CACHE_MIN_DURATION=0)
    url = serve(parts=shop.parts(), chunk_size=1, executor=executor)
    token = first_cursor(client, url)
    first, *again = (get_json(client, at(url, token)) for _ in range(3))
    assert shop.runs.count("news") == 1
    assert [answer["results"] for answer in again] == [first["results"]] * 2
    assert [trip for trip, _ in store.taken()] == ["write", "read", "write", "read", "read"]


def test_walk__a_quick_part_runs_again_for_a_repeated_cursor(client, serve, configure, shop):
    configure(CACHE_MIN_DURATION=30)
    url = serve(parts=shop.parts(), chunk_size=1)
    token = first_cursor(client, url)
    assert [names(get_json(client, at(url, token))) for _ in range(2)] == [["news"]] * 2
    assert shop.runs.count("news") == 2


def test_walk__a_slow_part_of_a_first_request_is_not_kept(client, serve, configure, shop):
    store = configure(CACHE_MIN_DURATION=0)
    get_json(client, serve(parts=shop.parts()[:2], chunk_size=1))
    assert store.taken() == []


@timed
def test_walk__how_slow_a_part_is_the_clock_says(client, serve, configure, held_of_each_kind):
    store = configure(CACHE_MIN_DURATION=0.05)
    load = held_of_each_kind("slow")
    url = serve(parts=[("a", 1), ("slow", lazy(load)), ("b", lazy(lambda r: 2))], chunk_size=1)
    token = first_cursor(client, url)
    with in_background(get_json, client, at(url, token)) as answered:
        load.wait_until_begun()
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > 0.06)
        load.release()
        token = answered()["cursor"]
    get_json(client, at(url, token))
    assert store.taken() == [("read", 1), ("write", 1), ("read", 1)]


def test_walk__none_is_a_value(client, serve, configure, calls):
    configure(CACHE_MIN_DURATION=0)
    url = serve(parts=[("a", 1), ("b", lazy(calls.loader("b", None)))], chunk_size=1)
    token = first_cursor(client, url)
    for _ in range(2):
        assert get_json(client, at(url, token))["results"] == [{"b": None}]
    assert calls == ["b"]


def failing_with(error):
    def load(request):
        raise error

    return load


FAILING = {
    "error": failing_with(ValueError("no")),
    "part error": failing_with(PartError("Closed.", code="closed")),
    "denial": failing_with(PermissionDenied()),
    "missing": failing_with(Http404()),
    "junk": lambda request: object(),
    "fallback": safe_call(failing_with(ValueError("no")), fallback=["fallback"]),
    "fallback function": safe_call(failing_with(ValueError("no")), lambda request, error: 1),
}


@pytest.mark.parametrize("kind", FAILING)
def test_walk__a_failure_is_never_kept(client, serve, configure, kind, executor):
    store = configure(CACHE_MIN_DURATION=0)
    bad = lazy(FAILING[kind])
    after = lazy(lambda request, bad: [bad], depends_on=["bad"])
    url = serve(parts=[("a", 1), ("bad", bad), ("after", after)], chunk_size=1, executor=executor)
    token = first_cursor(client, url)
    for _ in range(2):
        walk(client, url, token)
    written = [trip for trip, _ in store.taken() if trip == "write"]
    assert len(written) == (1 if kind.startswith("fallback") else 0)  # what came after it


@timed
def test_walk__a_timeout_is_never_kept(client, serve, configure, held_of_each_kind):
    store = configure(CACHE_MIN_DURATION=0)
    load = held_of_each_kind("late")
    url = serve(parts=[("a", 1), ("late", lazy(with_timeout(load, 0.3)))], chunk_size=1)
    token = first_cursor(client, url)
    assert get_json(client, at(url, token))["errors"][0]["code"] == "part_timeout"
    load.release()
    assert get_json(client, at(url, token))["results"] == [{"late": "late"}]
    assert store.taken() == [("read", 1), ("read", 1), ("write", 1)]


def test_walk__a_new_one_sees_new_data(client, serve, configure, shop):
    configure(CACHE_MIN_DURATION=0)
    url = serve(parts=shop.parts(), chunk_size=1)
    first, second = (merged(walk(client, url)) for _ in range(2))
    assert all(first[name] != second[name] for name in first)
    assert second["orders"][2] == second["rates"]


def test_walk__a_branch_shares_what_its_walk_keeps(client, serve, store, shop):
    url = serve(parts=shop.parts(), chunk_size=1)
    token = get_json(client, at(url, first_cursor(client, url)))["cursor"]
    assert [merged(walk(client, url, token))["orders"][2] for _ in range(2)] == [["rates", 1]] * 2
    assert shop.runs.count("rates") == 1


def test_walk__what_it_keeps_ends_with_its_time(client, serve, configure, shop):
    configure(CACHE_TTL=60)
    url = serve(parts=shop.parts()[:3], chunk_size=1)
    with time_machine.travel(NOW, tick=False) as clock:
        token = get_json(client, at(url, first_cursor(client, url)))["cursor"]
        clock.shift(59)
        get_json(client, at(url, token))
        assert shop.runs.count("rates") == 1
        clock.shift(2)
        assert get_json(client, at(url, token))["results"][0]["orders"][2][0] == "rates"
        assert shop.runs.count("rates") == 2


def test_walk__a_retry_finds_what_its_part_depends_on(client, serve, store, shop, executor):
    turns = iter([PartError("Closed.", code="closed"), None])

    def orders(request, rates):
        error = next(turns)
        if error is not None:
            raise error
        return [rates]

    url = serve(
        parts=[
            ("rates", lazy(shop.loader("rates"))),
            ("orders", lazy(orders, depends_on=["rates"])),
        ],
        chunk_size=2,
        executor=executor,
    )
    answer = get_json(client, url)
    retried = get_json(client, at(url, answer["errors"][0]["retry_cursor"]))
    assert retried["results"] == [{"orders": [answer["results"][0]["rates"]]}]
    assert shop.runs == ["rates"]


def test_walk__what_cannot_be_retried_keeps_nothing(client, serve, store, shop):
    def orders(request, rates):
        raise PartError("Closed.", code="closed", retryable=False)

    parts = [("rates", lazy(shop.loader("rates"))), ("o", lazy(orders, depends_on=["rates"]))]
    assert get_json(client, serve(parts=parts, chunk_size=2))["errors"]
    assert store.taken() == []


# Where nothing is kept


@pytest.mark.parametrize(
    ("attribute", "setting", "keeps"),
    [
        (None, True, True),
        (None, False, False),
        (True, False, True),
        (False, True, False),
    ],
)
def test_caching__is_switched_off_by_view_or_setting(
    client, serve, configure, shop, attribute, setting, keeps
):
    store = configure(ENABLE_CACHING=setting)
    url = serve(parts=shop.parts(), chunk_size=1, enable_caching=attribute)
    seen = merged(walk(client, url))
    assert seen.keys() == {"rates", "news", "orders", "stock", "plan"}
    assert shop.runs.count("rates") == (1 if keeps else 3)
    assert bool(store.taken()) is keeps


def test_caching__off_does_not_concern_what_is_cached_for_all(client, serve, configure, shop):
    configure(ENABLE_CACHING=False)
    parts = [("rates", lazy(cached_for(60, shared=True)(shop.loader("rates"))))]
    url = serve(parts=parts)
    assert merged(walk(client, url)) == merged(walk(client, url))
    assert shop.runs == ["rates"]


@pytest.mark.parametrize("length", [1022, 1023])
def test_caching__what_is_too_long_is_delivered_and_not_kept(
    client, serve, configure, shop, length, caplog
):
    configure(MAX_FRAGMENT_SIZE=1024)
    text = "x" * length  # in JSON two more

    def rates(request):
        shop.runs.append("rates")
        return text

    orders = lazy(lambda request, rates: len(rates), depends_on=["rates"])
    url = serve(parts=[("rates", lazy(rates)), ("orders", orders)], chunk_size=1)
    assert merged(walk(client, url)) == {"rates": text, "orders": length}
    assert len(shop.runs) == (1 if length == 1022 else 2)
    assert caplog.records == []  # It was not written: one that is found would be warned of.


def test_caching__in_a_store_that_keeps_nothing_all_is_delivered(client, serve, settings, shop):
    settings.DJANGO_PARTSTREAM = {"CACHE_STORE": "partstream.backends.caches.null.NullCacheStore"}
    seen = merged(walk(client, serve(parts=shop.parts(), chunk_size=1)))
    assert seen.keys() == {"rates", "news", "orders", "stock", "plan"}


# For whom


class IsTrusted(BasePermission):
    def has_permission(self, request, view):
        return "trusted" in request.headers


def test_permission__a_kept_part_is_hidden_after_its_permission_is_lost(
    client, serve, configure, shop
):
    configure(CACHE_MIN_DURATION=0)
    trusted = {"permission_classes": [IsTrusted]}
    url = serve(
        parts=[
            ("a", 1),
            ("secret", lazy(shop.loader("secret"), **trusted)),
            ("of_secret", lazy(shop.loader("of_secret"), depends_on=["secret"])),
            ("news", lazy(shop.loader("news"))),
        ],
        chunk_size=1,
    )
    asked = {"headers": {"trusted": "1"}}
    token = first_cursor(client, url, **asked)
    answers = walk(client, url, token, **asked)
    assert merged(answers).keys() == {"secret", "of_secret", "news"}
    for start in [token, *(answer["cursor"] for answer in answers[:-1])]:
        seen = client.get(at(url, start))
        assert names(seen.json()) == ["news"]
        assert b"secret" not in seen.content
    assert shop.runs.count("secret") == 1
    # Granted again, they are there again.
    assert merged(walk(client, url, token, **asked)).keys() == {"secret", "of_secret", "news"}
    assert shop.runs.count("secret") == 1


def test_walk__another_language_sees_nothing_of_it(client, serve, store, shop):
    url = serve(parts=shop.parts()[:3], chunk_size=1)
    token = get_json(client, at(url, first_cursor(client, url)))["cursor"]
    with translation.override("de"):
        assert get_json(client, at(url, token))["results"][0]["orders"][2] != ["rates", 1]
    assert get_json(client, at(url, token))["results"][0]["orders"][2] == ["rates", 1]


@pytest.mark.django_db
def test_walk__another_user_sees_nothing_of_it(client, serve, configure, user, staff):
    configure(CACHE_MIN_DURATION=0)
    url = serve(
        parts=[
            ("who", lazy(lambda request: request.user.get_username())),
            ("also", lazy(lambda request, who: [who], depends_on=["who"])),
        ],
        chunk_size=1,
    )
    client.force_login(user)
    token = first_cursor(client, url)
    assert get_json(client, at(url, token))["results"] == [{"also": ["ada"]}]
    client.force_login(staff)
    assert client.get(at(url, token)).status_code == 400
    assert merged(walk(client, url)) == {"who": "grace", "also": ["grace"]}
