"""What ``manage.py check`` reports about the backends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from partstream.backends.base import Backend
from partstream.backends.loader import (
    get_cache_store,
    get_cursor_codec,
    get_executor,
    get_rate_limit_store,
)
from partstream.conf import get_problems, get_settings

Messages = list[checks.CheckMessage]


def check_backends(**_: Any) -> Messages:
    """Check that each backend can be made, and run its own checks."""
    backends, messages = _backends()
    for backend in backends:
        messages += backend.check()
    return messages


def check_backends_for_production(**_: Any) -> Messages:
    """Run the checks of backends that matter in production only."""
    return [message for backend in _backends()[0] for message in backend.check_deploy()]


def _backends() -> tuple[list[Backend], Messages]:
    """The backends of the settings, and errors for those that cannot be made."""
    if get_problems():
        return [], []
    backends: list[Backend] = []
    messages: Messages = []
    getters: list[Callable[[], Backend]] = [get_cursor_codec, get_cache_store, get_executor]
    if get_settings().ENABLE_RATE_LIMITING:
        getters.append(get_rate_limit_store)
    for get_backend in getters:
        try:
            backends.append(get_backend())
        except ImproperlyConfigured as error:
            messages.append(checks.Error(str(error), id="partstream.E003"))
    return backends, messages
