"""What ``manage.py check`` reports about the settings."""

from __future__ import annotations

from typing import Any

from django.core import checks

from partstream.conf import (
    SETTING,
    get_problems,
    get_settings,
    misspelt_dictionaries,
    misspelt_variables,
)

Messages = list[checks.CheckMessage]


def check_settings(**_: Any) -> Messages:
    """Check for unknown names, wrong values, and variables that look like a setting."""
    messages: Messages = [
        checks.Error(
            f"{problem.source} {problem.message}",
            hint=problem.hint,
            id="partstream.E001" if problem.unknown else "partstream.E002",
        )
        for problem in get_problems()
    ]
    messages += [
        checks.Warning(
            f"partstream does not read the environment variable {variable}.",
            hint=f"Did you mean {likely}?",
            id="partstream.W003",
        )
        for variable, likely in misspelt_variables()
    ]
    messages += [
        checks.Warning(
            f"partstream does not read the setting {name}.",
            hint=f"Rename it to {SETTING}.",
            id="partstream.W021",
        )
        for name in misspelt_dictionaries()
    ]
    if not get_problems():
        settings = get_settings()
        if settings.DEFAULT_CHUNK_SIZE > settings.MAX_PARTS_PER_REQUEST:
            messages.append(
                checks.Warning(
                    f"DEFAULT_CHUNK_SIZE is {settings.DEFAULT_CHUNK_SIZE}, but a chunk has at most "
                    f"{settings.MAX_PARTS_PER_REQUEST} parts.",
                    hint="Lower it, or raise MAX_PARTS_PER_REQUEST.",
                    id="partstream.W001",
                )
            )
        if settings.MAX_STREAMS and settings.STREAM_HEARTBEAT >= settings.STREAM_MAX_SECONDS:
            messages.append(
                checks.Warning(
                    f"STREAM_HEARTBEAT is {settings.STREAM_HEARTBEAT:g} s, but a stream ends after "
                    f"{settings.STREAM_MAX_SECONDS:g} s (STREAM_MAX_SECONDS), so it has no "
                    "heartbeat.",
                    hint="Lower it: proxies cut a silent connection, and under WSGI a heartbeat "
                    "is how the departure of a client is noticed.",
                    id="partstream.W024",
                )
            )
    return messages
