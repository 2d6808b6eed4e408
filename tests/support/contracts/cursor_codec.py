"""What every cursor codec has to do. Inherit it in the tests of yours, and write `forge`."""

from __future__ import annotations

import base64
import json
import string
import time
from itertools import count
from typing import ClassVar

import pytest
import time_machine

from partstream.backends.cursors.aead import AESSIVCursorCodec
from partstream.backends.cursors.base import CursorCodec
from partstream.backends.cursors.fernet import FernetCursorCodec
from partstream.backends.cursors.signed import SignedCursorCodec
from partstream.exceptions import CursorExpired, InvalidCursor, ProbeFailed
from partstream.keys import KeyRing
from partstream.walks.cursor import Cursor

NOW = 1_800_000_000
TTL = 3600
OLD, NEW = b"the old secret of the ring", b"the new secret of the ring"
BASE64URL = string.ascii_letters + string.digits + "-_"

CURSOR = Cursor("walk_walk-walk_w", 2, 0b101, 10, "digest_digest-di", "binding_binding-bindin")
#: The payload of `CURSOR` as the JSON texts of its items.
ITEMS = tuple(json.dumps(item) for item in CURSOR.payload())

PAYLOADS = [
    CURSOR.payload(),
    Cursor("A" * 16, 0, 0, 0, "A" * 16, "A" * 22).payload(),
    Cursor("_" * 16, 0, (1 << 1999) - 1, 2000, "-" * 16, "_" * 22).payload(),
    Cursor("-" * 16, 2000, 0, 2000, "_" * 16, "-" * 22).payload(),
]

#: (index of the item, its JSON text): each breaks the closed schema in one place.
FAULTS = [
    *((0, text) for text in ("0", "2", "-1", "1.0", "true", "null", '"1"', "[1]", "NaN")),
    *((1, text) for text in ("1", "null", '""', '"short"', '"walk_walk-walk_w\\n"')),
    *((1, text) for text in (f'"{"w" * 17}"', f'"{"é" * 16}"', f'"{"+" * 16}"', '["walk"]')),
    *((2, text) for text in ("-1", "1.5", "2.0", "11", "1e400", "NaN", "Infinity", '"2"')),
    *((2, text) for text in ("null", "true", "[]", "{}", "1" + "0" * 300, "-1" + "0" * 300)),
    *((3, text) for text in ("0", "null", '"0"', '"05"', '"A"', '"-1"', '"0x5"', '" 5"', '"5\\n"')),
    *((3, text) for text in ('"80"', '"ff"', f'"{"f" * 300}"', '"\u0665"', "[5]")),
    *((4, text) for text in ("-1", "2001", "10.0", "1e1", "true", "null", '"10"', "NaN", "1")),
    *((5, text) for text in ("1", "null", '""', '"short"', f'"{"d" * 17}"', f'"{"=" * 16}"')),
    *((6, text) for text in ("1", "null", '""', '"short"', f'"{"b" * 23}"', f'"{"é" * 22}"')),
]

JUNK = [
    "",
    ".",
    "..",
    "...",
    "." * 10_000,
    "a",
    "A" * 100_000,
    "gAAAAA",
    "eyJhbGciOiJub25lIn0..",
    "\x00",
    "\r\n",
    "é",
    "\u2028",
    "\ud800",
    "🐈" * 30,
]


def segments(token):
    """The parts of a token between its dots."""
    return token.split(".")


def joined(parts, position, segment):
    """The token with one segment exchanged."""
    return ".".join([*parts[:position], segment, *parts[position + 1 :]])


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def cursors(count):
    """Cursors over so many parts: at each position, with the fewest and the most parts done."""
    for next_ in range(count + 1):
        for done in {0, (1 << max(0, count - next_ - 1)) - 1}:
            yield Cursor("w" * 16, next_, done, count, "d" * 16, "b" * 22)


class CursorCodecContract:
    """Set ``codec_class``, and write `forge`."""

    codec_class: ClassVar[type[CursorCodec]]
    hides_contents: ClassVar[bool]
    #: Other codecs, whose tokens must not pass.
    others: ClassVar[list[type[CursorCodec]]] = [
        AESSIVCursorCodec,
        FernetCursorCodec,
        SignedCursorCodec,
    ]

    def forge(self, items, issued, secret=NEW):
        """A token that is made well, under the secret, of these JSON texts."""
        raise NotImplementedError

    def make(self, *secrets):
        return self.codec_class(keys=KeyRing(list(secrets or [NEW])))

    @pytest.fixture
    def clock(self):
        with time_machine.travel(NOW, tick=False) as traveller:
            yield traveller

    @pytest.fixture
    def token(self, clock):
        return self.make().encode(CURSOR.payload(), TTL)

    def refused(self, token, codec=None):
        """That the token is refused as invalid, and by nothing else than that."""
        with pytest.raises(InvalidCursor):
            Cursor.from_payload((codec or self.make()).decode(token, TTL))
        return True

    def test_probe__decodes_what_it_encodes(self):
        self.make().probe()

    def test_probe__makes_no_token_that_is_a_cursor(self, monkeypatch):
        codec, tokens = self.make(), []
        seal = codec.seal
        monkeypatch.setattr(
            codec,
            "seal",
            lambda *args, **options: tokens.append(seal(*args, **options)) or tokens[0],
        )
        codec.probe()
        assert self.refused(tokens[0], codec)

    @pytest.mark.parametrize(
        ("payload", "error"), [([1], ProbeFailed), (ValueError("no"), InvalidCursor)]
    )
    def test_probe__of_a_codec_that_decodes_wrongly_fails(self, monkeypatch, payload, error):
        def unseal(token):
            if isinstance(payload, Exception):
                raise payload
            return payload, int(time.time())

        codec = self.make()
        monkeypatch.setattr(codec, "unseal", unseal)
        with pytest.raises(error):
            codec.probe()

    # Good tokens

    @pytest.mark.parametrize("payload", PAYLOADS)
    def test_codec__gives_back_the_payload(self, payload):
        codec = self.make()
        assert codec.decode(codec.encode(payload, TTL), TTL) == payload

    def test_codec__gives_back_payloads_of_any_length(self):
        # Base64 is padded in three ways, and ciphers fill up their blocks.
        codec = self.make()
        for most in range(400):
            cursor = Cursor("w" * 16, 0, (1 << max(0, most - 1)) - 1, most, "d" * 16, "b" * 22)
            assert codec.decode(codec.encode(cursor.payload(), TTL), TTL) == cursor.payload()

    def test_codec__forged_well_is_taken(self, clock):
        # So that each refusal of a forged token below is for its fault alone.
        assert self.make().decode(self.forge(ITEMS, NOW), TTL) == CURSOR.payload()

    def test_token__is_made_of_unreserved_characters(self):
        for payload in PAYLOADS:
            token = self.make().encode(payload, TTL)
            assert set(token) <= set(string.ascii_letters + string.digits + "-._~")

    def test_token__hides_its_contents_or_does_not(self, token):
        seen = b" ".join(
            base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
            for segment in segments(token)
        )
        assert (CURSOR.digest.encode() in seen) is not self.hides_contents
        assert self.codec_class.hides_contents is self.hides_contents

    # Keys

    def test_codec__keeps_the_ring_for_subclasses_that_derive_more(self):
        ring = KeyRing([NEW])
        assert self.codec_class(keys=ring).keys is ring

    def test_rotation__old_tokens_are_taken(self):
        token = self.make(OLD).encode(CURSOR.payload(), TTL)
        assert self.make(NEW, OLD).decode(token, TTL) == CURSOR.payload()

    def test_rotation__new_tokens_are_under_the_new_key(self):
        token = self.make(NEW, OLD).encode(CURSOR.payload(), TTL)
        assert self.make(NEW).decode(token, TTL) == CURSOR.payload()
        self.refused(token, self.make(OLD))

    def test_rotation__a_key_that_left_is_refused(self):
        token = self.make(OLD).encode(CURSOR.payload(), TTL)
        self.refused(token, self.make(NEW))

    def test_rotation__expiry_holds_for_old_keys(self, clock):
        token = self.make(OLD).encode(CURSOR.payload(), TTL)
        clock.shift(TTL + 1)
        with pytest.raises(CursorExpired):
            self.make(NEW, OLD).decode(token, TTL)

    # The clock

    @pytest.mark.parametrize("age", [0, 1, TTL - 1, TTL])
    def test_age__up_to_the_ttl_is_taken(self, token, clock, age):
        clock.shift(age)
        assert self.make().decode(token, TTL) == CURSOR.payload()

    @pytest.mark.parametrize("age", [TTL + 1, TTL + 60, TTL * 1000])
    def test_age__beyond_the_ttl_is_expired(self, token, clock, age):
        clock.shift(age)
        with pytest.raises(CursorExpired):
            self.make().decode(token, TTL)

    def test_age__a_shortened_ttl_counts(self, token, clock):
        clock.shift(11)
        with pytest.raises(CursorExpired):
            self.make().decode(token, 10)

    @pytest.mark.parametrize("ahead", [1, 59, 60])
    def test_age__a_clock_that_is_ahead_is_borne(self, token, clock, ahead):
        clock.shift(-ahead)
        assert self.make().decode(token, TTL) == CURSOR.payload()

    @pytest.mark.parametrize("ahead", [61, 3600, NOW])
    def test_age__from_the_future_is_refused(self, token, clock, ahead):
        clock.shift(-ahead)
        self.refused(token)

    @pytest.mark.parametrize("issued", [0, 1, NOW - TTL - 1])
    def test_age__issued_long_ago_is_expired(self, clock, issued):
        with pytest.raises(CursorExpired):
            self.make().decode(self.forge(ITEMS, issued), TTL)

    @pytest.mark.parametrize("issued", [NOW + 61, 2**40, NOW + 2**56, 2**63 - 1])
    def test_age__issued_far_ahead_is_refused(self, clock, issued):
        self.refused(self.forge(ITEMS, issued))

    def test_token__tells_whole_seconds(self):
        with time_machine.travel(NOW + 0.999, tick=False) as traveller:
            token = self.make().encode(CURSOR.payload(), TTL)
            traveller.move_to(NOW + TTL + 0.001)
            assert self.make().decode(token, TTL) == CURSOR.payload()
        assert time.time() > 0

    # Tampering

    def test_tampering__each_bit_of_each_character(self, token):
        codec = self.make()
        for position, character in enumerate(token):
            for bit in range(8):
                other = chr(ord(character) ^ 1 << bit)
                self.refused(token[:position] + other + token[position + 1 :], codec)

    def test_tampering__each_bit_of_the_bytes_inside(self, token):
        codec = self.make()
        parts = segments(token)
        for position, segment in enumerate(parts):
            raw = bytearray(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
            if base64url(raw) != segment:
                continue  # Not base64: each of its characters was tried above.
            for bit in range(len(raw) * 8):
                raw[bit // 8] ^= 1 << bit % 8
                self.refused(joined(parts, position, base64url(raw)), codec)
                raw[bit // 8] ^= 1 << bit % 8

    def test_tampering__each_cut(self, token):
        codec = self.make()
        for position in range(len(token)):
            self.refused(token[:position], codec)
            self.refused(token[position + 1 :], codec)

    # Spelling

    def test_spelling__every_other_last_character(self, token):
        codec = self.make()
        parts = segments(token)
        for position, segment in enumerate(parts):
            for character in set(BASE64URL) - {segment[-1]}:
                self.refused(joined(parts, position, segment[:-1] + character), codec)

    @pytest.mark.parametrize(
        "junk", ["=", "==", "===", "====", "A", "!", "~", ".", "\n", "\r\n", " ", "\x00", "é"]
    )
    def test_spelling__junk_around_and_inside(self, token, junk):
        codec = self.make()
        parts = segments(token)
        for position, segment in enumerate(parts):
            half = len(segment) // 2
            for spelling in (
                junk + segment,
                segment + junk,
                segment[:half] + junk + segment[half:],
            ):
                self.refused(joined(parts, position, spelling), codec)

    @pytest.mark.parametrize(("ours", "theirs"), [("-", "+"), ("_", "/")])
    def test_spelling__of_the_other_base64_alphabet(self, clock, ours, theirs):
        codec = self.make()
        for number in count():
            cursor = Cursor(f"{number:016}", 2, 0, 10, "d" * 16, "b" * 22)
            token = codec.encode(cursor.payload(), TTL)
            if any(ours in segment for segment in segments(token)):
                break
        assert self.refused(token.replace(ours, theirs), codec)

    # Payloads

    @pytest.mark.parametrize(("position", "text"), FAULTS)
    def test_schema__one_fault_is_refused(self, clock, position, text):
        items = [*ITEMS[:position], text, *ITEMS[position + 1 :]]
        self.refused(self.forge(items, NOW))

    @pytest.mark.parametrize("length", range(len(ITEMS)))
    def test_schema__a_missing_field_is_refused(self, clock, length):
        self.refused(self.forge(ITEMS[:length] or ["[]"], NOW))

    @pytest.mark.parametrize("text", ["0", '""', "null", "{}"])
    @pytest.mark.parametrize("position", [0, 3, 6])
    def test_schema__an_unknown_field_is_refused(self, clock, position, text):
        self.refused(self.forge([*ITEMS[:position], text, *ITEMS[position:]], NOW))

    @pytest.mark.parametrize(
        "text", ["1" + "0" * 5000, "[" * 5000 + "]" * 5000, "[" * 5000, "", "nonsense", "'1'"]
    )
    def test_schema__what_no_parser_takes_is_refused(self, clock, text):
        self.refused(self.forge([*ITEMS[:2], text, *ITEMS[3:]], NOW))

    # Strangers

    def test_stranger__a_token_of_another_codec(self, clock):
        for other in self.others:
            if other is not self.codec_class:
                token = other(keys=KeyRing([NEW])).encode(CURSOR.payload(), TTL)
                self.refused(token)

    @pytest.mark.parametrize("junk", JUNK)
    def test_stranger__junk_is_refused(self, junk):
        self.refused(junk)

    @pytest.mark.parametrize("junk", ["A" * 100_000, "." * 100_000, "\ud800"])
    def test_stranger__junk_behind_a_good_token_is_refused(self, token, junk):
        self.refused(token + junk)

    @pytest.mark.parametrize("value", [None, 1, 1.5, True, [], {}, object()])
    def test_stranger__what_is_no_text_is_refused(self, value):
        self.refused(value)

    def test_stranger__bytes_are_refused(self, token):
        self.refused(token.encode())
