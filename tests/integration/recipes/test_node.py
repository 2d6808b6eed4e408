"""The recipes for Node, in Node; and how a front-end project installs the module."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import AllowAny

from partstream import HybridProgressiveView, lazy
from tests.docs.markdown import blocks
from tests.support.concurrency import PATIENCE
from tests.support.node import run

from .documentation import CLIENT, block

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

TOKEN = "t0k3n"


class ByToken(BaseAuthentication):
    def authenticate(self, request):
        if request.headers.get("Authorization") != f"Token {TOKEN}":
            raise AuthenticationFailed()
        return AnonymousUser(), TOKEN

    def authenticate_header(self, request):
        return "Token"


def get_forecast(request):
    raise RuntimeError("as the page shows it")


class DashboardView(HybridProgressiveView):
    authentication_classes = (ByToken,)
    permission_classes = (AllowAny,)
    parts = (("orders", lazy(lambda request: 17)), ("forecast", lazy(get_forecast)))


def commands():
    """The commands of the page, with what they print."""
    texts = [each.source for each in blocks(CLIENT) if each.language == "text"]
    return dict(text.removeprefix("$ ").split("\n", 1) for text in texts if text.startswith("$ "))


@pytest.fixture
def dashboard_url(publish, start_site):
    publish("", DashboardView)
    return f"{start_site().url}/api/dashboard/"


def test_report__prints_what_the_page_says(workspace, dashboard_url):
    workspace.write("report.mjs", block("report.mjs"))
    [(command, output)] = [pair for pair in commands().items() if "report.mjs" in pair[0]]
    command = command.replace("…", TOKEN).replace(
        "https://shop.example/api/dashboard/", dashboard_url
    )
    assert dashboard_url in command
    assert run(["sh", "-c", command], workspace.directory) == output


def test_report__fails_without_its_token(workspace, dashboard_url):
    workspace.write("report.mjs", block("report.mjs"))
    done = subprocess.run(
        ["node", "report.mjs", dashboard_url],
        cwd=workspace.directory,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode != 0
    assert "authentication_failed" in done.stderr
    assert done.stdout == ""


def test_report__prints_each_part_when_it_comes(workspace, publish, start_site, dashboard):
    workspace.write("report.mjs", block("report.mjs"))
    publish("", dashboard.view)
    with subprocess.Popen(
        ["node", "report.mjs", f"{start_site().url}/api/dashboard/"],
        cwd=workspace.directory,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        dashboard.forecast.release()
        assert process.stdout.readline() == "forecast 23\n"
        dashboard.orders.release()
        assert process.stdout.readline() == "orders 17\n"
        assert process.wait(PATIENCE) == 0


def test_parser__gives_the_records_of_a_stream(workspace, publish, start_site, dashboard):
    source = block("The parser by itself").replace(
        "console.log(record)", "console.log(JSON.stringify(record))"
    )
    workspace.write("parse.mjs", source)
    publish("", dashboard.view)
    dashboard.orders.release()
    dashboard.forecast.release()
    printed = run(["node", "parse.mjs", f"{start_site().url}/api/dashboard/"], workspace.directory)
    first, *others = map(json.loads, printed.splitlines())
    assert first["meta"]["pending"] == ["orders", "forecast"]
    results = [result for record in others for result in record["results"]]
    assert sorted(results, key=str) == [{"forecast": 23}, {"orders": 17}]
    assert others[-1]["cursor"] is None


def test_command__installs_the_module_for_a_bundler(tmp_path):
    (tmp_path / "package.json").write_text('{"private": true, "type": "module"}')
    [shown] = [each for each in blocks(CLIENT) if "npm install" in each.source]
    asked = [line.removeprefix("$ ") for line in shown.source.splitlines()]
    assert len(asked) == 3
    python = Path(sys.executable).parent
    environment = {
        "PATH": os.pathsep.join([str(python), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "npm_config_audit": "false",
    }
    for command in asked:
        run(["sh", "-c", command], tmp_path, **environment)
    # What was packed is all that is needed.
    assert not (tmp_path / "node_modules" / "django-partstream").is_symlink()
    (tmp_path / "main.js").write_text(
        'import { partstream } from "django-partstream";\nconsole.log(typeof partstream);\n'
    )
    assert run(["node", "main.js"], tmp_path) == "function\n"
