"""Logging: each line names its request, and a failing log handler never fails a request."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import TYPE_CHECKING, Any

from .current_request import current_request_id

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:  # Not subscriptable before Python 3.11.
    _Adapter = logging.LoggerAdapter

#: Frames between `RequestLogger.log` and its caller. Before 3.11, logging's own frames count too.
_FRAMES = 1 if sys.version_info >= (3, 11) else 2


class RequestIDFilter(logging.Filter):
    """Sets ``request_id`` on each record, or ``-`` outside a request. For ``LOGGING``.

    Example::

        "filters": {"request_id": {"()": "partstream.logs.RequestIDFilter"}},
        "formatters": {"plain": {"format": "%(levelname)s %(request_id)s %(message)s"}},
        "handlers": {"console": {"filters": ["request_id"], "formatter": "plain", ...}},
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Set ``request_id`` on the record. It drops no record."""
        if not hasattr(record, "request_id"):
            # Django logs its own lines about refusals after the view, with the request attached.
            request = getattr(record, "request", None)
            record.request_id = (
                current_request_id() or getattr(request, "_partstream_id", None) or "-"
            )
        return True


class RequestLogger(_Adapter):
    """A logger that ends each line with the request's id and tolerates failing handlers.

    By Python's convention a handler deals with its own errors. A handler or filter that does not
    would otherwise turn a failed part into a failed request.
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
        except Exception:  # noqa: BLE001 - reported below, as the logging module does
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
            return  # There is nowhere left to report it.
