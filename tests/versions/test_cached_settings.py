"""Django's settings whose values a process keeps follow ``override_settings``."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import override_settings

from tests.example.models import Note
from tests.support.walk_client import at, first_cursor, get_json


@pytest.mark.django_db
def test_debug__is_followed(client, serve, caplog):
    url = serve(get_parts=lambda self: [("count", Note.objects.count())])
    before = list(connection.execute_wrappers)

    def warns():
        caplog.clear()
        get_json(client, url)
        return any("get_parts() ran 1 queries" in text for text in caplog.messages)

    assert not warns()
    with override_settings(DEBUG=True):
        assert warns()
        with override_settings(DEBUG=False):
            assert not warns()
        assert warns()
    assert not warns()
    assert connection.execute_wrappers == before


def test_forwarded_host__is_followed(client, serve):
    url = serve(parts=[("a", 1), ("b", 2)], chunk_size=1)
    # Without this header, Django finds the host by itself.
    asked = {"host": "testserver"}
    token = first_cursor(client, url, headers={**asked, "x-forwarded-host": "other.example"})

    def is_bound_to_the_forwarded_host():
        answers = [
            client.get(at(url, token), headers={**asked, "x-forwarded-host": host}).status_code
            for host in ("testserver", "other.example")
        ]
        assert answers in ([200, 400], [200, 200])
        return answers == [200, 400]

    assert not is_bound_to_the_forwarded_host()
    with override_settings(USE_X_FORWARDED_HOST=True):
        assert is_bound_to_the_forwarded_host()
        with override_settings(USE_X_FORWARDED_HOST=False):
            assert not is_bound_to_the_forwarded_host()
        assert is_bound_to_the_forwarded_host()
    assert not is_bound_to_the_forwarded_host()
