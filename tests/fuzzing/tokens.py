"""Tokens that are spoilt in every way, from those of a real walk."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from json import dumps
from random import Random
from typing import Any
from urllib.parse import quote_from_bytes

from partstream.backends.cursors.base import CursorCodec

#: Makes a well-made token of any JSON texts, issued at any time.
Forge = Callable[[list[str], int], str]
#: What makes a query of the generator's next token.
Spoil = Callable[[Random], bytes]

UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
#: What can stand in a request's first line as it is, and has no meaning in a query; gunicorn lets
#: nothing else pass.
PRINTABLE = bytes(set(range(0x21, 0x7F)) - set(b"#&+%=;"))
#: Control and odd characters, and bytes that are no UTF-8; the third to last is a lone surrogate.
ODD = [
    *(b"\x00", b"\r", b"\n", b"\r\n", b"\t", b" ", b"\x1b[31m", b"\x7f", b"\xc2\x85"),
    *("é".encode(), "٣".encode(), "\u2028".encode(), "\u202e".encode(), "\ufeff".encode()),
    *("🐈".encode(), b"\xed\xa0\x80", b"\xff\xfe", b"\xc0\x80"),
]
FAULTY_ESCAPES = [b"%", b"%%", b"%0", b"%G1", b"%u0041", b"%u00e9", b"%-1", b"%\\"]
ANY_JSON = [
    *("-1", "1.5", "2.0", "1e400", "-1e400", "NaN", "Infinity", "-Infinity", "1" + "0" * 30),
    *("-1" + "0" * 400, "9" * 5000, "true", "false", "null", '""', '"0"', '"short"', "[]", "{}"),
    *("[1]", '{"a":1}', "[" * 300 + "]" * 300, '"' + "f" * 600 + '"', '"\\ud800"', '"\\u0000"'),
    *('"é"', '"\u2028"', "'1'", "nonsense", "", "[", "]", "1,", '"' + "\\u0031" * 17 + '"'),
]
#: Whole numbers that each field of the schema would refuse, beside what no field takes.
OUT_OF_RANGE = {0: ["0", "2", "11"], 2: ["7", "2000", "2001"], 4: ["2001", "-7"]}


class Tokens:
    """Makes queries with a token in them, and knows how those that are well made are answered.

    Args:
        good: Tokens that the server issued.
        codec: Theirs.
        others: Codecs of another kind.
        forge: Makes well-made tokens.
        ttl: Seconds that a token is good for.
    """

    def __init__(
        self,
        good: list[str],
        *,
        codec: CursorCodec,
        others: list[CursorCodec],
        forge: Forge,
        ttl: int,
    ) -> None:
        self._good = [token.encode() for token in good]
        self._payloads = [codec.decode(token, ttl) for token in good]
        self._others = others
        self._forge = forge
        self._ttl = ttl
        self._issued = int(time.time())
        #: Token -> status of its answer; that of every other one is 400.
        self.known: dict[str, int] = dict.fromkeys(good, 200)
        self._spoil: list[Spoil] = [
            *(self._flipped, self._flipped_inside, self._cut, self._spliced, self._inserted),
            *(self._cased, self._padded, self._respelt, self._other_end, self._repeated),
            *(self._long, self._junk, self._raw, self._faulty_escape, self._escaped),
            *(self._faulty_field, self._faulty_payload, self._moved, self._of_another_codec),
            *(self._of_another_time, self._of_other_parts, self._elsewhere, self._unspoilt),
        ]

    def query(self, random: Random) -> tuple[str, bytes]:
        """How the next token was spoilt, and the query that has it."""
        spoil = random.choice(self._spoil)
        return spoil.__name__.strip("_"), spoil(random)

    def _one(self, random: Random) -> bytes:
        return random.choice(self._good)

    # Bytes

    def _flipped(self, random: Random) -> bytes:
        token = bytearray(self._one(random))
        for _ in range(random.choice((1, 1, 1, 2, 8))):
            token[random.randrange(len(token))] ^= 1 << random.randrange(8)
        return cursor(bytes(token))

    def _flipped_inside(self, random: Random) -> bytes:
        segments = self._one(random).split(b".")
        place = random.randrange(len(segments))
        segment = segments[place]
        data = bytearray(base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4)))
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        segments[place] = base64.urlsafe_b64encode(data).rstrip(b"=")
        return cursor(b".".join(segments))

    def _cut(self, random: Random) -> bytes:
        token = self._one(random)
        start, end = sorted(random.choices(range(len(token) + 1), k=2))
        return cursor(random.choice((token[:end], token[start:], token[:start] + token[end:])))

    def _spliced(self, random: Random) -> bytes:
        first, second = self._one(random), self._one(random)
        if random.random() < 0.5:
            place = random.randrange(len(first))
            return cursor(first[:place] + second[place:])
        return cursor(first[: random.randrange(len(first))] + second[random.randrange(99) :])

    def _inserted(self, random: Random) -> bytes:
        token = self._one(random)
        for _ in range(random.choice((1, 1, 2))):
            place = random.choice((0, len(token), random.randrange(len(token))))
            piece = random.choice((random.choice(ODD), bytes([random.choice(UNRESERVED)]), b"."))
            token = token[:place] + piece + token[place:]
        return cursor(token)

    def _cased(self, random: Random) -> bytes:
        token = self._one(random)
        place = random.randrange(len(token))
        one = token[:place] + token[place : place + 1].swapcase() + token[place + 1 :]
        return cursor(random.choice((token.upper(), token.lower(), token.swapcase(), one)))

    def _padded(self, random: Random) -> bytes:
        padding = random.choice((b"=", b"%3D", b"%3d")) * random.randint(1, 4)
        return (
            b"cursor=" + self._one(random).replace(b".", random.choice((b".", padding))) + padding
        )

    def _respelt(self, random: Random) -> bytes:
        token = self._one(random)
        plus, slash = random.choice(((b"+", b"/"), (b"%2B", b"%2F"), (b"%20", b"%5F"), (b"", b"")))
        return b"cursor=" + token.replace(b"-", plus).replace(b"_", slash)

    def _other_end(self, random: Random) -> bytes:
        segments = self._one(random).split(b".")
        place = random.randrange(len(segments))
        segments[place] = segments[place][:-1] + bytes([random.choice(UNRESERVED)])
        return cursor(b".".join(segments))

    def _repeated(self, random: Random) -> bytes:
        token = self._one(random)
        again = random.choice((token, self._one(random), b"", b"x"))
        pair = [b"cursor=" + token, random.choice((b"cursor=", b"%63ursor=")) + again]
        random.shuffle(pair)
        return b"&".join(pair)

    def _long(self, random: Random) -> bytes:
        token = self._one(random)
        length = random.choice((1024, 1025, 2000, 8180, 8192, 20_000))
        return cursor((token + random.choice((b"A", b".", b"=", token)) * length)[:length])

    def _junk(self, random: Random) -> bytes:
        pieces = [*ODD, b".", b"..", b"gAAAAA", b"eyJ", b"", random.randbytes(9), b"null", b"-1"]
        return cursor(b"".join(random.choices(pieces, k=random.choice((0, 1, 2, 5)))))

    def _raw(self, random: Random) -> bytes:
        token = bytearray(self._one(random))
        for _ in range(random.choice((1, 1, 2, 8))):
            token.insert(random.randrange(len(token) + 1), random.choice(PRINTABLE))
        return b"cursor=" + bytes(token)

    def _faulty_escape(self, random: Random) -> bytes:
        token = self._one(random)
        place = random.randrange(len(token) + 1)
        return b"cursor=" + token[:place] + random.choice(FAULTY_ESCAPES) + token[place:]

    def _escaped(self, random: Random) -> bytes:
        # The same token in another spelling of the query.
        token = self._one(random)
        share = random.choice((0.1, 1))
        return b"cursor=" + b"".join(
            b"%%%02x" % byte if random.random() < share else bytes([byte]) for byte in token
        )

    # Well made

    def _items(self, random: Random) -> list[str]:
        return [dumps(item) for item in random.choice(self._payloads)]

    def _faulty_field(self, random: Random) -> bytes:
        items = self._items(random)
        place = random.randrange(len(items))
        faults = ANY_JSON + OUT_OF_RANGE.get(place, [])
        # Of all these one is good in one place: a bitmap of nothing.
        items[place] = random.choice([text for text in faults if (place, text) != (3, '""')])
        return self._forged(items)

    def _faulty_payload(self, random: Random) -> bytes:
        items = self._items(random)
        place = random.randrange(len(items))
        change = random.randrange(4)
        if change == 0:
            del items[place:]
            items = items or ["[]"]
        elif change == 1:
            del items[place]
        elif change == 2:
            items.insert(place, random.choice(ANY_JSON))
        else:
            items = random.choices(ANY_JSON, k=random.choice((1, 7)))
        return self._forged(items)

    def _forged(self, items: list[str]) -> bytes:
        return cursor(self._forge(items, self._issued).encode())

    def _moved(self, random: Random) -> bytes:
        # A binding of the right form, of nobody.
        items = self._items(random)
        items[6] = dumps("".join(random.choices("abcXYZ019-_", k=22)))
        return self._forged(items)

    def _of_another_codec(self, random: Random) -> bytes:
        payload = random.choice(self._payloads)
        return cursor(random.choice(self._others).encode(payload, self._ttl).encode())

    def _of_another_time(self, random: Random) -> bytes:
        age = random.choice((self._ttl + 60, 10**8, -86_400, -(10**8), -(2**40), -(2**60)))
        token = self._forge(self._items(random), self._issued - age)
        if age > 0:
            self.known[token] = 410
        return cursor(token.encode())

    def _of_other_parts(self, random: Random) -> bytes:
        items = self._items(random)
        items[5] = dumps("".join(random.choices("abcXYZ019-_", k=16)))
        token = self._forge(items, self._issued)
        self.known[token] = 409
        return cursor(token.encode())

    def _elsewhere(self, random: Random) -> bytes:
        # A good token, under another query of the application's.
        more = random.choice((b"year=2", b"Cursor=", b"x", b"%00=%00", b"cursor%00=1", b"%E9=1"))
        pair = [b"cursor=" + self._one(random), more]
        random.shuffle(pair)
        return b"&".join(pair)

    def _unspoilt(self, random: Random) -> bytes:
        return b"cursor=" + self._one(random)


def cursor(token: bytes) -> bytes:
    """The query of a token, whatever it is made of."""
    return b"cursor=" + quote_from_bytes(token, safe="").encode()


def codec_parts(name: str) -> tuple[type[Any], type[Any]]:
    """The class of a codec, and the tests of it, which know how its tokens are forged."""
    if name == "aead":
        from partstream.backends.cursors.aead import AESSIVCursorCodec
        from tests.unit.backends.cursors.test_aead import TestAESSIVCursorCodec

        return AESSIVCursorCodec, TestAESSIVCursorCodec
    if name == "fernet":
        from partstream.backends.cursors.fernet import FernetCursorCodec
        from tests.unit.backends.cursors.test_fernet import TestFernetCursorCodec

        return FernetCursorCodec, TestFernetCursorCodec
    if name == "jwt":
        from partstream.backends.cursors.jwt import JWTCursorCodec
        from tests.unit.backends.cursors.test_jwt import TestJWTCursorCodec

        return JWTCursorCodec, TestJWTCursorCodec
    from partstream.backends.cursors.signed import SignedCursorCodec
    from tests.unit.backends.cursors.test_signed import TestSignedCursorCodec

    return SignedCursorCodec, TestSignedCursorCodec
