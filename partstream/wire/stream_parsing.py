"""Reads streams as a client does: bytes, cut anywhere, become records.

`NDJSONParser` and `SSEParser` are fed with bytes as they arrive. Heartbeats give nothing, and
neither does a record whose end has not arrived: a stream that was cut there is resumed before it.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from partstream.renderers import NDJSONRenderer, SSERenderer

NDJSON: Final = NDJSONRenderer.media_type
SSE: Final = SSERenderer.media_type

_BOM: Final = b"\xef\xbb\xbf"
#: Characters of a record that an error shows.
_SHOWN_AT_MOST: Final = 200


class _Lines:
    """Lines of bytes that arrive in pieces.

    Args:
        end: What ends a line.
    """

    def __init__(self, end: bytes) -> None:
        self._end = re.compile(end)
        self._begun: list[bytes] = []
        self._ended_with_cr = False

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that these bytes complete, without their ends."""
        if not data:
            return []
        # A CR ends a line at once; the LF of the same end may come with the next bytes.
        if self._ended_with_cr and data.startswith(b"\n"):
            data = data[1:]
        *lines, rest = self._end.split(data)
        self._ended_with_cr = bool(lines) and not rest and data.endswith(b"\r")
        if lines:
            lines[0] = b"".join((*self._begun, lines[0]))
            self._begun.clear()
        if rest:
            self._begun.append(rest)
        return lines


class RecordParser(ABC):
    """Turns the bytes of a stream into records.

    Attributes:
        last_event_id: What a client sends as ``Last-Event-ID`` to resume; ``""``: there is none.
    """

    last_event_id: str = ""

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The records that these bytes complete.

        Args:
            data: The next bytes of the stream, as many as arrived.

        Raises:
            ValueError: When something in the stream is not a record.
        """
        return [_record(text) for text in self.texts(data)]

    @abstractmethod
    def texts(self, data: bytes) -> list[str]:
        """The JSON texts that these bytes complete, each of one record."""


class NDJSONParser(RecordParser):
    r"""Reads ``application/x-ndjson``: one JSON text a line (https://github.com/ndjson/ndjson-spec).

    Example:
        ``NDJSONParser().feed(b'{"results":[],"cursor":null}\n {"cur')`` returns one record.
    """

    def __init__(self) -> None:
        self._lines = _Lines(rb"\n")

    def texts(self, data: bytes) -> list[str]:
        """See `RecordParser.texts`."""
        lines = (line.strip(b" \t\r") for line in self._lines.feed(data))
        return [line.decode(errors="replace") for line in lines if line]


class SSEParser(RecordParser):
    r"""Reads ``text/event-stream`` (https://html.spec.whatwg.org/multipage/server-sent-events.html).

    As for a browser's ``onmessage``, only events of the type ``message`` are records. Events whose
    data is blank are none.

    Attributes:
        retry: Milliseconds to wait before the stream is resumed; None: the stream does not say.

    Example:
        ``SSEParser().feed(b'id: TOKEN\ndata: {"cursor":"TOKEN"}\n\n: heart')`` returns one record.
    """

    def __init__(self) -> None:
        self.last_event_id = ""
        self.retry: int | None = None
        self._lines = _Lines(rb"\r\n|\r|\n")
        #: The first bytes, as long as they may be a byte-order mark.
        self._head: bytes | None = b""
        self._id = ""
        self._type = ""
        self._data: list[str] = []

    def texts(self, data: bytes) -> list[str]:
        """See `RecordParser.texts`."""
        found = []
        for line in self._lines.feed(self._without_bom(data)):
            if line:
                self._take_field(line.decode(errors="replace"))
                continue
            text, kind = "\n".join(self._data), self._type
            self.last_event_id, self._type, self._data = self._id, "", []
            if kind in ("", "message") and text.strip():
                found.append(text)
        return found

    def _without_bom(self, data: bytes) -> bytes:
        if self._head is None:
            return data
        self._head += data
        if len(self._head) < len(_BOM) and _BOM.startswith(self._head):
            return b""
        data, self._head = self._head.removeprefix(_BOM), None
        return data

    def _take_field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "event":
            self._type = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value)


#: Media type -> parser.
PARSERS: Final[Mapping[str, type[RecordParser]]] = MappingProxyType(
    {NDJSON: NDJSONParser, SSE: SSEParser}
)


def _record(text: str) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except ValueError as error:
        raise ValueError(f"This is not JSON: {text[:_SHOWN_AT_MOST]!r}") from error
    if not isinstance(record, dict) or "cursor" not in record:
        raise ValueError(f"This is not a record: {text[:_SHOWN_AT_MOST]!r}")
    return record
