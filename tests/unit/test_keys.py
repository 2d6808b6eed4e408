from __future__ import annotations

from base64 import urlsafe_b64decode

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.test import override_settings

from partstream.exceptions import Misuse
from partstream.keys import KeyRing, get_key_ring, hkdf, keyed_digest

FIRST, SECOND = "the first of two secrets, long enough", "the second of two secrets, long enough"


@pytest.mark.parametrize("secret", [b"", b"short", b"s" * 200])
@pytest.mark.parametrize("label", ["binding", "cursors.fernet", "é"])
def test_hkdf__is_that_of_rfc_5869(secret, label):
    theirs = HKDF(SHA256(), 32, salt=b"django-partstream", info=label.encode())
    assert hkdf(secret, label) == theirs.derive(secret)


@pytest.mark.parametrize("size", [1, 31, 32, 33, 64, 100, 8160])
def test_hkdf__of_any_size_is_that_of_rfc_5869(size):
    theirs = HKDF(SHA256(), size, salt=b"django-partstream", info=b"cursors.aead")
    assert hkdf(b"secret", "cursors.aead", size) == theirs.derive(b"secret")


@pytest.mark.parametrize(
    ("label", "key"),
    [
        ("binding", "44a6aaf682d0e4ff69164942239f3752e03ade32db86b871b33925076dc28424"),
        ("cursors.fernet", "77728fa75493ec9cc4886a4bbbd17893066f8f151ed2fddf2843d910a76a6dca"),
    ],
)
def test_hkdf__of_32_bytes_stays_the_same_in_every_version(label, key):
    # If these change, an upgrade ends every walk.
    assert hkdf(b"a secret of the tests, for known keys", label).hex() == key


@pytest.mark.parametrize("size", [-1, 0, 8161, 10**9])
def test_hkdf__of_a_size_out_of_range_is_refused(size):
    ring = KeyRing([b"secret"])
    for _ in range(2):
        with pytest.raises(Misuse, match=f"a key of {size} bytes .* from 1 to 8160"):
            ring.derive("use", size)


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


def test_derive__gives_keys_of_each_size():
    ring = KeyRing([b"first", b"second"])
    assert ring.derive("one") == ring.derive("one", 32)
    assert ring.derive("one", 64) == (hkdf(b"first", "one", 64), hkdf(b"second", "one", 64))


def test_derive__derives_once():
    ring = KeyRing([b"first"])
    assert ring.derive("one") is ring.derive("one")
    assert ring.derive("one", 64) is ring.derive("one", 64)


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
