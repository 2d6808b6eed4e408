"""Laws 1 and 2 over streams: cut at any byte, resumed in any way, they come to the same answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from tests.support.hypothesis_profiles import examples
from tests.support.streams import leave

from .test_laws import BUDGET, THREADS, Spec, expected, specs, unlogged, view_of

__all__ = ["unlogged"]

laws = examples(60)
few = examples(30)

ACCEPTS = {"ndjson": "application/x-ndjson", "sse": "text/event-stream", "walk": "application/json"}
#: How a client asks, and after how many bytes it loses the answer; None: it reads all.
Turn = tuple[str, int | None]

turns = st.lists(
    st.tuples(
        st.sampled_from(["ndjson", "sse", "sse by header", "walk"]),
        st.none() | st.integers(0, 2500),
    ),
    max_size=6,
)


def ask(view: Any, how: str, cursor: str | None) -> Any:
    """The response to one request, which goes on at a cursor if one is given."""
    headers = {"HTTP_ACCEPT": ACCEPTS[how.partition(" ")[0]]}
    query = "" if cursor is None else f"?cursor={cursor}"
    if how == "sse by header" and cursor is not None:
        # A browser that reconnects sends its URL again.
        headers["HTTP_LAST_EVENT_ID"], query = cursor, "?cursor=junk"
    request = RequestFactory().get("/made/" + query, **headers)
    return view.as_view(delivery="walk")(request)


def body_of(response: Any, most: int | None) -> bytes:
    """The bytes that a client gets before it is cut off; it closes the response."""
    if not response.streaming:
        return bytes(response.content if most is None else response.content[:most])
    found = b""
    try:
        for piece in response.streaming_content:
            found += piece
            if most is not None and len(found) >= most:
                return found[:most]
        return found
    finally:
        leave(response)


def records(how: str, body: bytes) -> list[dict[str, Any]]:
    """The whole records of a body."""
    if how == "walk":
        try:
            return [json.loads(body)]
        except ValueError:
            return []
    end = b"\n" if how == "ndjson" else b"\n\n"
    found = []
    for block in body.split(end)[:-1]:
        text = block.strip()
        if how != "ndjson":
            data = [line for line in text.split(b"\n") if line.startswith(b"data: ")]
            text = data[0].removeprefix(b"data: ") if data else b""
        if text:
            found.append(json.loads(text))
    return found


def summary(found: list[dict[str, Any]]) -> dict[str, tuple[str, Any]]:
    known: dict[str, tuple[str, Any]] = {}
    for record in found:
        assert "stream_error" not in record
        for result in record["results"]:
            for name, data in result.items():
                assert name not in known, "a part came twice"
                known[name] = ("data", data)
        for error in record.get("errors", []):
            assert error["part"] not in known, "a part came twice"
            known[error["part"]] = ("error", error["code"])
    return known


def hold_law_1(drawn: list[Spec], **attributes: Any) -> None:
    wanted = expected(drawn)
    for how in ("ndjson", "sse"):
        response = ask(view_of(drawn, **attributes), how, None)
        assert response.status_code == 200
        found = records(how, body_of(response, None))
        assert summary(found) == wanted
        assert [record["cursor"] is None for record in found] == [False] * (len(found) - 1) + [True]
        known = [len(summary(found[: count + 1])) for count in range(len(found))]
        assert [record["meta"]["current_part"] for record in found] == known
        assert {record["meta"]["total_parts"] for record in found} == {len(wanted)}
        # The first says what is to come.
        left = [spec.name for spec in drawn if spec.name in wanted]
        assert found[0]["meta"]["pending"] == [
            name for name in left if name not in summary(found[:1])
        ]


def hold_law_2(drawn: list[Spec], turns: list[Turn], **attributes: Any) -> None:
    view = view_of(drawn, **attributes)
    known: list[dict[str, Any]] = []
    for how, most in [*turns, ("ndjson", None)]:
        if known and known[-1]["cursor"] is None:
            break
        response = ask(view, how, known[-1]["cursor"] if known else None)
        assert response.status_code == 200
        known += records(how, body_of(response, most))
    while known[-1]["cursor"] is not None:
        known += records("sse", body_of(ask(view, "sse", known[-1]["cursor"]), None))
    assert summary(known) == expected(drawn)


@laws
@given(specs())
def test_law_1__streams_are_the_same_answer(drawn: list[Spec]) -> None:
    hold_law_1(drawn)


@few
@given(specs(slow=True))
def test_law_1__in_threads(drawn: list[Spec]) -> None:
    hold_law_1(drawn, **THREADS)


@few
@given(specs(slow=True, placed=True))
def test_law_1__with_executors_of_parts(drawn: list[Spec]) -> None:
    hold_law_1(drawn)


@laws
@given(specs(), turns)
def test_law_2__cut_anywhere_each_part_comes_once(drawn: list[Spec], turns: list[Turn]) -> None:
    hold_law_2(drawn, turns)


@laws
@given(specs(slow=True), turns)
def test_law_2__in_threads(drawn: list[Spec], turns: list[Turn]) -> None:
    hold_law_2(drawn, turns, **THREADS)


@few
@given(specs(slow=True, placed=True), turns)
def test_law_2__with_executors_of_parts(drawn: list[Spec], turns: list[Turn]) -> None:
    hold_law_2(drawn, turns)


@few
@given(specs(slow=True), turns)
def test_law_2__with_a_time_budget(drawn: list[Spec], turns: list[Turn]) -> None:
    hold_law_2(drawn, turns, **BUDGET)


@few
@given(specs(slow=True), turns)
def test_law_2__without_a_cache(drawn: list[Spec], turns: list[Turn]) -> None:
    hold_law_2(drawn, turns, enable_caching=False, **THREADS)


@pytest.mark.parametrize("how", ["ndjson", "sse"])
def test_summary__notices_what_comes_twice(how: str) -> None:
    record = {"results": [{"a": 1}], "cursor": None}
    with pytest.raises(AssertionError, match="twice"):
        summary([record, record])
