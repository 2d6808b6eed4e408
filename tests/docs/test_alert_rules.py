"""The alert rules of docs/prometheus-alerts.yml: checked and tried by Prometheus's own tool."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from .markdown import DOCS, rows, sections

RULES = DOCS / "prometheus-alerts.yml"
CASES = Path(__file__).with_name("prometheus_alerts_test.yml")


@pytest.fixture
def promtool():
    """Runs Prometheus's tool; without it, the test is skipped, or fails where CI is set."""
    path = shutil.which("promtool")
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("There is no promtool here.")

    def run(*arguments):
        done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def rules():
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def test_rules__are_valid(promtool):
    assert f"{len(rules())} rules found" in promtool("check", "rules", str(RULES))


def test_rules__ring_when_they_should(promtool, tmp_path):
    cases = tmp_path / "cases.yml"
    cases.write_text(CASES.read_text(encoding="utf-8").replace("RULES", str(RULES)))
    assert "SUCCESS" in promtool("test", "rules", str(cases))


def test_rules__are_all_tried():
    cases = yaml.safe_load(CASES.read_text(encoding="utf-8"))["tests"]
    for case in cases:
        assert {each["alertname"] for each in case["alert_rule_test"]} == rules().keys()


@pytest.mark.skipif(find_spec("prometheus_client") is None, reason="the exporter is not installed")
def test_rules__ask_for_metrics_that_exist():
    from partstream.contrib.prometheus import PartstreamCollector
    from partstream.performance.recorder import recorder

    recorder.reset()
    exported = {
        family.name + suffix
        for family in PartstreamCollector().collect()
        for suffix in ("", "_total", "_bucket", "_count", "_sum")
    }
    for rule in rules().values():
        asked = set(re.findall(r"partstream_\w+", rule["expr"]))
        assert asked
        assert asked <= exported


def test_rules__are_those_of_the_page():
    text = sections(DOCS / "monitoring.md")["Alert rules"]
    listed = {row[0].strip("`"): row[2].replace(" min", "m") for row in rows(text)}
    assert listed == {name: rule.get("for", "") for name, rule in rules().items()}
