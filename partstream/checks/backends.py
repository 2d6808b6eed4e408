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
from partstream.backends.rate_limits.base import RateLimitStore
from partstream.conf import get_problems, get_settings, get_values

Messages = list[checks.CheckMessage]


def check_backends(**_: Any) -> Messages:
    """Check that each backend can be made, and run its own checks."""
    backends, messages = _backends()
    for backend in backends:
        messages += [message for message in backend.check() if not _is_for_production(message)]
    return messages


def check_backends_for_production(**_: Any) -> Messages:
    """Run the checks of backends that matter in production only."""
    messages: Messages = []
    for backend in _backends()[0]:
        if isinstance(backend, RateLimitStore):
            messages += filter(_is_for_production, backend.check())
        messages += backend.check_deploy()
    return messages


def _is_for_production(message: checks.CheckMessage) -> bool:
    """Whether it is about the cache of a new project, where nobody has chosen a store yet."""
    return message.id == "partstream.W009" and get_values()["RATE_LIMIT_STORE"][1] == "default"


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
