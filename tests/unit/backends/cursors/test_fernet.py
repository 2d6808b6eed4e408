from __future__ import annotations

import zlib
from base64 import urlsafe_b64encode

import pytest
from cryptography.fernet import Fernet

from partstream.backends.cursors.fernet import FernetCursorCodec
from partstream.keys import KeyRing
from partstream.walks.cursor import Cursor
from tests.support.contracts.cursor_codec import NEW, NOW, TTL, CursorCodecContract, cursors


class TestFernetCursorCodec(CursorCodecContract):
    codec_class = FernetCursorCodec
    hides_contents = True

    def seal(self, data, issued, secret=NEW):
        (key,) = KeyRing([secret]).derive("cursors.fernet")
        token = Fernet(urlsafe_b64encode(key)).encrypt_at_time(data, issued)
        return token.rstrip(b"=").decode()

    def forge(self, items, issued, secret=NEW):
        return self.seal(f"[{','.join(items)}]".encode(), issued, secret)

    @pytest.mark.parametrize(
        "data",
        [b"", b"null", b"{}", b"7", b'"1234567"', b"\xff\xfe", b"[1,", zlib.compress(b" " * 10**7)],
    )
    def test_payload__of_another_kind_is_refused(self, clock, data):
        self.refused(self.seal(data, NOW))

    def test_token__sealed_with_the_secret_itself_is_refused(self, clock):
        secret = b"s" * 32
        token = Fernet(urlsafe_b64encode(secret)).encrypt(b"[]").rstrip(b"=").decode()
        self.refused(token, self.make(secret))

    def test_token__is_taken_whatever_it_ends_with(self):
        # Of tokens without padding the last character is as random as the others.
        codec, payload = (
            self.make(),
            Cursor("w" * 16, 2, 0b1 << 60, 100, "d" * 16, "b" * 22).payload(),
        )
        ends = set()
        for _ in range(1500):
            token = codec.encode(payload, TTL)
            assert codec.decode(token, TTL) == payload
            ends.add(token[-1])
        assert len(token) % 4 == 0
        assert len(ends) == 64

    def test_token__of_up_to_21_parts_is_as_long_whatever_it_is_for(self):
        codec = self.make()
        sizes = {
            count: {len(codec.encode(cursor.payload(), TTL)) for cursor in cursors(count)}
            for count in range(2, 23)
        }
        assert {size for count in range(2, 22) for size in sizes[count]} == {183}
        assert sizes[22] == {183, 204}

    def test_token__of_a_walk_of_ten_parts_is_short(self):
        cursor = Cursor("w" * 16, 2, 0, 10, "d" * 16, "b" * 22)
        assert len(self.make().encode(cursor.payload(), TTL)) <= 200
