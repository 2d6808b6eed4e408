"""The client's address: whom to believe, whom to admit, whom to count."""

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
#: Proxies between a client and this server, at the most.
MAX_HOPS = 32
#: What all clients count as whose address cannot be read.
UNREADABLE = "unreadable"

_LONGEST = 64
_MAPPED = IPv6Network("::ffff:0:0/96")


def parse_address(text: str) -> Address | None:
    """The address in a text as servers and proxies write it; None where there is none.

    A port, brackets and a zone are left off, and an IPv4 address that is mapped into IPv6 is that
    IPv4 address.

    Example:
        ``parse_address("[::ffff:192.0.2.7]:443") == IPv4Address("192.0.2.7")``
    """
    text = text.strip(" \t")
    # Longer ones are not kept either.
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
    """Whether a server or a proxy means a socket that has no address."""
    return not text or text == UNIX or text.startswith("unix:")


@lru_cache(maxsize=4096)
def bucket(address: Address | None) -> str:
    """What an address counts as: IPv6 by its /64, which is what one household or host has."""
    if address is None:
        return UNREADABLE
    if isinstance(address, IPv4Address):
        return str(address)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"


class Networks:
    """Which peers are believed, and which clients are admitted.

    Args:
        trusted: CIDRs whose ``X-Forwarded-For`` is believed, and ``"unix"``.
        allowed: CIDRs of which alone clients are admitted; none: of all.
        blocked: CIDRs whose clients are not, those of ``allowed`` too.
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
        #: Whether there is a list at all that a client has to pass.
        self.restricted = bool(self._allowed or self._blocked)

    def client(self, meta: Mapping[str, Any]) -> Address | None:
        """The client's address, from a request's ``META``; None where it cannot be read.

        It is that of the peer, unless the peer is a trusted proxy: then that of the last hop of
        ``X-Forwarded-For`` that no trusted proxy is, as each of them adds the peer it saw at the
        end. What stands before is whatever the client wrote.
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
        # Every hop is one of our own: the first of them asks for itself.
        return parse_address(hops[0]) if len(hops) <= MAX_HOPS else None

    def admits(self, address: Address | None) -> bool:
        """Whether a client of this address is admitted; one that cannot be read is in no list."""
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
        """Say once that a proxy may have been forgotten."""
        if self._warned:
            return
        address = parse_address(peer)
        if _is_unix(peer) or (address is not None and address.is_private):
            self._warned = True
            logger.warning(
                "A request came by way of %s with an X-Forwarded-For, which is not believed: all "
                "clients behind that peer count as one. If it is your proxy, add %r to "
                "TRUSTED_PROXIES.",
                "a Unix socket" if address is None else address,
                UNIX if address is None else str(address),
            )


def unmapped_networks(entries: Iterable[str]) -> tuple[Network, ...]:
    """The networks; those of IPv4 that are mapped into IPv6 are IPv4's."""
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
get_networks = Kept(_make_networks, SETTING)


def client_address(request: HttpRequest) -> Address | None:
    """The address of a request's client, by the project's networks; None: it cannot be read."""
    return get_networks().client(request.META)
