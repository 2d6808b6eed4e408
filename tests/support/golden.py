"""Golden files: what the wire looks like, one answer a file. The wire only grows.

An answer is its status, headers and body; a stream has its records instead of a body, and each
record's frame: what stands around it.

A field may be added, on purpose, by renewing the file; no field may change or go, because clients
that read it would break.
"""

from __future__ import annotations

import json
import os
import re

import pytest

#: Set to 1 to write files that are missing, and fields that are new.
RENEW = "PARTSTREAM_TEST_RENEW_GOLDEN"

TOKEN = "<token>"
RECORD = "<record>"
END_CURSOR = "<end cursor>"
SECONDS = "<whole seconds>"
MILLISECONDS = "<milliseconds>"
THEIR_WORDS = "<text of REST framework>"

#: The headers that the wire format documents for every answer of its kind.
HEADERS = (
    *("Content-Type", "Cache-Control", "Vary", "Link", "Retry-After"),
    *("X-Accel-Buffering", "Content-Encoding"),
)
#: Codes whose text is REST framework's own, which its versions may change.
THEIR_CODES = {
    "method_not_allowed",
    "not_acceptable",
    "not_authenticated",
    "not_found",
    "permission_denied",
    "throttled",
}

#: Media type -> a record with all that belongs to it.
FRAMES = {
    "application/x-ndjson": re.compile("[^\n]*\n"),
    "text/event-stream": re.compile(".*?\n\n", re.DOTALL),
}

#: Name of a field -> the type of values that differ each time, and what stands for them.
_PLACEHOLDERS = {
    "cursor": (str, TOKEN),
    "retry_cursor": (str, TOKEN),
    "retry_after": (int, SECONDS),
    "duration": (float, MILLISECONDS),
}


def shown(response):
    """An answer as its golden file has it."""
    headers = {name: response.headers[name] for name in HEADERS if name in response.headers}
    if "Link" in headers:
        headers["Link"] = re.sub("(?<=cursor=)[^&>]+", TOKEN, headers["Link"])
    if headers.get("Retry-After", "").isdecimal():
        headers["Retry-After"] = SECONDS
    if response.status_code == 204:
        headers.pop("Content-Type", None)  # Django's default for an empty body says nothing.
    answer = {"status": response.status_code, "headers": headers}
    if response.streaming:
        frames = list(map(framed, re.findall(FRAMES[headers["Content-Type"]], body_of(response))))
        records = [with_placeholders(record) for _, record in frames if record is not None]
        return {**answer, "frames": [frame for frame, _ in frames], "records": records}
    return {**answer, "body": with_placeholders(response.json()) if response.content else None}


def body_of(response):
    """All of a stream; of heartbeats that come one after another, one."""
    heartbeats = b" ", b":\n\n"
    pieces = [b""]
    for piece in response.streaming_content:
        if piece != pieces[-1] or piece not in heartbeats:
            pieces.append(piece)
    return b"".join(pieces).decode()


def framed(text):
    """What stands around a record, and the record; None: it is a heartbeat alone."""
    found = re.search("{.*}", text)
    if found is None:
        return text, None
    record = json.loads(found[0])
    token = record["cursor"]
    frame = text.replace(found[0], RECORD)
    if token is None:
        return re.sub("(?<=^id: )[^\n]+", END_CURSOR, frame, flags=re.MULTILINE), record
    return frame.replace(f"id: {token}\n", f"id: {TOKEN}\n"), record


def with_placeholders(data):
    """JSON data with placeholders for tokens, times, and texts that are not ours."""
    if isinstance(data, list):
        return [with_placeholders(each) for each in data]
    if not isinstance(data, dict):
        return data
    replaced = {}
    for name, value in data.items():
        kind, placeholder = _PLACEHOLDERS.get(name, (None, None))
        if kind is not None and type(value) is kind:
            replaced[name] = placeholder
        elif name == "detail" and value and data.get("code") in THEIR_CODES:
            replaced[name] = THEIR_WORDS
        else:
            replaced[name] = with_placeholders(value)
    return replaced


def differences(golden, answer, at=""):
    """What broke and what grew, as two lists of lines."""
    if type(golden) is not type(answer):
        return [f"{at}: {golden!r} is now {answer!r}"], []
    broken, grown = [], []
    if isinstance(golden, dict):
        broken += [f"{at}/{name} is gone" for name in golden if name not in answer]
        grown += [f"{at}/{name} is new" for name in answer if name not in golden]
        pairs = [(name, golden[name], answer[name]) for name in golden if name in answer]
    elif isinstance(golden, list) and len(golden) == len(answer):
        pairs = list(zip(range(len(golden)), golden, answer, strict=True))
    else:
        return ([] if golden == answer else [f"{at}: {golden!r} is now {answer!r}"]), []
    for name, old, new in pairs:
        inner = differences(old, new, f"{at}/{name}")
        broken += inner[0]
        grown += inner[1]
    return broken, grown


def compare(path, answer):
    """Fail unless an answer is that of its golden file; write the file if that is wanted."""
    renews = os.environ.get(RENEW) == "1"
    golden = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    if golden is None and not renews:
        pytest.fail(f"There is no {path.name}. Run this test once with {RENEW}=1, and read it.")
    broken, grown = ([], []) if golden is None else differences(golden, answer)
    if broken:
        pytest.fail(
            f"{path.name}: this breaks the clients that are out there:\n  "
            + "\n  ".join(broken)
            + "\nFields may be added, but none may change or go within a major version. For a new "
            f"major version, delete the file and run this test with {RENEW}=1."
        )
    if grown and not renews:
        pytest.fail(
            f"{path.name}: the wire grew:\n  "
            + "\n  ".join(grown)
            + "\nIf that is meant, document it in docs/wire-format.md, and run this test with "
            f"{RENEW}=1."
        )
    if renews and golden != answer:
        text = json.dumps(answer, indent=2, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")
