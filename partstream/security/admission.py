"""What a request has to pass before anything is done for it: addresses, then grammar."""

from __future__ import annotations

from collections.abc import Callable, Container

from django.http import HttpRequest
from rest_framework.settings import api_settings

from partstream.exceptions import AddressDenied

from .client_ip import get_networks
from .validation import validate_query


def admit(
    request: HttpRequest,
    get_parameters: Callable[[], Container[str] | None],
    *,
    plain: bool = False,
) -> None:
    """Refuse a request by its client's address, or by its query's grammar.

    It looks at a request once: where the middleware was first, the view asks nothing more.

    Args:
        request: Django's own request.
        get_parameters: Says which query parameters are the protocol's; called where there is a
            query. None: that is not known yet, and the query is left to whoever asks next.
        plain: Whether its query is known to break no rule.

    Raises:
        AddressDenied: When the address is blocked, or not among those that are allowed.
        InvalidRequest: When a protocol parameter breaks the grammar.
    """
    if getattr(request, "_partstream_admitted", False):
        return
    networks = get_networks()
    if networks.restricted:
        address = networks.client(request.META)
        if not networks.admits(address):
            raise AddressDenied(
                "the address cannot be read"
                if address is None
                else "the address is blocked, or not among those that are allowed"
            )
    if request.META.get("QUERY_STRING") and not plain:
        reserved = get_parameters()
        if reserved is None:
            return
        name = api_settings.URL_FORMAT_OVERRIDE
        validate_query(request, (name,) if name in reserved else ())
    request._partstream_admitted = True  # type: ignore[attr-defined]
