"""The audit trail: one JSON object a line, for each request that was refused.

Event names are those of the OWASP Application Logging Vocabulary
(https://cheatsheetseries.owasp.org/cheatsheets/Logging_Vocabulary_Cheat_Sheet.html).
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any, Final

from django.http import HttpRequest
from django.utils.functional import LazyObject, empty

from partstream import signals
from partstream.conf import get_settings
from partstream.exceptions import Misuse
from partstream.keys import get_key_ring, keyed_digest
from partstream.logs import tell_of_handler
from partstream.request_ids import request_id

from .client_ip import client_address

#: Name of the logger.
LOGGER: Final = "partstream.audit"
#: Bytes of the longest line.
MAX_LINE: Final = 4096
#: Lines of one event in a minute; the rest is counted.
MAX_PER_MINUTE: Final = 600

#: Events that are counted by themselves; names beyond share one count.
MAX_EVENTS: Final = 256
#: Numbers from here on are not written.
HUGE: Final = 10**15

#: Fields that a line can have, in their order, each with the bytes of its longest value: with
#: all of them at their longest, a line is within `MAX_LINE`.
FIELDS: Final[Mapping[str, int]] = {
    "time": 32,
    "event": 64,
    "code": 64,
    "reason": 256,
    "view": 256,
    "method": 32,
    "path": 1024,
    "address": 64,
    "user": 256,
    "identity": 32,
    "agent": 512,
    "request_id": 64,
    "cursor": 32,
    "retry_after": 32,
    "suppressed": 32,
}

#: Signal -> the event that it is in the vocabulary.
EVENTS: Final = {
    signals.rate_limited: "excess_rate_limit_exceeded",
    signals.cursor_rejected: "input_validation_fail",
    signals.request_rejected: "input_validation_fail",
    signals.address_denied: "authz_fail",
    signals.authentication_failed: "authn_login_fail",
    signals.permission_denied: "authz_fail",
}

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode


def _written(value: object, most: int) -> str:
    """A value as JSON: a number, or a text of at most so many bytes, all of it printable ASCII.

    JSON leaves DEL as it is and escapes every other control character; its escapes of all that
    is not ASCII take care of what a terminal or a log viewer would obey.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if type(value) is int:
        return str(value) if abs(value) < HUGE else '"..."'
    text = str(value)
    written = _encode(text[:most]).replace("\x7f", "\\u007f")
    if len(written) <= most + 2 and len(text) <= most:
        return written
    kept, room = [], most - len("...")
    for character in text[:most]:
        piece = _encode(character)[1:-1].replace("\x7f", "\\u007f")
        room -= len(piece)
        if room < 0:
            break
        kept.append(piece)
    return f'"{"".join(kept)}..."'


class AuditLogger:
    """Writes events to a logger: one line each, of at most 4 KB, with a closed set of fields.

    No line has a token, a cookie, a credential, or a value of the query in it: a cursor and an
    identity are there as keyed fingerprints, by which lines about the same one can be found.
    Of one event at most so many lines are written in a minute; the first one after says how many
    were ``suppressed``. A log handler that fails is told of on stderr, and fails no request.

    Args:
        logger: The logger's name.
        per_minute: Lines of one event in a minute.
        clock: Seconds since 1970.

    Raises:
        Misuse: When ``per_minute`` is not 1 or more.

    Example::

        from partstream.security import AuditLogger

        audit = AuditLogger()
        audit.write("authz_admin", request=request, reason="role changed")
    """

    def __init__(
        self,
        logger: str = LOGGER,
        *,
        per_minute: int = MAX_PER_MINUTE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if type(per_minute) is not int or per_minute < 1:
            raise Misuse(f"per_minute is {per_minute!r}. Give a whole number of 1 or more.")
        self._logger = logging.getLogger(logger)
        self._per_minute = per_minute
        self._clock = clock
        self._lock = threading.Lock()
        #: Event -> the minute it was last seen in, lines written in it, lines suppressed.
        self._counts: dict[str, tuple[int, int, int]] = {}

    def write(
        self, event: str, request: HttpRequest | None = None, **fields: str | int | None
    ) -> bool:
        """Write one line at the level WARNING.

        Args:
            event: A name of the vocabulary, such as ``"authz_fail"``.
            request: Where it happened: fills in method, path, address, user agent, request id, and
                the user where the request knows one already.
            fields: More of `FIELDS`; None leaves one out.

        Returns:
            Whether it was written, and not suppressed.

        Raises:
            Misuse: When a field is not one of `FIELDS`.
        """
        unknown = fields.keys() - FIELDS.keys()
        if unknown:
            raise Misuse(
                f"{', '.join(sorted(unknown))}: no field of the audit trail. Its fields are "
                f"{', '.join(FIELDS)}."
            )
        if not self._logger.isEnabledFor(logging.WARNING):
            return False
        now = self._clock()
        suppressed = self._admit(event, now)
        if suppressed is None:
            return False
        moment = datetime.fromtimestamp(now, timezone.utc).isoformat(timespec="milliseconds")
        values = {
            **(_of_request(request) if request is not None else {}),
            **fields,
            "time": moment,
            "event": event,
            "suppressed": suppressed or None,
        }
        line = ",".join(
            f'"{name}":{_written(values[name], most)}'
            for name, most in FIELDS.items()
            if values.get(name) is not None
        )
        try:
            self._logger.warning("{%s}", line)
        except Exception:  # noqa: BLE001 - told on stderr, as the logging module does
            tell_of_handler()
        return True

    def _admit(self, event: str, now: float) -> int | None:
        """How many lines of this event were suppressed before this one; None: this one is, too."""
        minute = int(now // 60)
        with self._lock:
            if event not in self._counts and len(self._counts) >= MAX_EVENTS:
                event = ""
            last, written, suppressed = self._counts.get(event, (minute, 0, 0))
            if last != minute:
                written = 0
            if written >= self._per_minute:
                self._counts[event] = (minute, written, suppressed + 1)
                return None
            self._counts[event] = (minute, written + 1, 0)
            return suppressed


def fingerprint(text: str) -> str:
    """A keyed digest by which the same token or identity is known again, and nothing else."""
    return keyed_digest(
        get_key_ring().derive("audit")[0], text.encode("utf-8", "surrogatepass"), size=12
    )


def _of_request(request: HttpRequest) -> dict[str, str | int | None]:
    """What a line says of a request. Nothing is asked for that costs a query."""
    # REST framework's own wraps Django's, and would authenticate to know its user.
    request = getattr(request, "_request", request)
    address = client_address(request)
    user = getattr(request, "user", None)
    # Only one that is known: to ask for the user may load a session, or fail as it did before.
    is_known = not isinstance(user, LazyObject) or user.__dict__.get("_wrapped", empty) is not empty
    try:
        key = getattr(user, "pk", None) if is_known else None
    except Exception:  # noqa: BLE001 - a project's own user; an event is not lost for it
        key = None
    return {
        "method": request.method,
        "path": request.path,
        "address": str(address) if address is not None else None,
        "user": f"{user.__class__.__name__}:{key}" if key is not None else None,
        "agent": request.META.get("HTTP_USER_AGENT"),
        "request_id": request_id(request),
    }


_trail = AuditLogger()


def _write_refusal(
    signal: Any,
    sender: type,
    request: HttpRequest,
    code: str,
    reason: str | None = None,
    identity: str | None = None,
    cursor: str | None = None,
    retry_after: int | None = None,
    **_: Any,
) -> None:
    """Write what a view told by a signal."""
    if not get_settings().ENABLE_AUDIT_LOGGING:
        return
    _trail.write(
        EVENTS[signal],
        request,
        code=code,
        reason=reason,
        view=f"{sender.__module__}.{sender.__qualname__}",
        identity=identity,
        cursor=cursor,
        retry_after=retry_after,
    )


def connect() -> None:
    """Have the audit trail listen to the signals; called by the application's ``ready()``."""
    for signal in EVENTS:
        signal.connect(_write_refusal, dispatch_uid="partstream.audit")
