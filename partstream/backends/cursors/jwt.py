"""Cursors as JSON Web Tokens, for gateways that want to see one. Needs PyJWT, the extra ``jwt``."""

from __future__ import annotations

import time
from typing import Any

import jwt

from partstream.exceptions import CursorExpired, InvalidCursor
from partstream.keys import KeyRing

from .base import CursorCodec, Payload, dump, to_base64url

_ALGORITHM = "HS256"
_AUDIENCE = "partstream"
#: An explicit type (RFC 8725, section 3.11): no other JWT of the project passes for a cursor.
_TYPE = "partstream-cursor+jwt"
_HEADER = to_base64url(dump({"alg": _ALGORITHM, "typ": _TYPE}).encode()) + "."
_CLAIMS = {"aud", "exp", "iat", "sub", "cur"}


class JWTCursorCodec(CursorCodec):
    """HS256 tokens (RFC 7519) with the claims ``aud``, ``exp``, ``iat``, ``sub`` and ``cur``.

    ``sub`` is the cursor's binding, ``cur`` the rest of the payload. The header is one constant:
    a token with any other (``alg``, ``kid``, ``crit``, …) is refused before PyJWT sees it.
    Both ``iat`` with the view's ``cursor_ttl`` and ``exp`` end its life, whichever is first.

    Args:
        keys: The project's key ring.
    """

    def __init__(self, *, keys: KeyRing) -> None:
        super().__init__(keys=keys)
        self._keys = keys.derive("cursors.jwt")
        self._jwt = jwt.PyJWT(
            options={
                "require": sorted(_CLAIMS),
                "strict_aud": True,
                "enforce_minimum_key_length": True,
                # Checked below: PyJWT's leeway for the one would stretch the other.
                "verify_exp": False,
                "verify_iat": False,
            }
        )

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
        return self._jwt.encode(claims, self._keys[0], _ALGORITHM, headers={"typ": _TYPE})

    def unseal(self, token: str) -> tuple[Payload, int]:
        """See `CursorCodec.unseal`."""
        if not token.startswith(_HEADER):
            raise InvalidCursor("the header is not that of a cursor")
        claims = self._claims(token)
        issued, expires = claims["iat"], claims["exp"]
        if claims.keys() != _CLAIMS or type(issued) is not int or type(expires) is not int:
            raise InvalidCursor("the claims are not those of a cursor")
        if int(time.time()) > expires:
            raise CursorExpired("the token is past its exp")
        return [*claims["cur"], claims["sub"]], issued

    def _claims(self, token: str) -> dict[str, Any]:
        for key in self._keys:
            try:
                return self._jwt.decode(token, key, [_ALGORITHM], audience=_AUDIENCE)
            except jwt.InvalidSignatureError:
                continue
        raise InvalidCursor("the signature does not match")
