from __future__ import annotations

from uuid import uuid4

import pytest
from django.core.cache import caches
from django.core.management import call_command
from django.db import connection

from partstream.backends.caches.django_cache import DjangoCacheStore
from partstream.exceptions import Misuse
from partstream.keys import KeyRing
from tests.support.contracts.cache_store import BODY, MAX_SIZE, NEW, TTL, CacheStoreContract
from tests.support.contracts.cache_store_over_django import DJANGO, KeepsOverDjango, OverDjango


class TestLocMemCache(KeepsOverDjango):
    shared = False
    atomic_add = True
    ends_by_our_clock = True

    @pytest.fixture
    def configured(self):
        return {"BACKEND": f"{DJANGO}.locmem.LocMemCache", "LOCATION": uuid4().hex}


class TestFileBasedCache(KeepsOverDjango):
    shared = True
    atomic_add = False
    ends_by_our_clock = True
    check_ids = ["partstream.W005"]
    check_deploy_ids = ["partstream.W004"]

    @pytest.fixture
    def configured(self, tmp_path):
        return {"BACKEND": f"{DJANGO}.filebased.FileBasedCache", "LOCATION": str(tmp_path)}


@pytest.mark.django_db
class TestDatabaseCache(KeepsOverDjango):
    shared = True
    atomic_add = True
    ends_by_our_clock = True
    check_deploy_ids = ["partstream.W004"]

    @pytest.fixture
    def configured(self):
        return {"BACKEND": f"{DJANGO}.db.DatabaseCache", "LOCATION": "partstream_tests_cache"}

    @pytest.fixture(autouse=True)
    def table(self, cache, db):
        call_command("createcachetable")

    def in_threads(self, count, function):
        if connection.vendor == "sqlite":
            pytest.skip("The tests' SQLite, in memory, locks out all threads but one.")

        def run(number):
            try:
                return function(number)
            finally:
                connection.close()

        return super().in_threads(count, run)

    @pytest.mark.django_db(transaction=True)
    def test_add__of_64_threads_one_wins(self, store, key):
        super().test_add__of_64_threads_one_wins(store, key)

    @pytest.mark.django_db(transaction=True)
    def test_store__serves_threads(self, store, key, lines):
        super().test_store__serves_threads(store, key, lines)

    @pytest.mark.django_db(transaction=True)
    def test_fault__a_table_that_is_not_there_is_a_miss_and_one_line(self, settings, key, lines):
        settings.CACHES = {
            "default": {"BACKEND": f"{DJANGO}.db.DatabaseCache", "LOCATION": "no_such_table"}
        }
        store = self.make()
        for _ in range(2):
            store.set_many({key: BODY}, TTL)
            assert store.get(key) is None
            assert store.get_many([key]) == {}
            assert store.add(key, b"owner", TTL) is True
            store.touch(key, TTL)
            store.delete(key)
        (line,) = lines()
        assert line.startswith("DjangoCacheStore failed, and is not used")


class TestDummyCache(OverDjango, CacheStoreContract):
    shared = False
    atomic_add = False
    keeps = False

    @pytest.fixture
    def configured(self):
        return {"BACKEND": f"{DJANGO}.dummy.DummyCache"}

    def test_add__always_wins(self, store, key):
        assert [store.add(key, b"owner", TTL) for _ in range(3)] == [True, True, True]


@pytest.fixture
def two_caches(settings):
    settings.CACHES = {
        "default": {"BACKEND": f"{DJANGO}.dummy.DummyCache"},
        "other": {"BACKEND": f"{DJANGO}.locmem.LocMemCache", "LOCATION": uuid4().hex},
    }


def over(alias):
    return DjangoCacheStore(keys=KeyRing([NEW]), max_size=MAX_SIZE, alias=alias)


def test_alias__is_of_the_cache_that_is_used(two_caches):
    store = over("other")
    store.set_many({"key": BODY}, TTL)
    assert store.get("key") == BODY
    assert caches["other"].get("key").endswith(BODY)
    assert over("default").get("key") is None


def test_alias__that_is_unknown_is_misuse(two_caches):
    with pytest.raises(Misuse) as caught:
        over("nothing")
    assert "The cache store's alias is 'nothing'" in str(caught.value)
    assert "Write one of those in CACHES: 'default', 'other'." in str(caught.value)


def test_alias__of_a_cache_that_cannot_be_made_is_misuse(settings):
    settings.CACHES = {"default": {"BACKEND": "no.such.Cache"}}
    with pytest.raises(Misuse, match=r"Could not find backend 'no\.such\.Cache'"):
        over("default")
