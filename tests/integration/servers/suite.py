"""A test of the project, for ``manage.py test``; with `CLOSES` in the environment it cleans up.

It asks under both executors. Idle workers keep their connections for as long as the process lives,
so that nothing depends on how soon the tests end.
"""

from __future__ import annotations

import os

from django.test import TransactionTestCase

from partstream.backends.executors import pool
from partstream.testing import close_connections

from . import urls

pool.CLOSE_SECONDS = 600


class PartsTests(TransactionTestCase):
    def setUp(self):
        if os.environ.get("CLOSES"):
            self.addCleanup(close_connections)

    def test_parts__are_there(self):
        for kind in [*urls.PLAIN_KINDS, *urls.COROUTINE_KINDS]:
            with self.subTest(kind):
                response = self.client.get(f"/{kind}/")
                assert response.json()["results"] == [{"part": 0}]
