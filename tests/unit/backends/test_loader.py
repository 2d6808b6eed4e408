from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest
from django.core.cache import caches
from django.test import override_settings

from partstream.backends.caches.django_cache import DjangoCacheStore
from partstream.backends.caches.null import NullCacheStore
from partstream.backends.cursors.aead import AESSIVCursorCodec
from partstream.backends.cursors.base import CursorCodec
from partstream.backends.cursors.fernet import FernetCursorCodec
from partstream.backends.cursors.signed import SignedCursorCodec
from partstream.backends.loader import get_cache_store, get_cursor_codec
from partstream.exceptions import Misuse

AES_SIV = "partstream.backends.cursors.aead.AESSIVCursorCodec"
SIGNED = "partstream.backends.cursors.signed.SignedCursorCodec"
JWT = "partstream.backends.cursors.jwt.JWTCursorCodec"
DJANGO = "partstream.backends.caches.django_cache.DjangoCacheStore"
NULL = "partstream.backends.caches.null.NullCacheStore"
REDIS = "partstream.backends.caches.redis.RedisCacheStore"

NEEDS_EXTRA = "needs a package that is not installed. Run: pip install 'django-partstream[{}]'"


class LabelledCodec(SignedCursorCodec):
    """A codec with an option of its own."""

    def __init__(self, *, keys, label):
        super().__init__(keys=keys)
        self.label = label


class Bystander:
    """Not a codec."""


def configured(codec):
    return override_settings(DJANGO_PARTSTREAM={"CURSOR_CODEC": codec})


def test_codec__is_fernet_by_default():
    assert type(get_cursor_codec()) is FernetCursorCodec


def test_codec__is_one_a_process():
    assert get_cursor_codec() is get_cursor_codec()


@pytest.mark.parametrize(
    ("codec", "codec_class"),
    [
        (SIGNED, SignedCursorCodec),
        ({"BACKEND": SIGNED}, SignedCursorCodec),
        ({"BACKEND": SIGNED, "OPTIONS": {}}, SignedCursorCodec),
        (AES_SIV, AESSIVCursorCodec),
    ],
)
def test_codec__is_what_the_setting_names(codec, codec_class):
    before = get_cursor_codec()
    with configured(codec):
        assert type(get_cursor_codec()) is codec_class
    assert type(get_cursor_codec()) is type(before)


def test_codec__gets_its_options():
    with configured({"BACKEND": f"{__name__}.LabelledCodec", "OPTIONS": {"label": "blue"}}):
        assert get_cursor_codec().label == "blue"


@pytest.mark.parametrize("setting", ["SECRET_KEY", "SECRET_KEY_FALLBACKS"])
def test_codec__is_made_anew_when_the_secrets_change(setting):
    before = get_cursor_codec()
    value = "another secret" if setting == "SECRET_KEY" else ["another secret"]
    with override_settings(**{setting: value}):
        assert get_cursor_codec() is not before


@pytest.mark.parametrize(
    ("codec", "says"),
    [
        ("no.such.module.Codec", "cannot be imported: No module named 'no'"),
        ("partstream.nothing.Codec", "cannot be imported: No module named 'partstream.nothing'"),
        ("partstream.backends.cursors.signed.Nothing", "is not a CursorCodec. Name a class"),
        (f"{__name__}.Bystander", "is not a CursorCodec. Name a class that inherits from it."),
        (f"{__name__}.SIGNED", "is not a CursorCodec. Name a class that inherits from it."),
        ({"BACKEND": SIGNED, "OPTIONS": {"x": 1}}, "does not accept its OPTIONS ['x']"),
        (f"{__name__}.LabelledCodec", "does not accept its OPTIONS []"),
        ("partstream.backends.cursors.base.CursorCodec", "abstract"),
    ],
)
def test_codec__what_cannot_be_made_is_refused_at_every_use(codec, says):
    with configured(codec):
        for _ in range(2):
            with pytest.raises(Misuse) as caught:
                get_cursor_codec()
            path = codec if isinstance(codec, str) else codec["BACKEND"]
            assert f"DJANGO_PARTSTREAM['CURSOR_CODEC'] = {path!r}" in str(caught.value)
            assert says in str(caught.value)
    assert isinstance(get_cursor_codec(), CursorCodec)


def test_cache_store__is_over_the_default_cache():
    store = get_cache_store()
    assert type(store) is DjangoCacheStore
    store.set_many({"partstream:tests:loader": b"[1]"}, 60)
    assert caches["default"].get("partstream:tests:loader").endswith(b"[1]")


def test_cache_store__is_one_a_process():
    assert get_cache_store() is get_cache_store()


def test_cache_store__is_what_the_setting_names():
    with override_settings(DJANGO_PARTSTREAM={"CACHE_STORE": NULL}):
        assert type(get_cache_store()) is NullCacheStore
    assert type(get_cache_store()) is DjangoCacheStore


def test_cache_store__gets_its_options(settings):
    other = {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}
    settings.CACHES = {**settings.CACHES, "other": other}
    settings.DJANGO_PARTSTREAM = {
        "CACHE_STORE": {"BACKEND": DJANGO, "OPTIONS": {"alias": "other", "retry_after": 5}}
    }
    assert get_cache_store().keeps is False


def test_cache_store__keeps_fragments_up_to_the_size_of_the_setting(settings):
    settings.DJANGO_PARTSTREAM = {"MAX_FRAGMENT_SIZE": 1024}
    store = get_cache_store()
    keys = ["partstream:tests:fits", "partstream:tests:too-long"]
    store.set_many(dict(zip(keys, [b"x" * 1024, b"x" * 1025], strict=True)), 60)
    assert list(store.get_many(keys)) == keys[:1]


@pytest.mark.parametrize(
    "changed",
    [
        {"CACHES": {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}},
        {"DJANGO_PARTSTREAM": {"MAX_FRAGMENT_SIZE": 1024}},
        {"SECRET_KEY": "another secret"},
        {"SECRET_KEY_FALLBACKS": ["another secret"]},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_cache_store__is_made_anew_when_what_it_comes_from_changes(changed):
    before = get_cache_store()
    with override_settings(**changed):
        inside = get_cache_store()
        assert inside is not before
    assert get_cache_store() is not inside


@pytest.mark.parametrize(
    ("store", "says"),
    [
        (SIGNED, "is not a CacheStore. Name a class that inherits from it."),
        ("partstream.backends.caches.base.CacheStore", "abstract"),
        ({"BACKEND": DJANGO, "OPTIONS": {"x": 1}}, "does not accept its OPTIONS ['x']"),
        ({"BACKEND": DJANGO, "OPTIONS": {"alias": "nothing"}}, "alias is 'nothing'"),
        ({"BACKEND": NULL, "OPTIONS": {"retry_after": -1}}, "retry_after is -1"),
        ({"BACKEND": NULL, "OPTIONS": {"retry_after": "2"}}, "does not accept its OPTIONS"),
    ],
)
def test_cache_store__what_cannot_be_made_is_refused_at_every_use(store, says):
    with override_settings(DJANGO_PARTSTREAM={"CACHE_STORE": store}):
        for _ in range(2):
            with pytest.raises(Misuse) as caught:
                get_cache_store()
            assert says in str(caught.value)


#: What the stores in Redis import of ours.
REDIS_MODULES = [
    f"partstream.backends.{name}" for name in ("redis_connections", "redis_cluster", "redis_server")
]
#: The extra, its module, and what needs it.
EXTRAS = [
    pytest.param("jwt", "jwt", "CURSOR_CODEC", JWT, get_cursor_codec, id="jwt"),
    pytest.param("redis", "django_redis", "CACHE_STORE", REDIS, get_cache_store, id="redis"),
    pytest.param("redis", "redis", "CACHE_STORE", REDIS, get_cache_store, id="redis-py"),
]


@pytest.mark.parametrize(("extra", "package", "setting", "path", "get"), EXTRAS)
def test_extra__that_is_not_installed_is_named(extra, package, setting, path, get):
    if find_spec(package) is not None:
        pytest.skip(f"the extra {extra} is installed")
    with override_settings(DJANGO_PARTSTREAM={setting: path}), pytest.raises(Misuse) as caught:
        get()
    assert NEEDS_EXTRA.format(extra) in str(caught.value)


@pytest.mark.parametrize(("extra", "package", "setting", "path", "get"), EXTRAS)
def test_extra__whose_package_cannot_be_imported_is_named(
    extra, package, setting, path, get, monkeypatch
):
    monkeypatch.setitem(sys.modules, package, None)
    for name in (path.rpartition(".")[0], *REDIS_MODULES):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with override_settings(DJANGO_PARTSTREAM={setting: path}), pytest.raises(Misuse) as caught:
        get()
    assert NEEDS_EXTRA.format(extra) in str(caught.value)
