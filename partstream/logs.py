"""The log: each line says which request it is about, and no handler of it fails a request."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import TYPE_CHECKING, Any

from .request_ids import current_request_id

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:  # Not to be subscripted before 3.11.
    _Adapter = logging.LoggerAdapter

#: Frames between `RequestLogger.log` and whoever said it: before 3.11 those of logging count, too.
_FRAMES = 1 if sys.version_info >= (3, 11) else 2


class RequestIDFilter(logging.Filter):
    """Gives each record a ``request_id``, ``-`` where there is none. For ``LOGGING``.

    Example::

        "filters": {"request_id": {"()": "partstream.logs.RequestIDFilter"}},
        "formatters": {"plain": {"format": "%(levelname)s %(request_id)s %(message)s"}},
        "handlers": {"console": {"filters": ["request_id"], "formatter": "plain", ...}},
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, with its ``request_id``."""
        if not hasattr(record, "request_id"):
            # Django's own lines about refusals come after the view, and have the request.
            request = getattr(record, "request", None)
            record.request_id = (
                current_request_id() or getattr(request, "_partstream_id", None) or "-"
            )
        return True


class RequestLogger(_Adapter):
    """A logger whose lines end in the request's id, and whose handlers may fail.

    By Python's convention a handler deals with its own faults. One that does not, or a filter,
    would else turn a part that failed into a request that fails.
    """

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """See ``logging.Logger.log``."""
        if not self.isEnabledFor(level):
            return
        identifier = current_request_id()
        if identifier is not None:
            msg, args = f"{msg} (request %s)", (*args, identifier)
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + _FRAMES
        try:
            self.logger.log(level, msg, *args, **kwargs)
        except Exception:  # noqa: BLE001 - told below, as the logging module does
            tell_of_handler()


def get_logger(name: str) -> RequestLogger:
    """The logger of this name, for lines about requests."""
    return RequestLogger(logging.getLogger(name), {})


def tell_of_handler() -> None:
    """Print the exception of a log handler, as ``logging.Handler.handleError`` does."""
    if logging.raiseExceptions and sys.stderr is not None:
        try:
            traceback.print_exc(file=sys.stderr)
        except (OSError, ValueError):
            return  # There is nowhere left to say it.
