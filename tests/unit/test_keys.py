from __future__ import annotations

from base64 import urlsafe_b64decode

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.test import override_settings

from partstream.keys import KeyRing, get_key_ring, hkdf, keyed_digest

FIRST, SECOND = "the first of two secrets, long enough", "the second of two secrets, long enough"


@pytest.mark.parametrize("secret", [b"", b"short", b"s" * 200])
@pytest.mark.parametrize("label", ["binding", "cursors.fernet", "é"])
def test_hkdf__is_that_of_rfc_5869(secret, label):
    theirs = HKDF(SHA256(), 32, salt=b"django-partstream", info=label.encode())
    assert hkdf(secret, label) == theirs.derive(secret)


@pytest.mark.parametrize(("length", "characters"), [(12, 16), (16, 22)])
def test_keyed_digest__is_unpadded_base64url(length, characters):
    digest = keyed_digest(b"key", b"message", length)
    assert len(digest) == characters
    assert len(urlsafe_b64decode(digest + "=" * (-characters % 4))) == length
    assert digest != keyed_digest(b"other", b"message", length)


def test_keyed_digest__is_as_long_whatever_it_ends_with():
    digests = [keyed_digest(b"key", b"%d" % number, 12) for number in range(1000)]
    assert {len(digest) for digest in digests} == {16}
    assert len({digest[-1] for digest in digests}) == 64


def test_derive__gives_each_use_and_each_secret_its_own_key():
    ring = KeyRing([b"first", b"second"])
    keys = [*ring.derive("one"), *ring.derive("two")]
    assert len(set(keys)) == 4
    assert ring.derive("one")[0] == hkdf(b"first", "one")


def test_derive__derives_once():
    ring = KeyRing([b"first"])
    assert ring.derive("one") is ring.derive("one")


def test_ring__is_of_the_secret_key_and_its_fallbacks(settings):
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = FIRST, [SECOND]
    assert get_key_ring().derive("use") == KeyRing([FIRST.encode(), SECOND.encode()]).derive("use")


def test_ring__takes_a_secret_key_of_bytes(settings):
    settings.SECRET_KEY = b"bytes, as Django allows it"
    assert get_key_ring().derive("use") == (hkdf(settings.SECRET_KEY, "use"),)


def test_ring__is_of_cursor_keys_alone_where_there_are_any(settings):
    settings.DJANGO_PARTSTREAM = {"CURSOR_KEYS": [FIRST, SECOND]}
    assert get_key_ring().derive("use") == KeyRing([FIRST.encode(), SECOND.encode()]).derive("use")


@pytest.mark.parametrize(
    "changed",
    [
        {"SECRET_KEY": FIRST},
        {"SECRET_KEY_FALLBACKS": [SECOND]},
        {"DJANGO_PARTSTREAM": {"CURSOR_KEYS": [FIRST]}},
    ],
)
def test_ring__is_made_anew_when_a_setting_changes_and_back(changed):
    before = get_key_ring().derive("use")
    with override_settings(**changed):
        assert get_key_ring().derive("use") != before
    assert get_key_ring().derive("use") == before


def test_ring__is_kept():
    assert get_key_ring() is get_key_ring()
