"""Signals: what views tell of requests that they refuse.

Each is sent with these arguments, the view class being the sender:

``request``
    Django's request.
``code``
    The ``code`` of the answer, such as ``"cursor_invalid"``.
``reason``
    The true reason, in words of partstream's own; None where REST framework or the project
    refused. Clients do not see it.
``identity``
    A keyed fingerprint of what the view's ``get_identity()`` said, joined with what ``IDENTITY``
    did, where they were asked; else None.
``cursor``
    A keyed fingerprint of the token that was given, for rejected cursors; else None.
``retry_after``
    Whole seconds that the answer asks to wait, else None.

A receiver that raises fails no request; its exception is in the log of ``django.dispatch``.

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
#: A cursor that cannot be followed: 400, 409, 410.
cursor_rejected = Signal()
#: A request that breaks the grammar, or asks for a part that is not there: 400.
request_rejected = Signal()
#: A request from an address that is not admitted: 403.
address_denied = Signal()
#: Credentials that are wrong: 401 or 403.
authentication_failed = Signal()
#: No credentials, or not the permission: 401 or 403.
permission_denied = Signal()


def send(signal: Signal, sender: type, **arguments: Any) -> None:
    """Send a signal of this module, whatever becomes of it."""
    try:
        signal.send_robust(sender, **arguments)
    except Exception:  # noqa: BLE001 - Django logs a receiver's failure; that log may fail too
        tell_of_handler()
