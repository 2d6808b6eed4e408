"""The contract of the cursor codecs."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from typing import Any, ClassVar

from partstream.exceptions import CursorError, CursorExpired, InvalidCursor, ProbeFailed
from partstream.json_encoders import keep
from partstream.keys import KeyRing

from ..base import Backend

#: The payload of a token: a JSON array of strings and whole numbers; the last item is the binding.
Payload = list[Any]

#: Seconds that a token may be ahead of this machine's clock.
MAX_CLOCK_SKEW = 60

#: What `CursorCodec.probe` encodes: it has a cursor's types, and is no valid cursor.
_PROBED: Payload = [0, "0" * 16, 1, "", 2, "d" * 16, "b" * 22]

#: A payload as compact JSON.
dump: Callable[[Any], str] = keep(json.JSONEncoder(separators=(",", ":"), allow_nan=False))

_TO_URL, _FROM_URL = bytes.maketrans(b"+/", b"-_"), bytes.maketrans(b"-_", b"+/")

_decode = json.JSONDecoder().raw_decode


def load(data: bytes) -> Any:
    """What `dump` wrote, in UTF-8. Spaces around it are refused, as any other spelling is.

    Raises:
        ValueError: When it is not JSON, or not JSON alone.
    """
    text = data.decode()
    value, end = _decode(text)
    if end != len(text):
        raise ValueError("there is more than one JSON text")
    return value


def to_base64url(data: bytes) -> str:
    """URL-safe base64 without padding (RFC 7515, appendix C)."""
    return b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """The bytes of an unpadded base64url text in its canonical form.

    Raises:
        InvalidCursor: When it is not base64, or encoding the bytes again gives a different text.
    """
    try:
        data = a2b_base64(text.encode().translate(_FROM_URL) + b"=" * (-len(text) % 4))
    except ValueError as error:
        raise InvalidCursor("the token is not base64url") from error
    if to_base64url(data) != text:
        raise InvalidCursor("the token is not spelt canonically")
    return data


class CursorCodec(Backend, ABC):
    """Turns a payload into a token and back; the token includes the time when it was made.

    A subclass implements `seal` and `unseal`. This class checks the time, and turns whatever they
    raise into the two errors of the contract. A token consists of RFC 3986's unreserved characters
    (``A-Z a-z 0-9 - . _ ~``) and has exactly one valid spelling: `unseal` refuses all others.

    Args:
        keys: The project's key ring; derive a key with a label of your own.
    """

    #: Whether the contents of a token are hidden from its holder.
    hides_contents: ClassVar[bool] = False

    def __init__(self, *, keys: KeyRing) -> None:
        self.keys = keys

    @abstractmethod
    def seal(self, payload: Payload, *, issued: int, ttl: int) -> str:
        """The token of a payload.

        Args:
            payload: A JSON array whose last item is the binding.
            issued: When the token is made, in seconds since 1970.
            ttl: Seconds for which it should be valid.
        """

    @abstractmethod
    def unseal(self, token: str) -> tuple[Payload, int]:
        """The payload of a token, and when it was issued.

        Raises:
            CursorError: When the token was not made by `seal` under a key of the ring.
            Exception: Anything else is treated as `InvalidCursor`.
        """

    def encode(self, payload: Payload, ttl: int) -> str:
        """A token of this payload, made now. ``ttl`` in seconds."""
        return self.seal(payload, issued=int(time.time()), ttl=ttl)

    def decode(self, token: str, ttl: int) -> Payload:
        """The payload of a token that is at most ``ttl`` seconds old.

        Raises:
            CursorExpired: When the token is valid, but older.
            InvalidCursor: In every other case.
        """
        try:
            payload, issued = self.unseal(token)
            age = int(time.time()) - issued
        except CursorError:
            raise
        except Exception as error:
            raise InvalidCursor(f"the codec refused the token: {type(error).__name__}") from error
        if age < -MAX_CLOCK_SKEW:
            raise InvalidCursor("the token was issued in the future")
        if age > ttl:
            raise CursorExpired(f"the token is {age} s old, its time to live {ttl} s")
        return payload

    def probe(self) -> None:
        """Encode a payload and decode its token.

        Raises:
            ProbeFailed: When the token holds another payload.
            Exception: Whatever `seal` and `decode` raise.
        """
        if self.decode(self.encode(_PROBED, MAX_CLOCK_SKEW), MAX_CLOCK_SKEW) != _PROBED:
            raise ProbeFailed("a token was decoded to another payload")
