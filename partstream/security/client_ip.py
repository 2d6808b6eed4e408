"""The client's address: which proxies to trust, and which clients to admit and count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any

from django.http import HttpRequest

from partstream.conf import SETTING, get_settings
from partstream.logs import get_logger
from partstream.per_process import Kept

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

logger = get_logger("partstream.requests")

#: The entry of ``TRUSTED_PROXIES`` for a peer behind a Unix socket.
UNIX = "unix"
#: The maximum number of proxies between a client and this server.
MAX_HOPS = 32
#: All clients whose address cannot be read count as this one.
UNREADABLE = "unreadable"

_LONGEST = 64
_MAPPED = IPv6Network("::ffff:0:0/96")


def parse_address(text: str) -> Address | None:
    """The address in a text, as servers and proxies write it; None if it has none.

    A port, brackets and a zone are removed. An IPv4 address that is mapped into IPv6 becomes that
    IPv4 address.

    Example:
        ``parse_address("[::ffff:192.0.2.7]:443") == IPv4Address("192.0.2.7")``
    """
    text = text.strip(" \t")
    # Longer texts must not fill the cache.
    return _parsed(text) if len(text) <= _LONGEST else None


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Address | None:
    if text.startswith("["):
        text, closing, port = text[1:].partition("]")
        if not closing or (port and not (port.startswith(":") and port[1:].isdecimal())):
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not port.isdecimal():
            return None
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_unix(text: str) -> bool:
    """Whether a server or a proxy means a Unix socket, which has no address."""
    return not text or text == UNIX or text.startswith("unix:")


@lru_cache(maxsize=4096)
def bucket(address: Address | None) -> str:
    """What an address is counted as: IPv6 by its /64, which one household or host usually has."""
    if address is None:
        return UNREADABLE
    if isinstance(address, IPv4Address):
        return str(address)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"


class Networks:
    """Which proxies are trusted, and which clients are admitted.

    Args:
        trusted: Networks (CIDRs) whose ``X-Forwarded-For`` is trusted, and ``"unix"``.
        allowed: Networks whose clients alone are admitted; empty: all clients.
        blocked: Networks whose clients are refused, even if ``allowed`` has them.
    """

    def __init__(
        self,
        trusted: Iterable[str] = (),
        allowed: Iterable[str] = (),
        blocked: Iterable[str] = (),
    ) -> None:
        trusted = tuple(trusted)
        self._trusts_unix = UNIX in trusted
        self._trusted = unmapped_networks(entry for entry in trusted if entry != UNIX)
        self._allowed = unmapped_networks(allowed)
        self._blocked = unmapped_networks(blocked)
        self._warned = False
        #: Whether there is any list that clients must pass.
        self.restricted = bool(self._allowed or self._blocked)

    def client(self, meta: Mapping[str, Any]) -> Address | None:
        """The client's address, from a request's ``META``; None if it cannot be read.

        It is the peer's address, unless the peer is a trusted proxy. Then it is the last hop in
        ``X-Forwarded-For`` that is not a trusted proxy, since each proxy appends the peer it saw.
        The client can write anything before that.
        """
        peer = str(meta.get("REMOTE_ADDR") or "")
        forwarded = meta.get("HTTP_X_FORWARDED_FOR")
        if forwarded is None:
            return parse_address(peer)
        if not self._trusts(peer):
            self._warn(peer)
            return parse_address(peer)
        hops = str(forwarded).rsplit(",", MAX_HOPS)
        for hop in reversed(hops[-MAX_HOPS:]):
            if not self._trusts(hop.strip(" \t")):
                return parse_address(hop)
        # Every hop is a trusted proxy, so the first one is the client.
        return parse_address(hops[0]) if len(hops) <= MAX_HOPS else None

    def admits(self, address: Address | None) -> bool:
        """Whether a client with this address is admitted. An unreadable one is in no list."""
        if address is not None and _contain(self._blocked, address):
            return False
        return not self._allowed or (address is not None and _contain(self._allowed, address))

    def _trusts(self, text: str) -> bool:
        if _is_unix(text):
            return self._trusts_unix
        if not self._trusted:
            return False
        address = parse_address(text)
        return address is not None and _contain(self._trusted, address)

    def _warn(self, peer: str) -> None:
        """Warn once that TRUSTED_PROXIES may lack a proxy."""
        if self._warned:
            return
        address = parse_address(peer)
        if _is_unix(peer) or (address is not None and address.is_private):
            self._warned = True
            logger.warning(
                "A request came from %s with an X-Forwarded-For header, which is not trusted: all "
                "clients behind that peer count as one. If it is your proxy, add %r to "
                "TRUSTED_PROXIES.",
                "a Unix socket" if address is None else address,
                UNIX if address is None else str(address),
            )


def unmapped_networks(entries: Iterable[str]) -> tuple[Network, ...]:
    """The networks; IPv4 networks that are mapped into IPv6 become IPv4 networks."""
    networks: list[Network] = []
    for entry in entries:
        network = ip_network(entry)
        if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
            base = int(network.network_address) & 0xFFFFFFFF
            network = IPv4Network((base, network.prefixlen - 96))
        networks.append(network)
    return tuple(networks)


def _contain(networks: Iterable[Network], address: Address) -> bool:
    return any(address in network for network in networks)


def _make_networks() -> Networks:
    settings = get_settings()
    return Networks(settings.TRUSTED_PROXIES, settings.IP_ALLOWLIST, settings.IP_BLOCKLIST)


#: The project's networks.
get_networks = Kept(_make_networks, SETTING).get


def client_address(request: HttpRequest) -> Address | None:
    """The address of a request's client, by the project's networks; None: it cannot be read."""
    return get_networks().client(request.META)
