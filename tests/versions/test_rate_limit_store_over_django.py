from __future__ import annotations

import random
from uuid import uuid4

import pytest
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache

from partstream.backends.faults import ServiceFault
from partstream.backends.rate_limits.django_cache import MARGIN, DjangoCacheRateLimitStore, _raised
from partstream.exceptions import Misuse
from tests.support.contracts.rate_limit_store import most_in_any_window, window
from tests.support.contracts.rate_limit_store_over_django import (
    BEGIN,
    DJANGO,
    CountsOverDjango,
    OverDjango,
)
from tests.support.redis import needs_redis

DJANGO_REDIS = "django_redis.cache.RedisCache"


class ForgetfulCache(LocMemCache):
    """Drives out a counter that is there before it is raised, as often as ``forgets`` says."""

    forgets = 0

    def incr(self, key, delta=1, version=None):
        if type(self).forgets > 0 and self.has_key(key):
            type(self).forgets -= 1
            self.delete(key)
        return super().incr(key, delta, version)

    def add(self, *args, **kwargs):
        # Somebody else is always quicker.
        return super().add(*args, **kwargs) and type(self).forgets == 0


class TestLocMemCache(CountsOverDjango):
    shared = False
    check_ids = ["partstream.W009"]

    @pytest.fixture
    def configured(self):
        return {"BACKEND": f"{DJANGO}.locmem.LocMemCache", "LOCATION": uuid4().hex}

    def test_check__tells_of_the_entries_that_are_driven_out(self, store):
        (warning,) = store.check()
        assert "is a LocMemCache: each process counts requests separately" in warning.msg
        assert "a flood of clients drives out counters" in warning.msg
        assert "MemoryRateLimitStore" in warning.hint
        assert "RedisRateLimitStore" in warning.hint

    def test_counters__outlive_their_window_by_a_little(self, store, key):
        store.take([window(key, 9, 10)])
        counter = f"{window(key, 9, 10).key}:{int(BEGIN) // 10}"
        self.now += 10 + MARGIN - 1
        store.take([window(key, 9, 10)])
        assert caches["default"].get(counter) == 1
        self.now += 2
        assert caches["default"].get(counter) is None

    @pytest.mark.parametrize("seed", range(10))
    def test_take__never_admits_above_twice_the_limit(self, store, key, seed):
        chance = random.Random(seed)
        windows = [window(key, 4, 2, "burst"), window(key, 9, 7)]
        admitted = []
        for _ in range(1500):
            self.now += chance.choice([0, 0, chance.random() / 4, chance.random() * 3])
            if store.take(windows).admitted:
                admitted.append(self.now)
        for _, limit, seconds in windows:
            # Each fixed window holds its limit, and any other has parts of two.
            fixed = [moment // seconds for moment in admitted]
            assert max(map(fixed.count, set(fixed))) == limit
            assert limit < most_in_any_window(admitted, seconds) <= 2 * limit

    @pytest.mark.parametrize("forgets", [1, 2, 3])
    def test_take__a_counter_that_vanishes_is_added_once_more(self, settings, key, lines, forgets):
        settings.CACHES = {"default": {"BACKEND": f"{__name__}.ForgetfulCache"}}
        store = self.make()
        caches["default"].set(f"{window(key, 9, 10).key}:{int(BEGIN) // 10}", 5)
        ForgetfulCache.forgets = forgets
        try:
            decision = store.take([window(key, 9, 10)])
        finally:
            ForgetfulCache.forgets = 0
        if forgets < 3:
            assert decision.admitted
            assert lines() == []
        else:
            assert decision is None
            assert len(lines()) == 1

    def test_take__a_counter_that_vanishes_gives_nothing_back(self, store, key, monkeypatch):
        small, large = window(key, 9, 10, "burst"), window(key, 1, 60)
        assert store.take([large]).admitted
        get = LocMemCache.decr

        def forgotten(self, counter, *args, **kwargs):
            self.delete(counter)
            return get(self, counter, *args, **kwargs)

        monkeypatch.setattr(LocMemCache, "decr", forgotten)
        denied = store.take([small, large])
        assert (denied.admitted, denied.remaining) == (False, (9, 1))
        assert denied.retry_after == 59.75


class TestDummyCache(OverDjango):
    shared = False
    check_ids = ["partstream.W009"]

    @pytest.fixture
    def configured(self):
        return {"BACKEND": f"{DJANGO}.dummy.DummyCache"}

    def make(self, **options):
        store = DjangoCacheRateLimitStore(**options)
        store._memory._clock = lambda: int(self.now * 4) * 250_000_000
        return store

    def test_check__tells_nothing_of_entries(self, store):
        (warning,) = store.check()
        assert "is a DummyCache: each process counts requests separately" in warning.msg
        assert "drives out" not in warning.msg


# Checks


@pytest.mark.parametrize(
    ("configured", "kind"),
    [
        ({"BACKEND": f"{DJANGO}.filebased.FileBasedCache", "LOCATION": "/nowhere"}, "FileBased"),
        ({"BACKEND": f"{DJANGO}.db.DatabaseCache", "LOCATION": "no_table"}, "Database"),
    ],
    ids=["files", "database"],
)
def test_check__a_cache_that_cannot_count_is_an_error(settings, configured, kind):
    settings.CACHES = {"default": configured}
    store = DjangoCacheRateLimitStore()
    assert (store.shared, store.exact) == (True, False)
    (error,) = store.check()
    assert error.id == "partstream.E006"
    assert error.is_serious()
    assert f"The cache 'default' is a {kind}Cache, whose incr() is not atomic" in error.msg
    assert "RedisRateLimitStore" in error.hint
    assert store.check_deploy() == []


def test_check__knows_kinds_of_caches_by_what_they_inherit(settings):
    settings.CACHES = {"default": {"BACKEND": f"{__name__}.ForgetfulCache"}}
    store = DjangoCacheRateLimitStore()
    assert [message.id for message in store.check()] == ["partstream.W009"]


URL = "redis://127.0.0.1:1/0"
SHORT = {"socket_timeout": 0.25, "socket_connect_timeout": 0.1}
SHORT_OPTIONS = {"SOCKET_TIMEOUT": 0.25, "SOCKET_CONNECT_TIMEOUT": 0.1}
SHORT_URL = f"{URL}?socket_timeout=0.2&socket_connect_timeout=0.2"


@needs_redis
@pytest.mark.parametrize(
    ("backend", "location", "options", "warned"),
    [
        ("redis", URL, {}, True),
        ("redis", URL, SHORT, False),
        ("redis", [URL, URL], SHORT, False),
        ("redis", f"{URL},{URL}", SHORT, False),
        ("redis", SHORT_URL, {}, False),
        ("redis", [SHORT_URL, URL], {}, False),
        ("redis", [URL, SHORT_URL], {}, True),
        ("redis", f"{SHORT_URL},{URL}", {}, False),
        ("redis", f"{SHORT_URL};{URL}", {}, False),
        ("redis", [], {}, True),
        ("redis", None, None, True),
        ("redis", URL, None, True),
        ("redis", SHORT_URL, None, False),
        ("redis", URL, {**SHORT, "socket_timeout": 0}, True),
        ("redis", URL, {**SHORT, "socket_timeout": 0.26}, True),
        ("redis", URL, {**SHORT, "socket_timeout": None}, True),
        ("redis", URL, {"socket_timeout": 0.1}, True),
        ("redis", f"{URL}?socket_timeout=3", SHORT, True),
        ("django-redis", URL, {}, True),
        ("django-redis", URL, SHORT_OPTIONS, False),
        ("django-redis", URL, {"CONNECTION_POOL_KWARGS": SHORT}, False),
        ("django-redis", URL, {**SHORT_OPTIONS, "SOCKET_CONNECT_TIMEOUT": 5}, True),
        ("django-redis", SHORT_URL, {}, False),
    ],
)
def test_check_deploy__a_redis_that_may_hold_requests_is_a_warning(
    settings, backend, location, options, warned
):
    path = f"{DJANGO}.redis.RedisCache" if backend == "redis" else DJANGO_REDIS
    configured = {"BACKEND": path, "LOCATION": location, "OPTIONS": options}
    # What is None is not there.
    settings.CACHES = {
        "default": {name: value for name, value in configured.items() if value is not None}
    }
    store = DjangoCacheRateLimitStore()
    assert store.check() == []
    messages = store.check_deploy()
    assert [message.id for message in messages] == ["partstream.W010"] * warned
    for message in messages:
        name = "'socket_timeout'" if backend == "redis" else "'SOCKET_TIMEOUT'"
        assert name in message.hint


# Aliases


@pytest.fixture
def two_caches(settings):
    settings.CACHES = {
        "default": {"BACKEND": f"{DJANGO}.dummy.DummyCache"},
        "other": {"BACKEND": f"{DJANGO}.locmem.LocMemCache", "LOCATION": uuid4().hex},
    }


def test_alias__is_of_the_cache_that_is_used(two_caches):
    assert DjangoCacheRateLimitStore(alias="other").take([window("a", 9, 10**9)]).admitted
    assert caches["other"].get(f"{window('a', 9, 10**9).key}:1") == 1
    (warning,) = DjangoCacheRateLimitStore(alias="other").check()
    assert "The cache 'other' is a LocMemCache" in warning.msg


def test_alias__that_is_unknown_is_misuse(two_caches):
    with pytest.raises(Misuse) as caught:
        DjangoCacheRateLimitStore(alias="nothing")
    assert "The rate-limit store's alias is 'nothing'" in str(caught.value)
    assert "Write one of those in CACHES: 'default', 'other'." in str(caught.value)


def test_alias__of_a_cache_that_cannot_be_made_is_misuse(settings):
    settings.CACHES = {"default": {"BACKEND": "no.such.Cache"}}
    with pytest.raises(Misuse, match=r"Could not find backend 'no\.such\.Cache'"):
        DjangoCacheRateLimitStore()


def test_retry_after__that_is_no_time_is_misuse(two_caches):
    with pytest.raises(Misuse, match="Write seconds above 0"):
        DjangoCacheRateLimitStore(retry_after=0)


def test_retry_after__is_two_seconds_unless_it_is_said(two_caches):
    assert DjangoCacheRateLimitStore().retry_after == 2


class Scripted:
    """A cache with scripted answers: None stands for a missing counter."""

    def __init__(self, counters, added):
        self.counters, self.added = list(counters), list(added)

    def incr(self, key):
        assert key == "counter"
        counter = self.counters.pop(0)
        if counter is None:
            raise ValueError(key)
        return counter

    def add(self, key, value, timeout):
        assert (key, value, timeout) == ("counter", 1, 70)
        return self.added.pop(0)


@pytest.mark.parametrize(
    ("counters", "added", "counter"),
    [
        ([3], [], 3),
        ([None], [True], 1),
        # Others are quicker, and what they have counted is driven out.
        ([None, 2], [False], 2),
        ([None, None], [False, True], 1),
        ([None, None, 1], [False, False], 1),
        ([None, None, 7], [False, False], 7),
    ],
)
def test_raised__counts_the_request_once(counters, added, counter):
    cache = Scripted(counters, added)
    assert _raised(cache, "counter", 70) == counter
    assert cache.counters == cache.added == []


@pytest.mark.parametrize("junk", [0, -1, "3", 3.0, True])
@pytest.mark.parametrize("misses", [0, 1, 2])
def test_raised__what_is_no_counter_is_a_fault(misses, junk):
    # A cache that is set to ignore its faults answers 0.
    cache = Scripted([None] * misses + [junk], [False] * misses)
    with pytest.raises(TypeError if junk else ServiceFault, match="The counter in the cache is"):
        _raised(cache, "counter", 70)
