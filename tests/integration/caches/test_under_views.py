"""Entries that somebody else wrote, or that were cut short, under the very keys that a view reads.

The stores' own tests show that each is refused; these, that a view then does without.
"""

from __future__ import annotations

import itertools
import pickle
from uuid import uuid4

import pytest
from django.core.cache import caches

from partstream import cached_for, lazy
from partstream.backends.loader import get_cache_store
from tests.support.redis import needs_redis
from tests.support.walk_client import at, get_json, merged

DJANGO = "django.core.cache.backends"
DJANGO_STORE = "partstream.backends.caches.django_cache.DjangoCacheStore"
REDIS_STORE = "partstream.backends.caches.redis.RedisCacheStore"
STORES = ["locmem", "file", "django-redis", "redis"]

exploded = []


class Bomb:
    """Whoever unpickles it is seen."""

    def __reduce__(self):
        return exploded.append, ("boom",)


class Kept:
    """The store under the view, and the raw entries that are written to it."""

    def __init__(self, store):
        self.store = store
        self.written = {}
        self._write = store.write

    def write(self, entries, ttl):
        self.written.update(entries)
        self._write(entries, ttl)

    def plant(self, key, entry):
        """Write past the store's own signature."""
        self._write({key: entry}, 60)


@pytest.fixture(
    params=[pytest.param(name, marks=needs_redis if "redis" in name else ()) for name in STORES]
)
def kept(request, settings, tmp_path, monkeypatch):
    if request.param == "locmem":
        cache = {"BACKEND": f"{DJANGO}.locmem.LocMemCache", "LOCATION": uuid4().hex}
    elif request.param == "file":
        cache = {"BACKEND": f"{DJANGO}.filebased.FileBasedCache", "LOCATION": str(tmp_path)}
    else:
        ours = request.param == "redis"
        cache = {
            "BACKEND": "django_redis.cache.RedisCache" if ours else f"{DJANGO}.redis.RedisCache",
            "LOCATION": request.getfixturevalue("redis_url"),
            "KEY_PREFIX": uuid4().hex,
        }
    settings.CACHES = {"default": cache}
    settings.DJANGO_PARTSTREAM = {
        "CACHE_STORE": REDIS_STORE if request.param == "redis" else DJANGO_STORE
    }
    kept = Kept(get_cache_store())
    monkeypatch.setattr(kept.store, "write", kept.write)
    return kept


def spoilt(kept, key, other):
    """Entries that are not what was written under the key; ``other`` is another of the view's."""
    entry, body = kept.written[key], b'["forged"]'
    found = [b"", b"psf", b"not ours", body, entry[:-1], entry[:12], entry[: len(entry) // 2]]
    found += [entry + b"x", b"psf\x02" + entry[4:], pickle.dumps(Bomb()), b"\xff" * 1000]
    if kept.store.shared:  # In a process's own memory nobody forges.
        found += [kept.written[other], entry[:-2] + b"0]", entry[:-3] + body, entry[:5] + body]
        found += [entry[:5] + bytes(32) + body, entry[:5] + bytes([entry[5] ^ 1]) + entry[6:]]
    return found


#: What a Django cache can hold beside bytes.
OBJECTS = ["text", 7, ["forged"], {"forged": 1}, bytearray(b"psf")]


@pytest.fixture
def runs():
    return itertools.count(1)


@pytest.fixture
def url(serve, runs):
    """A view of a part that is kept for all, and of one that a walk keeps."""
    return serve(
        chunk_size=2,
        authentication_classes=(),
        parts=[
            ("all", lazy(cached_for(60, shared=True)(lambda request: ["all", next(runs)]))),
            ("rates", lazy(lambda request: ["rates", next(runs)])),
            ("price", lazy(lambda request, rates: rates, depends_on=["rates"])),
        ],
    )


@pytest.fixture
def lines(caplog):
    """What the stores have logged since the last time, all of it warnings."""

    def lines():
        records = [record for record in caplog.records if record.name.startswith("partstream")]
        assert {record.levelname for record in records} <= {"WARNING"}
        caplog.clear()
        return [record.getMessage() for record in records]

    return lines


def test_view__does_without_what_is_not_its_own(client, kept, url, lines):
    first = get_json(client, url)
    (key,) = [key for key in kept.written if key.startswith("partstream.part.")]
    (walks,) = [key for key in kept.written if key.startswith("partstream.walk.")]
    assert (merged([first]), lines()) == ({"all": ["all", 1], "rates": ["rates", 2]}, [])
    made = 2
    for entry in [*spoilt(kept, key, walks), *(OBJECTS if not is_raw(kept) else [])]:
        kept.plant(key, entry)
        data = merged([get_json(client, url)])["all"]
        assert data == ["all", made + 1], entry
        made += 2  # The rates of the new walk, too.
        said = lines()
        assert said, entry
        assert all(line.startswith(f"The cache's entry {key!r} is not used: ") for line in said)
        # It was replaced.
        assert merged([get_json(client, url)])["all"] == data
        made += 1
        assert lines() == []
    assert exploded == []


def test_walk__does_without_what_is_not_its_own(client, kept, url, lines):
    first = get_json(client, url)
    (key,) = [key for key in kept.written if key.startswith("partstream.part.")]
    (walks,) = [key for key in kept.written if key.startswith("partstream.walk.")]
    made = 2
    assert merged([get_json(client, at(url, first["cursor"]))]) == {"price": ["rates", made]}
    for entry in [*spoilt(kept, walks, key), *(OBJECTS if not is_raw(kept) else [])]:
        kept.plant(walks, entry)
        made += 1
        data = merged([get_json(client, at(url, first["cursor"]))])
        assert data == {"price": ["rates", made]}, entry
        (line,) = lines()
        assert line.startswith(f"The cache's entry {walks!r} is not used: ")
    assert exploded == []


def test_flight__does_not_wait_for_a_lock_that_is_nobodys(client, kept, url):
    seen = [merged([get_json(client, url)])["all"]]
    (key,) = [key for key in kept.written if key.startswith("partstream.part.")]
    for entry in (b"not ours", pickle.dumps(Bomb()), kept.written[key]):
        kept.store.delete(key)
        kept.plant(f"{key}.lock", entry)
        data = merged([get_json(client, url)])["all"]
        assert data not in seen
        assert merged([get_json(client, url)])["all"] == data
        seen.append(data)
    assert exploded == []


def test_secret__that_left_leaves_misses(client, kept, url, settings, lines):
    get_json(client, url)
    (key,) = [key for key in kept.written if key.startswith("partstream.part.")]
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another secret of the tests, which is long enough as well"
    assert merged([get_json(client, url)])["all"] == ["all", 1]
    assert lines() == []
    settings.SECRET_KEY_FALLBACKS = []
    seen = merged([get_json(client, url)])["all"]
    if kept.store.shared:
        assert seen == ["all", 4]
        assert lines()[0].startswith(
            f"The cache's entry {key!r} is not used: it was altered, or signed with a secret"
        )
    else:
        assert (seen, lines()) == (["all", 1], [])


def is_raw(kept):
    """Whether the store reads bytes only, whoever wrote them."""
    return type(kept.store).__name__ == "RedisCacheStore"


def write_past_pickle(cache, key, content):
    """Put under a key what Django did not pickle; None: half of what it did."""
    if hasattr(cache, "_key_to_file"):
        with open(cache._key_to_file(key), "r+b") as file:
            pickle.load(file)  # The time at which it expires stays.
            rest = file.tell()
            left = content if content is not None else file.read()[:-10]
            file.seek(rest)
            file.write(left)
            file.truncate()
    else:
        client, name = cache._cache.get_client(), cache.make_key(key)
        client.set(name, content if content is not None else client.get(name)[:-10], ex=60)


@pytest.mark.parametrize("content", [None, b"not ours", b"\x80\x05junk"], ids=repr)
@pytest.mark.parametrize(
    "kept", ["file", pytest.param("django-redis", marks=needs_redis)], indirect=True
)
def test_pickle__that_cannot_be_read_is_a_miss_and_concerns_no_other(
    client, kept, url, content, caplog
):
    first = get_json(client, url)
    (key,) = [key for key in kept.written if key.startswith("partstream.part.")]
    write_past_pickle(caches["default"], key, content)
    second = merged([get_json(client, url)])
    assert second["all"] != ["all", 1]
    assert len(caplog.records) >= 1
    # The others are there as before, and this one is again.
    assert merged([get_json(client, at(url, first["cursor"]))]) == {"price": ["rates", 2]}
    assert merged([get_json(client, url)])["all"] == second["all"]
