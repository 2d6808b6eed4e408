"""Signals that views send when they refuse a request.

The sender is the view class. Each signal but `client_suspected` has these arguments:

``request``
    Django's request.
``code``
    The ``code`` of the answer, such as ``"cursor_invalid"``.
``reason``
    The actual reason, in partstream's own words; None if REST framework or the project refused
    the request. Clients do not see it.
``identity``
    A keyed fingerprint of what the view's ``get_identity()`` and the ``IDENTITY`` function
    returned, joined; None if they were not called.
``cursor``
    A keyed fingerprint of the rejected cursor; otherwise None.
``retry_after``
    Whole seconds that the response asks the client to wait; otherwise None.

`client_suspected` tells of a client whose requests are refused again and again. Its arguments:

``request``
    Django's request: the last one that was refused.
``client``
    A keyed digest of the client, as the view's ``client_of()`` returns it.
``identity``
    A keyed fingerprint of the client's identity; None if the client is counted by its address.
``counts``
    The number of refused requests by reason, such as ``{"cursor_invalid": 28, "throttled": 2}``.

A receiver that raises never fails the request; Django logs its exception to ``django.dispatch``.

Example::

    from django.dispatch import receiver
    from partstream.signals import rate_limited

    @receiver(rate_limited)
    def count(sender, code, **kwargs):
        metrics.increment("throttled", view=sender.__name__)
"""

from __future__ import annotations

from typing import Any

from django.dispatch import Signal

from .logs import tell_of_handler

#: A request over the limits (429), or one that cannot be counted (503).
rate_limited = Signal()
#: A cursor that cannot be used: 400, 409, 410.
cursor_rejected = Signal()
#: A malformed request, or one for a part that does not exist: 400.
request_rejected = Signal()
#: A request from an address that is not admitted: 403.
address_denied = Signal()
#: Wrong credentials: 401 or 403.
authentication_failed = Signal()
#: No credentials, or no permission: 401 or 403.
permission_denied = Signal()
#: A client with 30 refused requests within a minute; then once a minute while it goes on.
client_suspected = Signal()


def send(signal: Signal, sender: type, **arguments: Any) -> None:
    """Send a signal of this module. It never raises."""
    try:
        signal.send_robust(sender, **arguments)
    except Exception:  # noqa: BLE001 - Django logs a receiver's failure; that log may fail too
        tell_of_handler()
