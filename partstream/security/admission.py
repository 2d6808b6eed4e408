"""What a request must pass before anything else: its address, then the grammar of its query."""

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
    """Refuse a request because of its client's address or its malformed query.

    A request is checked only once: if the middleware has checked it, the view does not.

    Args:
        request: Django's own request.
        get_parameters: Returns the protocol's query parameters; called if there is a query. None:
            they are not known yet, and the query is left for the next caller.
        plain: Whether the query is known to be valid.

    Raises:
        AddressDenied: When the address is blocked, or is not in the allowlist.
        InvalidRequest: When a protocol parameter is malformed.
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
                else "the address is blocked, or is not in the allowlist"
            )
    if request.META.get("QUERY_STRING") and not plain:
        reserved = get_parameters()
        if reserved is None:
            return
        name = api_settings.URL_FORMAT_OVERRIDE
        validate_query(request, (name,) if name in reserved else ())
    request._partstream_admitted = True  # type: ignore[attr-defined]
