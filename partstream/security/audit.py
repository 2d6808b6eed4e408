"""The audit trail: one line of JSON for each refused request, and for each suspicious client.

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

from django.conf import settings as django_settings
from django.http import HttpRequest

from partstream import signals
from partstream.conf import get_settings
from partstream.exceptions import Misuse
from partstream.identity import known_user
from partstream.keys import get_key_ring, keyed_digest
from partstream.logs import tell_of_handler
from partstream.request_ids import request_id
from partstream.setting_kinds import COUNT

from .client_ip import client_address

#: Name of the logger.
LOGGER: Final = "partstream.audit"
#: The maximum size of a line in bytes.
MAX_LINE: Final = 4096
#: The maximum number of lines of one event in a minute; further ones are only counted.
MAX_PER_MINUTE: Final = 600

#: Events that have a count of their own; all further event names share one count.
MAX_EVENTS: Final = 256
#: Numbers from this value on are not written.
HUGE: Final = 10**15

#: The fields that a line can have, in order, with each one's maximum size in bytes. A line with all
#: fields at their maximum still fits in `MAX_LINE`.
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
    "client": 32,
    "counts": 256,
    "suppressed": 32,
}

#: Signal -> its event in the vocabulary.
EVENTS: Final = {
    signals.rate_limited: "excess_rate_limit_exceeded",
    signals.cursor_rejected: "input_validation_fail",
    signals.request_rejected: "input_validation_fail",
    signals.address_denied: "authz_fail",
    signals.authentication_failed: "authn_login_fail",
    signals.permission_denied: "authz_fail",
    # Of the events of malicious behaviour, the one about input that is not expected.
    signals.client_suspected: "malicious_extraneous",
}

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode


def _written(value: object, most: int) -> str:
    """A value as JSON: a number, or a text of at most ``most`` bytes, all printable ASCII.

    JSON leaves DEL as it is and escapes every other control character. Its escapes of non-ASCII
    characters cover what a terminal or a log viewer might interpret.
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
    """Writes events to a logger: one line each, at most 4 KB, with a fixed set of fields.

    No line has a token, a cookie, a credential, or a query value in it. A cursor and an identity
    are written as keyed fingerprints, so you can find other lines about the same one. If an event
    exceeds its lines per minute, the next line that is written says how many were ``suppressed``.
    A failing log handler is reported on stderr and never fails the request.

    Args:
        logger: The logger's name.
        per_minute: The maximum number of lines of one event in a minute.
        clock: Seconds since 1970.

    Raises:
        Misuse: When ``per_minute`` is not a whole number of 1 or more.

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
        if not COUNT.accepts(per_minute):
            raise Misuse(f"per_minute is {per_minute!r}. Write a whole number of 1 or more.")
        self._logger = logging.getLogger(logger)
        self._per_minute = per_minute
        self._clock = clock
        self._lock = threading.Lock()
        #: Event -> the minute of its last line, the lines written in it, the lines suppressed.
        self._counts: dict[str, tuple[int, int, int]] = {}

    @property
    def is_heard(self) -> bool:
        """Whether a line would be written anywhere.

        Under ``DEBUG`` only handlers of this logger or of its parents count, and not those of the
        root logger: a developer's console shows no audit trail unless the project asks for it.
        """
        if not self._logger.isEnabledFor(logging.WARNING):
            return False
        return not django_settings.DEBUG or has_handler(self._logger, but_root=True)

    def write(
        self, event: str, request: HttpRequest | None = None, **fields: str | int | None
    ) -> bool:
        """Write one line at level WARNING.

        Args:
            event: A name of the vocabulary, such as ``"authz_fail"``.
            request: The request, for the method, path, address, user agent and request id, and for
                the user if the request has already determined one.
            fields: Further values, named as in `FIELDS`; None omits a field.

        Returns:
            Whether the line was written: neither suppressed, nor kept out of the console.

        Raises:
            Misuse: When a field is not one of `FIELDS`.
        """
        unknown = fields.keys() - FIELDS.keys()
        if unknown:
            raise Misuse(
                f"{', '.join(sorted(unknown))}: not a field of the audit trail. The fields are "
                f"{', '.join(FIELDS)}."
            )
        if not self.is_heard:
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
        except Exception:  # noqa: BLE001 - reported on stderr, as the logging module does
            tell_of_handler()
        return True

    def _admit(self, event: str, now: float) -> int | None:
        """The number of lines suppressed before this one; None: this one is suppressed, too."""
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


def has_handler(logger: logging.Logger | None = None, *, but_root: bool = False) -> bool:
    """Whether a logger passes lines at level WARNING to a handler of its own or of a parent.

    Python's handler of last resort does not count, and neither does a ``NullHandler``.

    Args:
        logger: The logger; None: that of the audit trail.
        but_root: Whether the handlers of the root logger do not count.
    """
    current = logging.getLogger(LOGGER) if logger is None else logger
    if not current.isEnabledFor(logging.WARNING):
        return False
    found: logging.Logger | None = current
    while found is not None and not (but_root and found.parent is None):
        if any(not isinstance(handler, logging.NullHandler) for handler in found.handlers):
            return True
        found = found.parent if found.propagate else None
    return False


def fingerprint(text: str) -> str:
    """A keyed digest that identifies a token or an identity without revealing it."""
    return keyed_digest(
        get_key_ring().derive("audit")[0], text.encode("utf-8", "surrogatepass"), size=12
    )


def _of_request(request: HttpRequest) -> dict[str, str | int | None]:
    """The fields that describe a request. Nothing here costs a query."""
    # REST framework's request wraps Django's, and would authenticate to find its user.
    request = getattr(request, "_request", request)
    address = client_address(request)
    user = known_user(request)
    try:
        key = getattr(user, "pk", None)
    except Exception:  # noqa: BLE001 - a project's own user class; the event must not be lost
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


def _write_event(
    signal: Any,
    sender: type,
    request: HttpRequest,
    code: str | None = None,
    reason: str | None = None,
    identity: str | None = None,
    cursor: str | None = None,
    retry_after: int | None = None,
    client: str | None = None,
    counts: Mapping[str, int] | None = None,
    **_: Any,
) -> None:
    """Write the event of a signal that a view sent."""
    if not get_settings().ENABLE_AUDIT_LOGGING:
        return
    numbers = None
    if counts is not None:
        numbers = " ".join(f"{name}={number}" for name, number in counts.items())
    _trail.write(
        EVENTS[signal],
        request,
        code=code,
        reason=reason,
        view=f"{sender.__module__}.{sender.__qualname__}",
        identity=identity,
        cursor=cursor,
        retry_after=retry_after,
        client=client,
        counts=numbers,
    )


def connect() -> None:
    """Connect the audit trail to the signals; called by the app config's ``ready()``."""
    for signal in EVENTS:
        signal.connect(_write_event, dispatch_uid="partstream.audit")
