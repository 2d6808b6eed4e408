"""The tests' settings, for commands of the documentation that are started in a new process."""

from __future__ import annotations

from tests.settings import *  # noqa: F403

# Older Djangos ask for it; what a command says is compared to the letter.
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
