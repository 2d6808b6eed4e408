"""The browser client: tests of `node:test`, against a server of the demo shop."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.node import PATIENCE, run

HERE = Path(__file__).parent
#: How long `cuts.test.js` cuts at random.
CUT_SECONDS = int(os.environ.get("PARTSTREAM_TEST_CUT_SECONDS", "10"))

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("subject", sorted(file.name for file in HERE.glob("*.test.js")))
def test_client__does_what_its_tests_in_node_demand(client_files, site_url, subject):
    command = ["node", "--test-reporter=spec", subject]
    print(run(command, client_files, patience=PATIENCE + CUT_SECONDS, SITE_URL=site_url))
