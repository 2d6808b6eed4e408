"""The demo shop's settings, with the views of `views.py` beside it.

A stream sends heartbeats so often that every test has some. It has no limit of time that would end
it in a test that waits for the client to leave.
"""

from __future__ import annotations

from shopsite.settings import *  # noqa: F403
from shopsite.settings import DJANGO_PARTSTREAM as OF_SHOP

ROOT_URLCONF = "tests.integration.client.project.urls"
DATA_UPLOAD_MAX_MEMORY_SIZE = None
DJANGO_PARTSTREAM = {
    **OF_SHOP,
    "ENABLE_RATE_LIMITING": False,
    "STREAM_HEARTBEAT": 0.2,
    "STREAM_MAX_SECONDS": 600,
}
