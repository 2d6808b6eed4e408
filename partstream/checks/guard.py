"""What `manage.py check` says of identity, addresses, limits and secrets."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import Any

from django.conf import settings as django_settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from partstream.conf import get_problems, get_settings
from partstream.exceptions import Misuse
from partstream.identity import get_identity_function
from partstream.security.client_ip import UNIX, Network, unmapped_networks
from partstream.setting_kinds import SHORTEST_SECRET

Messages = list[checks.CheckMessage]


def check_identity(**_: Any) -> Messages:
    """Whether the function of ``IDENTITY`` can be imported, and called with a request."""
    if get_problems() or get_settings().IDENTITY is None:
        return []
    try:
        get_identity_function()
    except Misuse as error:
        hint = "It is a function of (request) that returns a string, or None."
        return [checks.Error(str(error), hint=hint, id="partstream.E011")]
    return []


def check_guard(**_: Any) -> Messages:
    """Whether the guard believes whom it should not."""
    if get_problems():
        return []
    trusted = [entry for entry in get_settings().TRUSTED_PROXIES if entry != UNIX]
    networks = unmapped_networks(trusted)
    four = [network for network in networks if isinstance(network, IPv4Network)]
    six = [network for network in networks if isinstance(network, IPv6Network)]
    together: list[Network] = [*collapse_addresses(four), *collapse_addresses(six)]
    return [
        checks.Warning(
            f"TRUSTED_PROXIES has all of IPv{network.version}: any client can name any address as "
            "its own.",
            hint="List the networks of your own proxies.",
            id="partstream.W011",
        )
        for network in together
        if network.prefixlen == 0
    ]


def check_guard_for_production(**_: Any) -> Messages:
    """What of the guard is switched off, or weak."""
    if get_problems():
        return []
    settings = get_settings()
    unlimited = settings.RATE_LIMIT is None and settings.BURST_LIMIT is None
    shortest = min(map(len, _secrets()), default=SHORTEST_SECRET)
    doubts = [
        (
            unlimited or not settings.ENABLE_RATE_LIMITING,
            "Nothing limits how often a client may ask.",
            "Set ENABLE_RATE_LIMITING, and RATE_LIMIT or BURST_LIMIT.",
            "partstream.W012",
        ),
        (
            settings.RATE_LIMIT_ON_STORE_ERROR == "open",
            "While the rate-limit store is down, every request passes uncounted.",
            'Set RATE_LIMIT_ON_STORE_ERROR to "local" or "closed".',
            "partstream.W013",
        ),
        (
            not settings.ENABLE_AUDIT_LOGGING,
            "Refused requests leave no audit trail.",
            "Set ENABLE_AUDIT_LOGGING, and a handler for the logger partstream.audit.",
            "partstream.W014",
        ),
        (
            shortest < SHORTEST_SECRET,
            f"Cursors hang on SECRET_KEY and its fallbacks; one has {shortest} characters.",
            f"Make each {SHORTEST_SECRET} random characters or more, or set CURSOR_KEYS.",
            "partstream.W015",
        ),
    ]
    return [
        checks.Warning(message, hint=hint, id=identifier)
        for found, message, hint, identifier in doubts
        if found
    ]


def _secrets() -> list[str | bytes]:
    """The secrets of Django that cursors hang on; none where it has a check of its own to say."""
    try:
        if get_settings().CURSOR_KEYS is None:
            return [django_settings.SECRET_KEY, *django_settings.SECRET_KEY_FALLBACKS]
    except ImproperlyConfigured:
        return []
    return []
