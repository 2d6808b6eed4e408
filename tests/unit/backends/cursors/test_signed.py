from __future__ import annotations

import pytest
from django.core.signing import Signer, dumps

from partstream.backends.cursors.signed import SignedCursorCodec
from partstream.keys import KeyRing
from tests.support.contracts.cursor_codec import (
    CURSOR,
    ITEMS,
    NEW,
    NOW,
    CursorCodecContract,
    base64url,
)


class TestSignedCursorCodec(CursorCodecContract):
    codec_class = SignedCursorCodec
    hides_contents = False

    def sign(self, value, secret=NEW):
        (key,) = KeyRing([secret]).derive("cursors.signed")
        return Signer(key=key, sep=".", salt="partstream", algorithm="sha256").sign(value)

    def forge(self, items, issued, secret=NEW):
        payload = base64url(f"[{','.join(items)}]".encode())
        return self.sign(f"{payload}.{issued}", secret)

    @pytest.mark.parametrize("text", ["null", "{}", "7", '"1234567"', "[1,", ""])
    def test_payload__of_another_kind_is_refused(self, clock, text):
        self.refused(self.sign(f"{base64url(text.encode())}.{NOW}"))

    @pytest.mark.parametrize(
        "issued",
        ["", "-1", "+1", "1.5", "1e9", f" {NOW}", f"{NOW}.{NOW}", "NaN", f"0{NOW}", "9" * 5000],
    )
    def test_issued__of_another_kind_is_refused(self, clock, issued):
        payload = base64url(f"[{','.join(ITEMS)}]".encode())
        self.refused(self.sign(f"{payload}.{issued}"))

    def test_payload__spelt_with_padding_is_refused(self, clock):
        payload = base64url(f"[{','.join(ITEMS)}]".encode())
        self.refused(self.sign(f"{payload}=.{NOW}"))

    def test_token__of_django_under_the_same_key_is_refused(self, clock):
        (key,) = KeyRing([NEW]).derive("cursors.signed")
        for compress in (True, False):
            self.refused(dumps(CURSOR.payload(), key=key, compress=compress))
            self.refused(dumps(CURSOR.payload(), key=key, salt="partstream", compress=compress))
