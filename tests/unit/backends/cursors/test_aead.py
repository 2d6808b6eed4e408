from __future__ import annotations

import zlib
from base64 import urlsafe_b64decode
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from partstream.backends.cursors.aead import AESSIVCursorCodec
from partstream.keys import KeyRing
from partstream.walks.cursor import Cursor
from tests.support.contracts.cursor_codec import (
    CURSOR,
    ITEMS,
    NEW,
    NOW,
    OLD,
    TTL,
    CursorCodecContract,
    base64url,
    cursors,
)

#: The token of `CURSOR`, made at `NOW` under `NEW`.
KNOWN = (
    "7QGPWSa-sl278Mv23zkSb2-J201QEHuN3VfqIlRMsBix0WSn1l6OJZRWszp01NWFDU4aycxbwYkBQ1je6T6QT6VKoxBZIxJm"
    "yGcklkIENB5BDI6TBfZrjanKGCwm9uWIvzJ1"
)


def cipher(secret=NEW):
    (key,) = KeyRing([secret]).derive("cursors.aead", 64)
    return AESSIV(key)


def plaintext(items=ITEMS, issued=NOW):
    return issued.to_bytes(8, "big") + f"[{','.join(items)}]".encode()


class TestAESSIVCursorCodec(CursorCodecContract):
    codec_class = AESSIVCursorCodec
    hides_contents = True

    def seal(self, data, secret=NEW):
        return base64url(cipher(secret).encrypt(data, None))

    def forge(self, items, issued, secret=NEW):
        return self.seal(plaintext(items, issued), secret)

    # Contents

    @pytest.mark.parametrize(
        "text",
        [b"null", b"{}", b"7", b'"1234567"', b"\xff\xfe", b"[1,", zlib.compress(b" " * 10**7)],
    )
    def test_payload__of_another_kind_is_refused(self, clock, text):
        self.refused(self.seal(NOW.to_bytes(8, "big") + text))

    @pytest.mark.parametrize("around", ["{} ", " {}", "\n{}", "{}\x00", "{}[]", "{}{}", "\ufeff{}"])
    def test_payload__with_anything_around_it_is_refused(self, clock, around):
        text = around.replace("{}", f"[{','.join(ITEMS)}]")
        self.refused(self.seal(NOW.to_bytes(8, "big") + text.encode()))

    def test_payload__in_another_encoding_is_refused(self, clock):
        # `json.loads` would take UTF-16 and UTF-32 as well.
        text = f"[{','.join(ITEMS)}]"
        for encoding in ("utf-16", "utf-16-be", "utf-32", "utf-8-sig"):
            self.refused(self.seal(NOW.to_bytes(8, "big") + text.encode(encoding)))

    @pytest.mark.parametrize("size", range(41))
    def test_token__that_is_too_short_is_refused(self, clock, size):
        self.refused(base64url(bytes(size)))
        self.refused(self.seal(plaintext())[: size * 4 // 3])
        if size:  # Older versions of cryptography encrypt nothing of no length.
            self.refused(self.seal(plaintext()[:size]))
            self.refused(self.seal(bytes(size)))

    @pytest.mark.parametrize("issued", [2**63, 2**64 - 1])
    def test_issued__as_late_as_eight_bytes_can_tell_is_refused(self, clock, issued):
        self.refused(self.forge(ITEMS, issued))

    def test_issued__is_in_the_eight_bytes_before_the_payload(self, token):
        sealed = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        assert cipher().decrypt(sealed, None) == plaintext()

    def test_token__is_16_bytes_longer_than_what_is_in_it(self, token):
        assert len(urlsafe_b64decode(token + "=" * (-len(token) % 4))) == 16 + len(plaintext())

    def test_token__tells_by_its_length_how_long_its_bitmap_is(self):
        # As documented; Fernet tells less, see its tests.
        codec = self.make()
        longest = [
            max(len(codec.encode(cursor.payload(), TTL)) for cursor in cursors(count))
            for count in range(10, 100)
        ]
        assert len(set(longest)) == -(-len(longest) // 4)

    def test_token__of_a_walk_of_ten_parts_is_short(self):
        cursor = Cursor("w" * 16, 2, 0, 10, "d" * 16, "b" * 22)
        assert len(self.make().encode(cursor.payload(), TTL)) <= 140

    # Keys

    @pytest.mark.parametrize("secret", [b"s" * 32, b"s" * 64])
    def test_token__sealed_with_the_secret_itself_is_refused(self, clock, secret):
        token = base64url(AESSIV(secret).encrypt(plaintext(), None))
        self.refused(token, self.make(secret))

    @pytest.mark.parametrize("label", ["cursors.fernet", "cursors.signed", "cursors", "binding"])
    def test_token__sealed_under_another_label_is_refused(self, clock, label):
        (key,) = KeyRing([NEW]).derive(label, 64)
        self.refused(base64url(AESSIV(key).encrypt(plaintext(), None)))

    def test_token__sealed_under_a_shorter_key_of_the_label_is_refused(self, clock):
        (key,) = KeyRing([NEW]).derive("cursors.aead")
        self.refused(base64url(AESSIV(key).encrypt(plaintext(), None)))

    def test_rotation__each_key_of_the_ring_is_tried(self, clock):
        third = b"an even older secret of the ring"
        codec = self.make(NEW, OLD, third)
        for secret in (NEW, OLD, third):
            assert codec.decode(self.forge(ITEMS, NOW, secret), TTL) == CURSOR.payload()
        self.refused(self.forge(ITEMS, NOW, b"a secret that was never in the ring"), codec)

    def test_token__stays_the_same_in_every_version(self, token):
        # If this changes, an upgrade ends every walk: say so in the changelog.
        assert token == KNOWN

    # Determinism

    def test_token__of_the_same_position_and_second_is_the_same(self, clock):
        tokens = {self.make().encode(CURSOR.payload(), ttl) for ttl in (1, TTL) for _ in range(3)}
        assert len(tokens) == 1

    def test_token__of_anything_else_differs_from_its_beginning(self, clock):
        changes = [
            {},
            {"walk": "walk_walk-walk_x"},
            {"next": 3},
            {"done": 0b111},
            {"count": 11},
            {"digest": "digest_digest-dj"},
            {"binding": "binding_binding-bindim"},
        ]
        payloads = [replace(CURSOR, **change).payload() for change in changes]
        tokens = [self.make().encode(payload, TTL) for payload in payloads]
        tokens.append(self.make(OLD).encode(CURSOR.payload(), TTL))
        clock.shift(1)
        tokens.append(self.make().encode(CURSOR.payload(), TTL))
        # What is encrypted first, the time, is behind the 22 characters of the tag.
        for part in (slice(8), slice(24, 32), slice(-8, None)):
            assert len({token[part] for token in tokens}) == len(tokens) == 9
