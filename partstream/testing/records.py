"""Records of a stream, one by one, as they arrive."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from partstream.wire.stream_parsing import PARSERS, RecordParser

#: Bytes of an answer that an error shows.
SHOWN_AT_MOST = 500


def read_records(response: Any) -> Iterator[dict[str, Any]]:
    """The records of a stream, each as soon as it is there. Heartbeats are left out.

    It works with the answers of Django's test client and DRF's, and reads no further than you ask.
    A record whose end is missing is not returned, because the stream was cut there. Closing the
    response is left to you. Read a response with one iterator only.

    Args:
        response: The answer to a request with ``Accept: application/x-ndjson`` or
            ``text/event-stream``.

    Raises:
        AssertionError: When the response is not a stream, or something in it is not a record.

    Example::

        response = self.client.get("/api/dashboard/", headers={"Accept": "application/x-ndjson"})
        records = read_records(response)
        assert next(records)["meta"]["pending"] == ["orders"]
        assert next(records)["results"] == [{"orders": []}]
    """
    parser = _parser_of(response, is_async=False)
    return (record for data in response.streaming_content for record in parsed(parser, data))


def aread_records(response: Any) -> AsyncIterator[dict[str, Any]]:
    """The same for answers of Django's ``AsyncClient``.

    Raises:
        AssertionError: As for `read_records`.

    Example::

        response = await self.async_client.get("/api/dashboard/?format=ndjson")
        async for record in aread_records(response):
            ...
    """
    parser = _parser_of(response, is_async=True)

    async def records() -> AsyncIterator[dict[str, Any]]:
        async for data in response.streaming_content:
            for record in parsed(parser, data):
                yield record

    return records()


def parsed(parser: RecordParser, data: bytes) -> list[dict[str, Any]]:
    """The records that these bytes complete.

    Raises:
        AssertionError: When something is not a record.
    """
    try:
        return parser.feed(data)
    except ValueError as error:
        raise AssertionError(f"The stream is not partstream's. {error}") from error


def new_parser(response: Any) -> RecordParser | None:
    """The parser for a response; None: it is not a stream."""
    kind = PARSERS.get(response.headers.get("Content-Type", "").partition(";")[0].strip())
    return kind() if kind is not None and response.streaming else None


def excerpt(response: Any) -> str:
    """What an error shows of a response."""
    told = response.headers.get("Content-Type", "nothing")
    return told if response.streaming else f"{told}: {response.content[:SHOWN_AT_MOST]!r}"


def _parser_of(response: Any, *, is_async: bool) -> RecordParser:
    parser = new_parser(response)
    if response.status_code != 200 or parser is None:
        raise AssertionError(
            f"This is not a stream, but {response.status_code} with {excerpt(response)}"
        )
    if response.is_async is not is_async:
        name = "aread_records()" if response.is_async else "read_records()"
        raise AssertionError(f"Read this response with {name}.")
    return parser
