"""The probes: what they try, what they find, and how they tell it without a secret."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from django.core.exceptions import ImproperlyConfigured

from partstream.backends.base import Backend
from partstream.backends.loader import (
    get_cache_store,
    get_cursor_codec,
    get_executors,
    get_rate_limit_store,
)
from partstream.conf import get_problems, get_settings, get_values
from partstream.exceptions import ProbeFailed
from partstream.identity import get_identity_function
from partstream.request_ids import get_request_id_function


class ProbeResult(NamedTuple):
    """What a probe found.

    Attributes:
        name: ``settings``, ``cursor_codec``, ``cache_store``, ``rate_limit_store`` or
            ``executors``.
        ok: Whether it works.
        message: A short text for operators. It never contains a secret.
        seconds: How long the probe took, or has taken so far.
    """

    name: str
    ok: bool
    message: str
    seconds: float


class Probe(NamedTuple):
    """A probe.

    Attributes:
        name: Its name, see `ProbeResult`.
        run: Returns a short text, or None if the project does not use what it tries. It raises if
            that does not work.
    """

    name: str
    run: Callable[[], str | None]


def get_probes() -> list[Probe]:
    """The probes for the settings in force; if those are not valid, that of the settings alone."""
    probes = [Probe("settings", _try_settings)]
    try:
        settings = get_settings()
    except ImproperlyConfigured:
        return probes
    probes.append(Probe("cursor_codec", lambda: _try_all([get_cursor_codec()])))
    # Without the walk cache only `cached_for()` uses a store. The settings do not tell whether a
    # view has such a part; but if they name a store, it is for that.
    if settings.ENABLE_CACHING or get_values()["CACHE_STORE"][1] != "default":
        probes.append(Probe("cache_store", _try_cache_store))
    if settings.ENABLE_RATE_LIMITING:
        probes.append(Probe("rate_limit_store", lambda: _try_all([get_rate_limit_store()])))
    probes.append(Probe("executors", lambda: _try_all(get_executors())))
    return probes


def _try_settings() -> str:
    problems = get_problems()
    if problems:
        # Without their texts, which quote values.
        wrong = ", ".join(f"{problem.source:.80}" for problem in problems)
        raise ProbeFailed(f"wrong: {wrong}; `manage.py check` says why")
    if get_settings().IDENTITY is not None:
        get_identity_function()
    if get_settings().REQUEST_ID is not None:
        get_request_id_function()
    return "no problems"


def _try_cache_store() -> str | None:
    store = get_cache_store()
    return _try_all([store]) if store.keeps else None


def _try_all(backends: Sequence[Backend]) -> str:
    """The names of the backends' classes, if all of them work."""
    for backend in backends:
        try:
            backend.probe()
        except Exception as error:
            raise ProbeFailed(f"{type(backend).__name__}: {describe(error)}") from error
    return ", ".join(type(backend).__name__ for backend in backends)


def describe(error: BaseException) -> str:
    """What an exception says, without its text, which may quote a URL with its password.

    Example:
        ``"redis.ConnectionError (Connection refused)"``
    """
    if isinstance(error, ProbeFailed):
        return str(error)
    if isinstance(error, ImproperlyConfigured):
        return "it cannot be used as it is configured; `manage.py check` says why"
    kind, reason = error, ""
    current: BaseException | None = error
    is_cause = True
    for _ in range(10):
        if current is None:
            break
        if is_cause:
            kind = current
        # The numbers of ssl and of the resolver are not the system's.
        if isinstance(current, OSError) and type(current).__module__ == "builtins":
            reason = f" ({os.strerror(current.errno)})" if current.errno else reason
        is_cause = is_cause and current.__cause__ is not None
        current = current.__cause__ or current.__context__
    package = type(kind).__module__.partition(".")[0]
    return f"{'' if package == 'builtins' else f'{package}.'}{type(kind).__name__}{reason}"
