"""Beside the tools that people run: both see what they should, and neither disturbs the other."""

from __future__ import annotations

import json

import pytest

from tests.support.processes import run_python
from tests.support.requirements import demand

MODULES = {
    "debug_toolbar": "debug_toolbar",
    "sentry": "sentry_sdk",
    "silk": "silk",
    "structlog": "django_structlog",
}
EXECUTORS = {
    "inline": "partstream.backends.executors.inline.InlineExecutor",
    "threads": "partstream.backends.executors.threads.ThreadExecutor",
}


@pytest.fixture(params=EXECUTORS)
def run_beside(request, tmp_path):
    """What both saw in a project with the tool, whose parts run in each executor in turn."""

    def run_beside(tool):
        demand(MODULES[tool])
        code = f"import runpy, sys; sys.argv = ['beside', {tool!r}, {EXECUTORS[request.param]!r}]; "
        code += "runpy.run_module('tests.integration.observability.beside', run_name='__main__')"
        answer = json.loads(run_python(code, tmp_path).splitlines()[-1])
        assert answer["names"] == ["meta", "orders", "last"]
        assert answer["errors"] == ["part_failed"]
        # Silk has each query explained, which is another one.
        explained = tool == "silk" and request.param == "inline"
        assert answer["queries"] == answer["of_part"] == (6 if explained else 3)
        assert answer["count"] == 2
        return answer["tool"], request.param

    return run_beside


def test_debug_toolbar__replaces_server_timing(run_beside):
    seen, executor = run_beside("debug_toolbar")
    assert "TimerPanel_total" in seen["timing"]
    assert "orders" not in seen["timing"]
    # The toolbar sees the request's own thread alone.
    assert (executor == "inline") == ("SQL 3 queries" in seen["timing"])


def test_silk__records_requests_and_queries(run_beside):
    seen, executor = run_beside("silk")
    assert seen["requests"] == 2
    # Silk itself sees the request's own thread alone.
    assert seen["queries"] == (3 if executor == "inline" else 0)


def test_structlog__a_loader_logs_with_what_its_request_has_bound(run_beside):
    seen, _ = run_beside("structlog")
    began = next(line for line in seen["logs"] if line["event"] == "request_started")
    (line,) = [line for line in seen["logs"] if line["event"] == "loaded"]
    assert line["request_id"] == began["request_id"]


def test_sentry__gets_the_error_of_a_part_once(run_beside):
    seen, _ = run_beside("sentry")
    assert seen["errors"] == ["ValueError"]
    assert seen["loggers"] == ["partstream.parts"]
    # In whatever thread they are made.
    assert len(seen["queries"]) == 3
