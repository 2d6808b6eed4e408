"""What was logged, less the request's id that ends each line."""

from __future__ import annotations

import re

_ID = re.compile(r" \(request [A-Za-z0-9._~-]{1,64}\)$")


def message(record):
    """The message of a record."""
    return _ID.sub("", record.getMessage())
