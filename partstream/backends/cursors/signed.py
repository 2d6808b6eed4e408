"""Signed cursors: they cannot be forged, but their holder can read them. Needs only Django."""

from __future__ import annotations

import re

from django.core.signing import BadSignature, Signer

from partstream.exceptions import InvalidCursor
from partstream.keys import KeyRing

from .base import CursorCodec, Payload, dump, from_base64url, load, to_base64url

_ISSUED = re.compile(r"0|[1-9][0-9]{0,15}")


class SignedCursorCodec(CursorCodec):
    """Tokens ``payload.issued.signature``, signed by ``django.core.signing``'s HMAC-SHA256.

    The payload is base64url of the JSON, never compressed; ``issued`` is in decimal seconds.

    Args:
        keys: The project's key ring.
    """

    def __init__(self, *, keys: KeyRing) -> None:
        super().__init__(keys=keys)
        first, *others = keys.derive("cursors.signed")
        fallbacks: list[bytes | str] = [*others]
        self._signer = Signer(
            key=first, fallback_keys=fallbacks, sep=".", salt="partstream", algorithm="sha256"
        )

    def seal(self, payload: Payload, *, issued: int, ttl: int) -> str:
        """See `CursorCodec.seal`."""
        return self._signer.sign(f"{to_base64url(dump(payload).encode())}.{issued}")

    def unseal(self, token: str) -> tuple[Payload, int]:
        """See `CursorCodec.unseal`."""
        try:
            value = self._signer.unsign(token)
        except BadSignature as error:
            raise InvalidCursor("the signature does not match") from error
        encoded, issued = value.split(".")
        if not _ISSUED.fullmatch(issued):
            raise InvalidCursor("the time is not in the form that this codec writes")
        return load(from_base64url(encoded)), int(issued)
