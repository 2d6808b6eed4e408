"""The renderers of streams: newline-delimited JSON, and server-sent events.

`StreamMixin` adds both to a view's renderers, so you rarely list them yourself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

from rest_framework.renderers import JSONRenderer

#: The maximum size of a piece in bytes. A server copies each piece before it sends it.
_PIECE: Final = 1 << 16
#: Milliseconds after which a browser that has lost a stream resumes it.
_RETRY: Final = 1000
#: U+0085, U+2028 and U+2029, which end a line for some readers: in UTF-8, and escaped in JSON.
_LINE_ENDS: Final = (
    (b"\xc2\x85", b"\\u0085"),
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
)


class StreamRenderer(JSONRenderer):
    """The base of the renderers of streams.

    They write a stream one record at a time, see `record`. Any other data becomes one record.
    """

    charset = None
    #: What a stream sends while no part has ended; every reader ignores it.
    heartbeat: ClassVar[bytes]
    #: Whether a client resumes with the header ``Last-Event-ID``.
    resumes_by_header: ClassVar[bool] = False

    def frame(self, token: str | None, *, is_first: bool) -> tuple[bytes, bytes]:
        """The bytes before a record, and those after it.

        Args:
            token: The cursor that resumes after the record; the end cursor after the last one.
                None: the record belongs to no walk.
            is_first: Whether it is the first record of its response.
        """
        raise NotImplementedError

    def record(
        self, pieces: Sequence[bytes], token: str | None, *, is_first: bool = False
    ) -> Iterator[bytes]:
        """A record as bytes to send, each of at most 64 KB.

        Args:
            pieces: Its JSON, in pieces; a fragment is one piece.
            token: See `frame`.
            is_first: See `frame`.
        """
        before, after = self.frame(token, is_first=is_first)
        small, size = [before], len(before)
        for piece in (*map(_on_one_line, pieces), after):
            for start in range(0, len(piece), _PIECE):
                part = piece if len(piece) <= _PIECE else piece[start : start + _PIECE]
                if size + len(part) > _PIECE:
                    yield b"".join(small)
                    small, size = [], 0
                small.append(part)
                size += len(part)
        yield b"".join(small)

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        """Data that is not a stream, as one record."""
        written = super().render(data, "application/json", {})
        return b"".join(self.record([written or b"null"], None))


class NDJSONRenderer(StreamRenderer):
    """Newline-delimited JSON: one record per line. The heartbeat is a space.

    The format is that of https://github.com/ndjson/ndjson-spec; a space may stand before a JSON
    text (https://www.rfc-editor.org/rfc/rfc8259#section-2).
    """

    media_type = "application/x-ndjson"
    format = "ndjson"
    heartbeat = b" "

    def frame(self, token: str | None, *, is_first: bool) -> tuple[bytes, bytes]:
        """See `StreamRenderer.frame`."""
        return b"", b"\n"


class SSERenderer(StreamRenderer):
    """Server-sent events: one record per event, whose ``id`` is the record's cursor.

    The heartbeat is a comment. The format is that of
    https://html.spec.whatwg.org/multipage/server-sent-events.html.
    """

    media_type = "text/event-stream"
    format = "sse"
    heartbeat = b":\n\n"
    resumes_by_header = True

    def frame(self, token: str | None, *, is_first: bool) -> tuple[bytes, bytes]:
        """See `StreamRenderer.frame`."""
        retry = b"retry: %d\n" % _RETRY if is_first else b""
        identifier = b"" if token is None else b"id: %b\n" % token.encode()
        return retry + identifier + b"data: ", b"\n\n"


def _on_one_line(json: bytes) -> bytes:
    """JSON without characters that end a line. A project's own renderer may have written some.

    A raw line feed or carriage return can only be between tokens, so a space replaces it. The other
    three characters can only be in strings, so their escapes replace them.
    """
    for end in (b"\n", b"\r"):
        if end in json:
            json = json.replace(end, b" ")
    for end, escape in _LINE_ENDS:
        if end in json:
            json = json.replace(end, escape)
    return json


#: The renderers that `StreamMixin` adds. They have no state.
STREAM_RENDERERS: Final = (NDJSONRenderer(), SSERenderer())
