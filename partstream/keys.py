"""The key ring: the project's secrets, and the keys derived from them, one for each use.

A secret never signs or encrypts anything itself. Each use (a codec, the digest of the names, the
binding, …) has a label, and its key is HKDF-SHA256 (RFC 5869) of the secret with that label. So
a value made for one use is never accepted by another.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import blake2b

from django.conf import settings as django_settings
from django.utils.encoding import force_bytes

from .conf import SETTING, get_settings
from .exceptions import Misuse
from .per_process import Kept

_SALT = b"django-partstream"

#: Bytes of a key, unless its use needs more.
KEY_SIZE = 32
#: 255 blocks of SHA-256 (RFC 5869, section 2.3).
_MAX_KEY_SIZE = 8160


def hkdf(secret: bytes, label: str, size: int = KEY_SIZE) -> bytes:
    """A key: HKDF-SHA256 (RFC 5869).

    Args:
        secret: The input keying material.
        label: The label of the use, HKDF's ``info``.
        size: Bytes of the key, from 1 to 8,160.

    Raises:
        Misuse: When the size is out of this range.
    """
    if not 1 <= size <= _MAX_KEY_SIZE:
        raise Misuse(f"a key of {size} bytes cannot be derived: give a size from 1 to 8160.")
    pseudorandom_key = hmac.digest(_SALT, secret, "sha256")
    key = block = b""
    for number in range(1, -(-size // 32) + 1):
        block = hmac.digest(pseudorandom_key, block + label.encode() + bytes([number]), "sha256")
        key += block
    return key[:size]


def keyed_digest(key: bytes, message: bytes, size: int = 16) -> str:
    """A digest that only the holder of the key can make, with keyed BLAKE2b (RFC 7693).

    Args:
        key: At most 64 bytes.
        message: The bytes to digest.
        size: Bytes of the digest, 64 at most.

    Returns:
        Unpadded base64url: 22 characters for 16 bytes.
    """
    digest = blake2b(message, key=key, digest_size=size).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


class KeyRing:
    """Secrets in order: the first makes new values, and all of them verify existing ones.

    Args:
        secrets: At least one.

    Example:
        ``KeyRing([b"new secret", b"old secret"]).derive("binding")``
    """

    def __init__(self, secrets: list[bytes]) -> None:
        self._secrets = tuple(secrets)
        self._derived: dict[str | tuple[str, int], tuple[bytes, ...]] = {}

    def derive(self, label: str, size: int = KEY_SIZE) -> tuple[bytes, ...]:
        """The keys for this use, one for each secret, derived once per process.

        Keys of one label and different sizes begin with the same bytes, so a label is for one size.

        Args:
            label: The label of the use.
            size: Bytes of each key, from 1 to 8,160.

        Raises:
            Misuse: When the size is out of this range.
        """
        use = label if size == KEY_SIZE else (label, size)
        try:
            return self._derived[use]
        except KeyError:
            keys = tuple(hkdf(secret, label, size) for secret in self._secrets)
            return self._derived.setdefault(use, keys)


def _make_ring() -> KeyRing:
    secrets: Sequence[str | bytes] = get_settings().CURSOR_KEYS or (
        django_settings.SECRET_KEY,
        *django_settings.SECRET_KEY_FALLBACKS,
    )
    if not all(secrets):
        raise Misuse(
            "SECRET_KEY_FALLBACKS has an empty secret, so anybody could forge cursors. Remove it."
        )
    return KeyRing([force_bytes(secret) for secret in secrets])


#: Returns the ring of ``CURSOR_KEYS``, or of ``SECRET_KEY`` and ``SECRET_KEY_FALLBACKS``. It raises
#: `Misuse` when a setting is invalid.
get_key_ring = Kept(_make_ring, SETTING, "SECRET_KEY", "SECRET_KEY_FALLBACKS").get
