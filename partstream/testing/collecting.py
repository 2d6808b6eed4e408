"""Every part of a view, requested as a client would."""

from __future__ import annotations

import re
from typing import Any, Final, Literal
from urllib.parse import urlsplit, urlunsplit

from django.urls import get_script_prefix

from partstream.security.exemptions import is_exempt
from partstream.wire.stream_parsing import NDJSON, SSE, SSEParser

from .queries import next_query
from .records import SHOWN_AT_MOST, excerpt, new_parser, parsed

#: More requests than any walk needs.
_MOST_REQUESTS = 5000
_NEXT = re.compile(r'<\?([^>]*)>; rel="next"')
#: Mode -> media type.
_STREAMS: Final = {"stream": NDJSON, "sse": SSE}


class CollectedParts(dict[str, Any]):
    """Name of a part -> its data, in the order of delivery.

    Attributes:
        errors: Name of a part -> its error, as in the response.
        requests: The number of requests made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.errors: dict[str, dict[str, Any]] = {}
        self.requests = 0


def collect(
    client: Any,
    url: str,
    *,
    mode: Literal["walk", "keys", "stream", "sse"] = "walk",
    allow_errors: bool = False,
    **extra: Any,
) -> CollectedParts:
    """Collect every part of a view as a client does. Works inside a test's transaction.

    partstream's own rate limits neither count nor refuse its requests; throttles of the project do.

    Args:
        client: Django's test client, or DRF's.
        url: The walk's URL, with your application's own query if it has one.
        mode: ``"walk"`` follows cursors to the end; ``"keys"`` reads the manifest and requests
            each part alone, so the view must be mounted with ``urls()``, or by a router;
            ``"stream"`` reads a stream of NDJSON, and ``"sse"`` one of server-sent events. A stream
            that ends early is resumed, so it may take several requests.
        allow_errors: Whether parts may fail; if so, look at ``errors`` of the result.
        extra: Passed to each ``client.get()``, for example ``headers={...}``.

    Raises:
        AssertionError: When a response is not 200 or not that of a partstream view, a part failed
            although ``allow_errors`` is not set, a part came twice, or a stream broke.

    Example:
        ``assert collect(self.client, "/api/dashboard/")["orders"] == []``
    """
    collector = _Collector(client, url, allow_errors, extra)
    if mode == "walk":
        collector.walk()
    elif mode == "keys":
        collector.request_by_key()
    elif mode in _STREAMS:
        collector.stream(_STREAMS[mode])
    else:
        raise ValueError(f"mode={mode!r}: write 'walk', 'keys', 'stream' or 'sse'.")
    return collector.parts


class _Collector:
    def __init__(self, client: Any, url: str, allow_errors: bool, extra: dict[str, Any]) -> None:
        self.parts = CollectedParts()
        self._client = client
        self._url = url
        self._allow_errors = allow_errors
        self._extra = extra
        self._path, self._query = urlsplit(url).path, urlsplit(url).query

    def walk(self) -> None:
        """Follow the cursors to the end."""
        query: str | None = self._query
        while query is not None:
            response = self._get_parts(self._with_query(query))
            cursor = response.json()["cursor"]
            link = _NEXT.fullmatch(response.headers.get("Link", ""))
            if link and link[1].rpartition("=")[2] != cursor:
                raise AssertionError(f"{self._url}: the cursor and the Link header disagree.")
            if cursor is None:
                return
            query = link[1] if link else next_query(response, self._query, cursor)

    def request_by_key(self) -> None:
        """Request each part alone."""
        manifest_path, parts_path = self._path + "manifest/", self._path + "parts/"
        if not self._path.endswith("/"):
            # Routes without trailing slashes, or with a format suffix: only their links say how.
            walk = _body_of(self._get(self._url), self._url, "results", "cursor", "meta")
            manifest_path = _local(walk["meta"].get("manifest_url"), self._url)
        manifest = _body_of(self._get(manifest_path), manifest_path, "parts")
        if not self._path.endswith("/"):
            parts_path = _local(manifest["links"].get("parts"), self._url)
        for name in manifest["parts"]:
            query = "&".join(filter(None, (self._query, f"keys={name}")))
            self._get_parts(urlunsplit(("", "", parts_path, query, "")))

    def stream(self, media_type: str) -> None:
        """Read a stream, and resume it as often as it ends before its end record."""
        query, extra = self._query, {"HTTP_ACCEPT": media_type, **self._extra}
        while True:
            response = self._get(self._with_query(query), extra)
            parser = new_parser(response)
            if parser is None or not response.headers["Content-Type"].startswith(media_type):
                raise AssertionError(
                    f"{self._url} does not stream {media_type}: does its class have StreamMixin? "
                    f"It answered {excerpt(response)}"
                )
            cursor: str | None = ""
            # Read to its end first, so that it is closed even if something is wrong with it.
            for record in parsed(parser, b"".join(response)):
                if cursor is None:
                    raise AssertionError(f"{self._url}: a record came after the end of the stream.")
                self._add(record, self._url)
                cursor = record["cursor"]
                if "stream_error" in record:
                    raise AssertionError(
                        f"{self._url}: the stream broke: {record['stream_error']}. The log has the "
                        "exception."
                    )
            if cursor == "":
                raise AssertionError(f"{self._url}: the stream has no record.")
            if isinstance(parser, SSEParser):
                event_id = parser.last_event_id
                if not event_id or event_id != (cursor or event_id):
                    raise AssertionError(f"{self._url}: the cursor and the event's id disagree.")
                extra["HTTP_LAST_EVENT_ID"] = event_id
            if cursor is None:
                return
            if not isinstance(parser, SSEParser):
                query = next_query(response, self._query, cursor)

    def _with_query(self, query: str) -> str:
        return f"{self._path}?{query}" if query else self._path

    def _get_parts(self, url: str) -> Any:
        """Send one request, and add the parts it returns."""
        response = self._get(url)
        self._add(_body_of(response, url, "results", "cursor"), url)
        return response

    def _add(self, envelope: dict[str, Any], url: str) -> None:
        """Add the parts of an envelope."""
        parts = self.parts
        delivered = [item for result in envelope.get("results", []) for item in result.items()]
        errors = {error["part"]: error for error in envelope.get("errors", [])}
        for name in [name for name, _ in delivered] + list(errors):
            if name in parts or name in parts.errors:
                raise AssertionError(f"{url}: part {name!r} came twice.")
        parts.update(delivered)
        parts.errors.update(errors)
        if errors and not self._allow_errors:
            raise AssertionError(f"{url}: parts failed: {errors}")

    def _get(self, url: str, extra: dict[str, Any] | None = None) -> Any:
        """The response to one request, which has to be a good one."""
        self.parts.requests += 1
        if self.parts.requests > _MOST_REQUESTS:
            raise AssertionError(f"{url}: the walk does not end.")
        token = is_exempt.set(True)
        try:
            response = self._client.get(url, **(self._extra if extra is None else extra))
        finally:
            is_exempt.reset(token)
        if response.status_code != 200:
            raise AssertionError(f"{url} answered {response.status_code}: {excerpt(response)}")
        return response


def _body_of(response: Any, url: str, *fields: str) -> Any:
    """The body of an answer of partstream's, which has these fields."""
    if response.streaming:
        raise AssertionError(f"{url} is not a partstream view, or it streams: {excerpt(response)}")
    body = response.json() if "json" in response.headers.get("Content-Type", "") else None
    if not isinstance(body, dict) or not body.keys() >= set(fields):
        raise AssertionError(
            f"{url} is not a partstream view. It answered {response.content[:SHOWN_AT_MOST]!r}"
        )
    return body


def _local(link: str | None, url: str) -> str:
    """A path of an answer as the test client takes it: without the prefix of the script."""
    if link is None:
        raise AssertionError(f"{url}: its answer has no link to follow. Mount it with urls().")
    return "/" + link.removeprefix(get_script_prefix())
