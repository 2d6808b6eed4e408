"""What ``manage.py check`` reports about identity, addresses, limits and secrets."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import Any

from django.conf import settings as django_settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from partstream.conf import get_problems, get_settings
from partstream.exceptions import Misuse
from partstream.identity import get_identity_function
from partstream.request_ids import get_request_id_function
from partstream.security import audit
from partstream.security.client_ip import UNIX, Network, unmapped_networks
from partstream.setting_kinds import SHORTEST_SECRET

Messages = list[checks.CheckMessage]


def check_identity(**_: Any) -> Messages:
    """Check that the ``IDENTITY`` function can be imported, and called with a request."""
    if get_problems() or get_settings().IDENTITY is None:
        return []
    return _function_errors(get_identity_function, "partstream.E011")


def check_request_id(**_: Any) -> Messages:
    """Check that the ``REQUEST_ID`` function can be imported, and called with a request."""
    if get_problems() or get_settings().REQUEST_ID is None:
        return []
    return _function_errors(get_request_id_function, "partstream.E013")


def _function_errors(get_function: Callable[[], Any], identifier: str) -> Messages:
    try:
        get_function()
    except Misuse as error:
        hint = "Write a function of (request) that returns a string or None."
        return [checks.Error(str(error), hint=hint, id=identifier)]
    return []


def check_guard(**_: Any) -> Messages:
    """Check that the guard trusts only proxies."""
    if get_problems():
        return []
    trusted = [entry for entry in get_settings().TRUSTED_PROXIES if entry != UNIX]
    networks = unmapped_networks(trusted)
    four = [network for network in networks if isinstance(network, IPv4Network)]
    six = [network for network in networks if isinstance(network, IPv6Network)]
    together: list[Network] = [*collapse_addresses(four), *collapse_addresses(six)]
    return [
        checks.Warning(
            f"TRUSTED_PROXIES covers all of IPv{network.version}, so any client can claim any "
            "address.",
            hint="List only the networks of your own proxies.",
            id="partstream.W011",
        )
        for network in together
        if network.prefixlen == 0
    ]


def check_guard_for_production(**_: Any) -> Messages:
    """Check for protections that are switched off or weak."""
    if get_problems():
        return []
    settings = get_settings()
    unlimited = not settings.ENABLE_RATE_LIMITING or (
        settings.RATE_LIMIT is None and settings.BURST_LIMIT is None
    )
    shortest = min(map(len, _secrets()), default=SHORTEST_SECRET)
    doubts = [
        (
            unlimited,
            "Requests are not limited at all.",
            "Set ENABLE_RATE_LIMITING to True, and set RATE_LIMIT or BURST_LIMIT.",
            "partstream.W012",
        ),
        (
            settings.RATE_LIMIT_ON_STORE_ERROR == "open",
            "While the rate-limit store is down, every request is admitted uncounted.",
            'Set RATE_LIMIT_ON_STORE_ERROR to "local" or "closed".',
            "partstream.W013",
        ),
        (
            not settings.ENABLE_AUDIT_LOGGING,
            "Refused requests leave no audit trail.",
            "Set ENABLE_AUDIT_LOGGING to True, and configure a handler for partstream.audit.",
            "partstream.W014",
        ),
        (
            settings.ENABLE_AUDIT_LOGGING and not audit.has_handler(),
            "Refused requests leave no audit trail: the logger partstream.audit has no handler.",
            "Give it one of your handlers, under loggers in LOGGING: "
            '"partstream.audit": {"handlers": ["console"], "level": "WARNING"}.',
            "partstream.W014",
        ),
        (
            not unlimited and not settings.TRUSTED_PROXIES,
            "TRUSTED_PROXIES is empty, so clients without a login are counted by the address of "
            "their connection. Behind a proxy that is the proxy's: all of them share one limit.",
            "List the addresses of your proxies in TRUSTED_PROXIES. If clients connect to Django "
            'directly, add "partstream.W020" to SILENCED_SYSTEM_CHECKS.',
            "partstream.W020",
        ),
        (
            shortest < SHORTEST_SECRET,
            f"Cursors depend on SECRET_KEY and its fallbacks; one has only {shortest} characters.",
            f"Make each at least {SHORTEST_SECRET} random characters long, or set CURSOR_KEYS.",
            "partstream.W015",
        ),
    ]
    return [
        checks.Warning(message, hint=hint, id=identifier)
        for found, message, hint, identifier in doubts
        if found
    ]


def _secrets() -> list[str | bytes]:
    """Django's secrets that cursors depend on; none if Django's own checks report them."""
    try:
        if get_settings().CURSOR_KEYS is None:
            return [django_settings.SECRET_KEY, *django_settings.SECRET_KEY_FALLBACKS]
    except ImproperlyConfigured:
        return []
    return []
