"""What a walk keeps, for how long and for whom; and law 8, of all that is kept."""

from __future__ import annotations

import itertools
import json
import logging
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.cache import caches
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.test import RequestFactory, override_settings
from django.utils import translation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework.permissions import BasePermission
from rest_framework.test import force_authenticate

from partstream import (
    HybridProgressiveView,
    PartError,
    ProgressiveView,
    cached_for,
    lazy,
    safe_call,
    with_timeout,
)
from partstream.backends.executors.threads import ThreadExecutor
from partstream.backends.loader import get_cache_store

from .holding import in_background, wait_until
from .marks import timed
from .redis import needs_redis
from .test_laws import Spec, expected, get, specs, summary, view_of
from .walking import at, first_cursor, get_json, merged, names, walk

pytestmark = pytest.mark.usefixtures("empty_cache")

NOW = 1_800_000_000
NOTING = "tests.stores.NotingStore"


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


@needs_redis
@pytest.mark.parametrize("how", ["kill", "paused"])
def test_caching__where_the_store_is_down_all_is_delivered(
    client, serve, settings, shop, redis_server, how, caplog
):
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    settings.CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": redis_server.url,
            "OPTIONS": {
                "SOCKET_TIMEOUT": 0.1,
                "SOCKET_CONNECT_TIMEOUT": 0.1,
                "CONNECTION_POOL_KWARGS": {"retry": Retry(NoBackoff(), 0)},
            },
        }
    }
    settings.DJANGO_PARTSTREAM = {
        "CACHE_STORE": "partstream.backends.caches.redis.RedisCacheStore",
        "CACHE_MIN_DURATION": 0,
    }
    parts = [*shop.parts(), ("kept", lazy(cached_for(60, shared=True)(shop.loader("kept"))))]
    url = serve(parts=parts, chunk_size=1)
    token = first_cursor(client, url)
    if how == "kill":
        redis_server.kill()
        rest = merged(walk(client, url, token))
    else:
        with redis_server.paused():
            rest = merged(walk(client, url, token))
    assert rest.keys() == {"news", "orders", "stock", "plan", "kept"}
    assert rest["orders"][2][0] == "rates"
    outages = [record for record in caplog.records if "is not used until" in record.getMessage()]
    assert len(outages) == 1


# For whom


class IsTrusted(BasePermission):
    def has_permission(self, request, view):
        return "trusted" in request.headers


def test_permission__what_is_kept_is_not_for_those_who_may_not_see_it_any_more(
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


# Law 8: a cache hit is indistinguishable, and is never another identity's


def again(drawn, view, cachings):
    """A view of the same parts, each kept as is said; None: not at all."""

    def kept(spec, part):
        caching = cachings.get(spec.name)
        if caching is None or spec.kind == "immediate":
            return part
        return lazy(
            cached_for(60, **caching)(part.loader),
            depends_on=part.depends_on,
            permission_classes=part.permission_classes,
        )

    parts = [(name, kept(spec, part)) for spec, (name, part) in zip(drawn, view.parts, strict=True)]
    return type("Kept", (view,), {"parts": parts, "get_identity": lambda self, request: "ada"})


def results_of(answers):
    """What a client sees, less the tokens, which are new each time."""
    seen = []
    for answer in answers:
        envelope = json.loads(answer.content)
        for error in envelope.get("errors", ()):
            error.pop("retry_cursor", None)
        seen.append((envelope["results"], envelope.get("errors"), envelope["meta"]))
    return seen


EXECUTORS = [None, "partstream.backends.executors.threads.ThreadExecutor"]
CACHINGS = [None, {}, {"shared": True}, {"key": lambda request: "tenant"}]


@pytest.fixture
def quiet(caplog):
    """Without the log, which takes longer than what it tells of."""
    caplog.set_level(logging.CRITICAL, "partstream")


@pytest.mark.usefixtures("quiet")
@settings(
    max_examples=20,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(specs(), st.integers(1, 4), st.data())
def test_law_8__a_hit_is_indistinguishable(drawn: list[Spec], size: int, data: Any) -> None:
    caches["default"].clear()
    plain = view_of(drawn, size)
    plain.executor = data.draw(st.sampled_from(EXECUTORS))
    cachings = {spec.name: data.draw(st.sampled_from(CACHINGS)) for spec in drawn}
    cached = again(drawn, plain, cachings)
    wanted = expected(drawn)

    def walked(view, cursors=None):
        answers = [get(view)]
        while (token := json.loads(answers[-1].content)["cursor"]) is not None:
            answers.append(get(view, query=f"?cursor={token}"))
            if cursors is not None:
                cursors.append((token, answers[-1]))
        return answers

    with override_settings(DJANGO_PARTSTREAM={"ENABLE_CACHING": False}):
        without = results_of(walked(plain))
    with override_settings(DJANGO_PARTSTREAM={"CACHE_MIN_DURATION": 0}):
        for view in (plain, cached, cached):
            cursors: list[Any] = []
            answers = walked(view, cursors)
            assert results_of(answers) == without
            assert summary(answers) == wanted
            for token, answer in cursors:
                repeated = get(view, query=f"?cursor={token}")
                assert results_of([repeated]) == results_of([answer])
        for name in wanted:
            assert summary([get(cached, "parts", f"?keys={name}")]) == {name: wanted[name]}
        for _ in range(2):
            cached.calls.clear()
            walked(cached)
            made = {
                spec.name
                for spec in drawn
                if cachings[spec.name] is not None and wanted.get(spec.name, [""])[0] == "data"
                if "fallback" not in spec.behaviour
            }
            assert not made & set(cached.calls), "a loader ran for what is kept"


class Canaries(HybridProgressiveView):
    """Twenty parts of all kinds, each with the name of whoever asks in it."""

    authentication_classes = ()
    chunk_size = 10
    max_keys_per_request = 20

    def stamped(self, request, **dependencies):
        return [f"<{request.user.pk}>", dependencies]

    async def stamped_later(self, request, **dependencies):
        return self.stamped(request, **dependencies)

    def raising(self, request, **dependencies):
        raise PartError(f"<{request.user.pk}>", code="closed")

    def get_parts(self):
        own = cached_for(60)
        tenant = cached_for(60, key=lambda request: f"tenant {request.user.pk}")
        parts = [
            ("me", f"<{self.request.user.pk}>"),
            ("error", lazy(own(self.raising))),
            ("later", lazy(own(self.stamped_later), depends_on=["me"])),
            ("covered", lazy(safe_call(own(self.raising), lambda request, error: str(error)))),
            ("timed", lazy(with_timeout(own(self.stamped), 30), depends_on=["me"])),
        ]
        for number, kind in zip(
            range(15), itertools.cycle([self.stamped, own(self.stamped), tenant(self.stamped)])
        ):
            before = [name for name, _ in parts[-2:]] if number % 4 else []
            parts.append((f"part_{number}", lazy(kind, depends_on=before)))
        return parts


@pytest.mark.usefixtures("quiet")
def test_law_8__users_on_threads_see_nothing_of_each_other(executors, settings):
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            "LOCATION": "canaries",
            "OPTIONS": {"MAX_ENTRIES": 20_000},
        }
    }
    settings.DJANGO_PARTSTREAM = {"CACHE_MIN_DURATION": 0}
    threads = executors(ThreadExecutor)
    views = {
        (delivery, threaded): Canaries.as_view(
            delivery=delivery, executor=threads if threaded else None
        )
        for delivery, threaded in itertools.product(["walk", "parts"], [False, True])
    }
    names_of_all = ",".join(name for name, _ in parts_of(1000))

    def ask(user, delivery, **query):
        request = RequestFactory().get("/canaries/", query)
        force_authenticate(request, User(pk=user))
        answer = views[delivery, user % 2 == 0](request)
        assert answer.status_code == 200
        text = answer.content.decode()
        stamps = {piece.partition(">")[0] for piece in text.split("<")[1:]}
        assert stamps == {str(user)}
        return json.loads(text)

    walks = dict.fromkeys(range(1000, 1040))
    locks = {user: threading.Lock() for user in walks}
    steps = [*walks] * 3
    random.Random(7).shuffle(steps)

    def step(user):
        with locks[user]:  # A user's own requests come one after another.
            if walks[user] == "done":
                assert len(ask(user, "parts", keys=names_of_all)["results"]) == 19
            else:
                query = {"cursor": walks[user]} if walks[user] else {}
                walks[user] = ask(user, "walk", **query)["cursor"] or "done"

    with ThreadPoolExecutor(8) as clients:
        list(clients.map(step, steps))
    assert set(walks.values()) == {"done"}


def parts_of(user):
    """The declared parts, as the view of this user has them."""
    view = Canaries()
    view.request = type("Asked", (), {"user": User(pk=user)})
    return view.get_parts()
