"""The tests' settings, for commands of the documentation that are started in a new process."""

from __future__ import annotations

import os

from tests.settings import *  # noqa: F403

if os.environ.pop("PARTSTREAM_TEST_LIMITED", None):
    # For the commands that show what a project has that sets nothing.
    del os.environ["PARTSTREAM_ENABLE_RATE_LIMITING"]

# Older Djangos ask for it; what a command says is compared to the letter.
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
