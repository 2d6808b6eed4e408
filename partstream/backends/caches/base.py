"""The contract of the cache stores."""

from __future__ import annotations

import hmac
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from secrets import token_bytes, token_hex
from typing import Any

from partstream.exceptions import ProbeFailed
from partstream.keys import KeyRing
from partstream.logs import get_logger

from ..base import Backend
from ..breakers import Breaker
from ..faults import Fault, fault_of

logger = get_logger("partstream.stores")

# An entry is one of these headers (a name, the format's version, the kind), a proof, and the body.
_SIGNED = b"psf\x01s"  # Proof: HMAC-SHA256, 32 bytes, since other processes can write the entry.
_COUNTED = b"psf\x01c"  # Proof: the body's length, 8 bytes. It reveals truncated entries.
_SIGNED_SIZE = len(_SIGNED) + 32
_COUNTED_SIZE = len(_COUNTED) + 8

#: Seconds that the entry of a probe lives if it cannot be removed.
_PROBE_TTL = 10
#: Seconds between the attempts of a probe to find its entry: a cache may read from a replica.
_PROBE_PAUSES = (0.05, 0.2, 0.5)


class CacheStore(Backend, ABC):
    """Keeps fragments (JSON bytes) and small lock entries for a while, under short ASCII keys.

    A subclass implements the five methods over raw entries, `read` to `remove`, and sets the flags.
    Its methods may raise anything. This class provides what callers use. An entry has a header and,
    if other processes could have written it, a message authentication code over its key and body;
    an invalid entry is a miss and a line in the log. So is a failure of the service behind the
    store, which is then not used for a while (see ``Breaker``). If a single call fails through its
    own fault, for example because of an entry that is too large, the store stays in use; `fault_of`
    tells the two apart. Callers never see an exception of the store, and all threads of a process
    share one instance of it.

    Keys are used unchanged, so they must be printable ASCII without spaces, have up to 200
    characters, and begin with a prefix that nothing else uses.

    Args:
        keys: The project's key ring. The first key signs entries, and every key verifies them.
        max_size: The maximum size of a body in bytes; longer ones are not kept.
        retry_after: Seconds for which the store is not used after a failure.
    """

    #: Whether other processes see the same entries.
    shared: bool
    #: Whether `add` succeeds for exactly one of many simultaneous callers.
    atomic_add: bool
    #: Whether the store keeps anything at all.
    keeps: bool = True

    def __init__(self, *, keys: KeyRing, max_size: int, retry_after: float = 2) -> None:
        self._max_size = max_size
        # Kept as templates: copying one is faster than starting again from the key.
        self._codes = tuple(hmac.new(key, digestmod="sha256") for key in keys.derive("cache"))
        self._breaker = Breaker(type(self).__name__, retry_after, fault_of=self.fault_of)

    def fault_of(self, error: Exception) -> Fault:
        """Whose fault an exception of the methods below is.

        Override it if your client raises exceptions that `partstream.backends.faults.fault_of`
        does not know. A method may also raise ``CallFault`` or ``ServiceFault`` of that module.
        """
        return fault_of(error)

    # Called by users of the store

    def get(self, key: str) -> bytes | None:
        """The body stored under the key, if there is one."""
        entry = self._breaker.call(self.read, [key], otherwise={}).get(key)
        return None if entry is None else self._opened(key, entry)

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The bodies stored under these keys, in one round trip; none if there are no keys."""
        asked = list(keys)
        if not asked:
            return {}
        entries = self._breaker.call(self.read, asked, otherwise={})
        found: dict[str, bytes] = {}
        for key in asked:
            entry = entries.get(key)
            if entry is not None and (body := self._opened(key, entry)) is not None:
                found[key] = body
        return found

    def set_many(self, entries: Mapping[str, bytes], ttl: int) -> bool:
        """Store these bodies, in one round trip; a body that is too long is left out.

        Args:
            entries: Bodies by their keys.
            ttl: Whole seconds, 1 or more.

        Returns:
            Whether all of them were stored.
        """
        sealed = {}
        for key, body in entries.items():
            if len(body) > self._max_size:
                logger.debug("%r is not kept: it has %d bytes.", key, len(body))
            else:
                sealed[key] = self._sealed(key, body)
        if not sealed:
            return not entries
        written = self._breaker.call(self._written, sealed, ttl, otherwise=False)
        return written and self.keeps and len(sealed) == len(entries)

    def add(self, key: str, value: bytes, ttl: int) -> bool:
        """Store a short value unless the key has one already; return whether it was stored.

        Also True if the store is down or the call fails: then no caller should wait for
        another one.

        Args:
            key: The key.
            value: A short body.
            ttl: Whole seconds, 1 or more.
        """
        return self._breaker.call(self.reserve, key, self._sealed(key, value), ttl, otherwise=True)

    def add_and_get(
        self, key: str, value: bytes, ttl: int, other: str
    ) -> tuple[bool, bytes | None]:
        """`add`, and then `get` another key; in one round trip if the store can do that.

        Returns:
            What `add` returns. If that is True, also the body under ``other``, if there is one.
        """
        added, entry = self._breaker.call(
            self.reserve_and_read, key, self._sealed(key, value), ttl, other, otherwise=(True, None)
        )
        return added, None if entry is None else self._opened(other, entry)

    def touch(self, key: str, ttl: int) -> None:
        """Keep an existing entry for ``ttl`` seconds from now (whole seconds, 1 or more)."""
        self._breaker.call(self.extend, key, ttl, otherwise=None)

    def delete(self, key: str) -> None:
        """Delete the entry."""
        self._breaker.call(self.remove, key, otherwise=None)

    def probe(self) -> None:
        """Write an entry, read it and remove it, past the breaker; nothing if the store keeps none.

        Raises:
            ProbeFailed: When the entry is not found again, or has changed.
            Exception: Whatever `read`, `write` and `remove` raise.
        """
        if not self.keeps:
            return
        key = f"partstream.probe.{token_hex(8)}"
        sealed = self._sealed(key, token_bytes(16))
        self.write({key: sealed}, _PROBE_TTL)
        found = self.read([key]).get(key)
        for pause in _PROBE_PAUSES:
            if found is not None:
                break
            time.sleep(pause)
            found = self.read([key]).get(key)
        self.remove(key)
        if found is None:
            raise ProbeFailed("an entry was written, and not found again")
        if found != sealed:
            raise ProbeFailed("an entry was written, and came back changed")

    def _written(self, entries: dict[str, bytes], ttl: int) -> bool:
        self.write(entries, ttl)
        return True

    # Implemented by subclasses

    @abstractmethod
    def read(self, keys: list[str]) -> Mapping[str, Any]:
        """The raw entries that exist, by their keys; there is at least one key."""

    @abstractmethod
    def write(self, entries: dict[str, bytes], ttl: int) -> None:
        """Store these raw entries for ``ttl`` seconds; there is at least one."""

    @abstractmethod
    def reserve(self, key: str, entry: bytes, ttl: int) -> bool:
        """Store a raw entry unless the key has one already; return whether it was stored."""

    def reserve_and_read(self, key: str, entry: bytes, ttl: int, other: str) -> tuple[bool, Any]:
        """`reserve`, and if that stored the entry, the raw entry under ``other``, or None.

        Override it if one round trip can do both, in this order.
        """
        stored = self.reserve(key, entry, ttl)
        return stored, self.read([other]).get(other) if stored else None

    @abstractmethod
    def extend(self, key: str, ttl: int) -> None:
        """Let the entry live for ``ttl`` seconds from now."""

    @abstractmethod
    def remove(self, key: str) -> None:
        """Delete the entry."""

    # Entries

    def _sealed(self, key: str, body: bytes) -> bytes:
        if self.shared:
            return b"".join((_SIGNED, self._code(self._codes[0], key, body), body))
        return b"".join((_COUNTED, len(body).to_bytes(8, "big"), body))

    def _opened(self, key: str, entry: object) -> bytes | None:
        fault = self._fault(key, entry)
        if fault is None and isinstance(entry, bytes):
            return entry[_SIGNED_SIZE if self.shared else _COUNTED_SIZE :]
        # Anything may have written the content, so only the key is logged.
        logger.warning("The cache's entry %r is not used: %s.", key, fault)
        return None

    def _fault(self, key: str, entry: object) -> str | None:
        """Why an entry cannot be used; None if it can."""
        if not isinstance(entry, bytes):
            return f"it is {type(entry).__name__}, not bytes"
        header, size = (_SIGNED, _SIGNED_SIZE) if self.shared else (_COUNTED, _COUNTED_SIZE)
        if len(entry) > size + self._max_size:
            return f"it has {len(entry)} bytes"
        if len(entry) < size or not entry.startswith(header):
            return "it was not written by this version of partstream, or was cut short"
        proof, body = entry[len(header) : size], memoryview(entry)[size:]
        if not self.shared:
            return None if int.from_bytes(proof, "big") == len(body) else "it was cut short"
        if any(hmac.compare_digest(proof, self._code(code, key, body)) for code in self._codes):
            return None
        return "it was altered, or signed with a secret that this process does not have"

    @staticmethod
    def _code(code: hmac.HMAC, key: str, body: bytes | memoryview) -> bytes:
        """The HMAC of key and body, joined so that no other pair gives the same."""
        code = code.copy()
        name = key.encode()
        code.update(b"%b%d:%b" % (_SIGNED, len(name), name))
        code.update(body)
        return code.digest()
