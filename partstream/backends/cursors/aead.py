"""Encrypted cursors that are shorter and faster than Fernet's, with AES-SIV."""

from __future__ import annotations

from typing import ClassVar

from cryptography.exceptions import InternalError, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from partstream.exceptions import InvalidCursor, Misuse
from partstream.keys import KeyRing

from .base import CursorCodec, Payload, dump, from_base64url, load, to_base64url

#: AES-256-SIV takes two keys of 32 bytes (RFC 5297, section 2.1).
_KEY_SIZE = 64
#: Bytes of the time before the payload.
_TIME_SIZE = 8


class AESSIVCursorCodec(CursorCodec):
    """AES-256-SIV tokens (RFC 5297): base64url of the tag, then the encrypted time and payload.

    The 16 bytes of the tag authenticate everything. The first 8 encrypted bytes are the seconds
    since 1970, big-endian; the rest is the JSON of the payload.

    The encryption is deterministic, and has no nonce that could be used twice. Two tokens are equal
    only if they are for the same position of the same walk, under the same key, and were made in
    the same second. There is no padding: the length of a token tells that of its payload.

    Args:
        keys: The project's key ring.

    Raises:
        Misuse: When the installed cryptography or its OpenSSL has no AES-SIV.
    """

    hides_contents: ClassVar[bool] = True

    def __init__(self, *, keys: KeyRing) -> None:
        super().__init__(keys=keys)
        try:
            self._ciphers = [AESSIV(key) for key in keys.derive("cursors.aead", _KEY_SIZE)]
        except (InternalError, UnsupportedAlgorithm) as error:
            # InternalError: OpenSSL was built or configured without it.
            raise Misuse(
                "the installed cryptography has no AES-SIV, which needs OpenSSL 3.0 or newer and "
                "no FIPS mode. Install a wheel of cryptography, or use FernetCursorCodec."
            ) from error
        self._first = self._ciphers[0]

    def seal(self, payload: Payload, *, issued: int, ttl: int) -> str:
        """See `CursorCodec.seal`."""
        data = issued.to_bytes(_TIME_SIZE, "big") + dump(payload).encode()
        return to_base64url(self._first.encrypt(data, None))

    def unseal(self, token: str) -> tuple[Payload, int]:
        """See `CursorCodec.unseal`."""
        sealed = from_base64url(token)
        for cipher in self._ciphers:
            try:
                data = cipher.decrypt(sealed, None)
            except InvalidTag:
                continue
            return load(data[_TIME_SIZE:]), int.from_bytes(data[:_TIME_SIZE], "big")
        raise InvalidCursor("it was made under another key, or was changed")
