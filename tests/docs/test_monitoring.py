"""The command of docs/monitoring.md: its thresholds, tried."""

from __future__ import annotations

import importlib.util
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from partstream.performance import publication
from partstream.performance.publication import publisher
from partstream.performance.recorder import Response, recorder

from .markdown import DOCS, blocks


@pytest.fixture
def alert(tmp_path):
    """The command, as a function that returns what it prints."""
    (block,) = [b for b in blocks(DOCS / "monitoring.md") if (b.path or "").endswith("alert.py")]
    file = tmp_path / "alert.py"
    file.write_text(block.source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("alert_of_the_docs", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run():
        output = StringIO()
        call_command(module.Command(), stdout=output)
        return output.getvalue()

    recorder.reset()
    publisher.reset()
    yield run
    recorder.reset()
    publisher.reset()


def respond(times=1, seconds=0.2, status=200):
    for _ in range(times):
        recorder.record(Response("board/", status, seconds, [], [], [], [], {}, 0))


def test_alert__is_quiet(alert):
    assert alert() == "ok: 0 responses\n"
    respond(100)
    respond(1, status=500)
    assert alert() == "ok: 101 responses\n"


def test_alert__slow(alert):
    respond(10)
    respond(90, seconds=1.2)
    with pytest.raises(CommandError, match=r"^responses take more than a second on average$"):
        alert()


def test_alert__errors(alert):
    respond(100)
    respond(2, status=500)
    with pytest.raises(CommandError, match=r"^more than 1 % of the responses have errors$"):
        alert()


def test_alert__hanging_loaders(alert, monkeypatch):
    respond()
    gauges = {"memory": 1, "queued_calls": 0, "running_calls": 0, "abandoned_calls": 9}
    monkeypatch.setattr(publication, "_gauges", lambda: gauges)
    with pytest.raises(CommandError, match=r"^loaders hang after their timeout$"):
        alert()
