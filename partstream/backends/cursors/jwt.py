"""Cursors as JSON Web Tokens, for gateways that expect them. Needs PyJWT, the extra ``jwt``."""

from __future__ import annotations

import time

import jwt

from partstream.exceptions import CursorExpired, InvalidCursor
from partstream.keys import KeyRing

from .base import CursorCodec, Payload, dump, load, to_base64url

_ALGORITHM = "HS256"
_AUDIENCE = "partstream"
#: An explicit type (RFC 8725, section 3.11): no other JWT of the project is valid as a cursor.
_TYPE = "partstream-cursor+jwt"
_HEADER = to_base64url(dump({"alg": _ALGORITHM, "typ": _TYPE}).encode()) + "."
#: The latest time: JSON readers do not agree on larger whole numbers (RFC 8259, 6).
_LATEST = 2**53
_CLAIMS = {"aud", "exp", "iat", "sub", "cur"}


class JWTCursorCodec(CursorCodec):
    """HS256 tokens (RFC 7519) with the claims ``aud``, ``exp``, ``iat``, ``sub`` and ``cur``.

    ``sub`` is the cursor's binding, and ``cur`` the rest of the payload. The header is constant: a
    token with any other header (``alg``, ``kid``, ``crit``, …) is refused before PyJWT sees it.
    A token expires after the view's ``cursor_ttl``, counted from ``iat``, or at ``exp``, whichever
    comes first.

    Args:
        keys: The project's key ring.
    """

    def __init__(self, *, keys: KeyRing) -> None:
        super().__init__(keys=keys)
        self._keys = keys.derive("cursors.jwt")
        # PyJWT verifies the signature. The claims are verified here, against a closed schema:
        # PyJWT checks less, and its leeway for iat would extend exp too.
        self._jws = jwt.PyJWS([_ALGORITHM], {"enforce_minimum_key_length": True})

    def seal(self, payload: Payload, *, issued: int, ttl: int) -> str:
        """See `CursorCodec.seal`."""
        *rest, binding = payload
        claims = {
            "aud": _AUDIENCE,
            "exp": issued + ttl,
            "iat": issued,
            "sub": binding,
            "cur": rest,
        }
        return self._jws.encode(dump(claims).encode(), self._keys[0], _ALGORITHM, {"typ": _TYPE})

    def unseal(self, token: str) -> tuple[Payload, int]:
        """See `CursorCodec.unseal`."""
        if not token.startswith(_HEADER) or "=" in token:
            raise InvalidCursor("the header or the spelling is not that of a cursor")
        claims = load(self._verified(token))
        if type(claims) is not dict or claims.keys() != _CLAIMS or claims["aud"] != _AUDIENCE:
            raise InvalidCursor("the claims are not those of a cursor")
        issued, expires, rest = claims["iat"], claims["exp"], claims["cur"]
        if (
            type(issued) is not int
            or type(expires) is not int
            or type(rest) is not list
            or not 0 <= issued < expires < _LATEST
        ):
            raise InvalidCursor("a claim of the token is malformed")
        if int(time.time()) > expires:
            raise CursorExpired("the token is past its exp")
        return [*rest, claims["sub"]], issued

    def _verified(self, token: str) -> bytes:
        for key in self._keys:
            try:
                payload: bytes = self._jws.decode(token, key, [_ALGORITHM])
            except jwt.InvalidSignatureError:
                continue
            return payload
        raise InvalidCursor("the signature does not match")
