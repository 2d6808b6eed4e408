"""Encrypted cursors, the default: only the server can read them."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import ClassVar

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from partstream.exceptions import InvalidCursor
from partstream.keys import KeyRing

from .base import CursorCodec, Payload, dump, from_base64url, load


class FernetCursorCodec(CursorCodec):
    """Fernet tokens (AES-128-CBC and HMAC-SHA256), without their base64 padding.

    Format: https://github.com/fernet/spec/blob/master/Spec.md

    Args:
        keys: The project's key ring.
    """

    hides_contents: ClassVar[bool] = True

    def __init__(self, *, keys: KeyRing) -> None:
        super().__init__(keys=keys)
        fernets = [Fernet(urlsafe_b64encode(key)) for key in keys.derive("cursors.fernet")]
        self._first = fernets[0]
        self._all = MultiFernet(fernets)

    def seal(self, payload: Payload, *, issued: int, ttl: int) -> str:
        """See `CursorCodec.seal`."""
        token = self._first.encrypt_at_time(dump(payload).encode(), issued)
        return token.rstrip(b"=").decode()

    def unseal(self, token: str) -> tuple[Payload, int]:
        """See `CursorCodec.unseal`."""
        raw = from_base64url(token)
        try:
            data = self._all.decrypt(token + "=" * (-len(token) % 4))
        except InvalidToken as error:
            raise InvalidCursor("it was made under another key, or was changed") from error
        # Authenticated by now: bytes 1 to 8 are the time (the specification's "Timestamp").
        return load(data), int.from_bytes(raw[1:9], "big")
