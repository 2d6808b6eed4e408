"""The signals of refusals."""

from __future__ import annotations

from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.dispatch import Signal
from rest_framework import exceptions as drf
from rest_framework.request import Request

from partstream import signals
from partstream.exceptions import (
    AddressDenied,
    CursorError,
    InvalidRequest,
    PartstreamError,
    StoreUnavailable,
)

from .audit import fingerprint

#: Exception class -> its signal.
SIGNALS: Final[tuple[tuple[type[Exception], Signal], ...]] = (
    (CursorError, signals.cursor_rejected),
    (InvalidRequest, signals.request_rejected),
    (AddressDenied, signals.address_denied),
    (StoreUnavailable, signals.rate_limited),
    (drf.Throttled, signals.rate_limited),
    (drf.AuthenticationFailed, signals.authentication_failed),
    (drf.NotAuthenticated, signals.permission_denied),
    (drf.PermissionDenied, signals.permission_denied),
    (PermissionDenied, signals.permission_denied),
)


def tell(
    view_class: type, request: Request, error: Exception, answer: Exception, identity: str | None
) -> None:
    """Send the signal of a refusal. Other errors have no signal.

    Args:
        view_class: The sender.
        request: The request.
        error: The exception.
        answer: The DRF exception that becomes the response.
        identity: The identity of the request, if it is known.
    """
    signal = next((signal for kind, signal in SIGNALS if isinstance(error, kind)), None)
    if signal is None:
        return
    own = isinstance(error, PartstreamError)
    token = error.token if isinstance(error, CursorError) else None
    signals.send(
        signal,
        view_class,
        request=request._request,
        code=_code(answer),
        # A message from DRF or the project may quote what the client sent.
        reason=str(error) if own else None,
        identity=fingerprint(identity) if identity is not None else None,
        cursor=fingerprint(token) if token is not None else None,
        retry_after=getattr(answer, "wait", None),
    )


def _code(answer: Any) -> str:
    codes = answer.get_codes() if isinstance(answer, drf.APIException) else "permission_denied"
    return codes if isinstance(codes, str) else answer.default_code
