"""The settings: ``DJANGO_PARTSTREAM`` in the project's settings, and the environment.

A setting is looked up in this order: an active ``override_settings``, the environment as it was
when the process started (``PARTSTREAM_<NAME>``), ``settings.py``, and the defaults below.
``override_settings`` replaces the whole dictionary, so names that it leaves out fall back to the
environment and then to the default.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from django.conf import settings as django_settings
from django.core.signals import setting_changed

from .exceptions import Misuse
from .per_process import Kept
from .setting_kinds import (
    COUNT,
    LIMIT,
    SWITCH,
    BackendPath,
    FunctionPath,
    Kind,
    NetworkList,
    Number,
    Secrets,
    Word,
)

SETTING = "DJANGO_PARTSTREAM"
PREFIX = "PARTSTREAM_"

#: Environment variables are read once, when the process starts.
ENVIRONMENT: Mapping[str, str] = {
    name: value for name, value in os.environ.items() if name.startswith(PREFIX)
}


@dataclass(frozen=True)
class Problem:
    """One fault of the configuration: its source, a message and a hint."""

    source: str
    message: str
    hint: str
    unknown: bool = False

    def __str__(self) -> str:
        return f"{self.source} {self.message} {self.hint}"


def _setting(default: Any, kind: Kind, *, variable: str = "") -> Any:
    """A field of `Settings`: its default, its kind, and the short name of its variable."""
    return field(default=default, metadata={"kind": kind, "variable": variable})


@dataclass(frozen=True)
class Settings:
    """The settings in force. Call `get_settings()` each time you need them."""

    #: Parts in one response of a walk. Environment: ``PARTSTREAM_CHUNK_SIZE``.
    DEFAULT_CHUNK_SIZE: int = _setting(2, COUNT, variable="CHUNK_SIZE")
    #: Seconds for which a cursor stays valid. Environment: ``PARTSTREAM_CURSOR_TTL``.
    DEFAULT_CURSOR_TTL: int = _setting(3600, COUNT, variable="CURSOR_TTL")
    #: The upper bound of every view's ``chunk_size``.
    MAX_PARTS_PER_REQUEST: int = _setting(50, Number(int, most=2000))
    #: The maximum length of a token in characters, for those received and those issued.
    MAX_CURSOR_SIZE: int = _setting(1024, Number(int, least=128, most=8192))
    #: The maximum number of keys in one request by key.
    MAX_KEYS_PER_REQUEST: int = _setting(10, Number(int, most=2000))
    #: A dotted path, or ``{"BACKEND": path, "OPTIONS": {...}}``.
    CURSOR_CODEC: str | Mapping[str, Any] = _setting(
        "partstream.backends.cursors.fernet.FernetCursorCodec", BackendPath()
    )
    #: Secrets of 32 characters or more: the first encrypts, all decrypt. None: ``SECRET_KEY``
    #: and ``SECRET_KEY_FALLBACKS``. Not read from the environment.
    CURSOR_KEYS: tuple[str, ...] | None = _setting(None, Secrets())
    #: Where loaders run: a dotted path, or ``{"BACKEND": path, "OPTIONS": {...}}``.
    PART_EXECUTOR: str | Mapping[str, Any] = _setting(
        "partstream.backends.executors.inline.InlineExecutor", BackendPath()
    )
    #: Seconds that a part may take; None: no limit.
    PART_TIMEOUT: float | None = _setting(None, Number(float, least=0.001, optional=True))
    #: Seconds after which a chunk is sent with the parts that are ready; None: it waits for all.
    CHUNK_TIME_BUDGET: float | None = _setting(None, Number(float, least=0.001, optional=True))
    #: Whether a walk caches parts that it may need again.
    ENABLE_CACHING: bool = _setting(True, SWITCH)
    #: Seconds for which a walk caches them.
    CACHE_TTL: int = _setting(300, COUNT)
    #: Seconds: a part that took longer is cached, in case a client repeats its cursor.
    CACHE_MIN_DURATION: float = _setting(0.25, Number(float, least=0))
    #: The maximum size in bytes of a cached fragment.
    MAX_FRAGMENT_SIZE: int = _setting(1 << 20, Number(int, least=1024, most=1 << 30))
    #: Where fragments are cached: a dotted path, or ``{"BACKEND": path, "OPTIONS": {...}}``.
    CACHE_STORE: str | Mapping[str, Any] = _setting(
        "partstream.backends.caches.django_cache.DjangoCacheStore", BackendPath()
    )
    #: The dotted path of a function ``(request) -> str | None``. It adds a dimension, such as a
    #: tenant, to the identity that views determine. None: no such dimension.
    IDENTITY: str | None = _setting(None, FunctionPath())
    #: The dotted path of a function ``(request) -> str | None`` that returns the id of a request,
    #: which is Django's. None: the id is that of the header ``X-Request-ID``, or random.
    REQUEST_ID: str | None = _setting(None, FunctionPath())
    #: Whether requests are counted and rate-limited.
    ENABLE_RATE_LIMITING: bool = _setting(True, SWITCH)
    #: Requests per client and minute, over all views; None: no such limit.
    RATE_LIMIT: int | None = _setting(100, replace(LIMIT, optional=True))
    #: New walks and streams per client and ten seconds; None: no such limit.
    BURST_LIMIT: int | None = _setting(10, replace(LIMIT, optional=True))
    #: Where requests are counted: a dotted path, or ``{"BACKEND": path, "OPTIONS": {...}}``.
    RATE_LIMIT_STORE: str | Mapping[str, Any] = _setting(
        "partstream.backends.rate_limits.django_cache.DjangoCacheRateLimitStore", BackendPath()
    )
    #: What happens to a request while that store is down: ``"local"`` counts it in this process,
    #: ``"closed"`` answers 503, ``"open"`` admits it.
    RATE_LIMIT_ON_STORE_ERROR: str = _setting("local", Word(("local", "closed", "open")))
    #: Proxies whose ``X-Forwarded-For`` is trusted; ``"unix"`` for a server behind a Unix socket.
    TRUSTED_PROXIES: tuple[str, ...] = _setting((), NetworkList(("unix",)))
    #: Only clients from these networks are admitted; empty: all clients.
    IP_ALLOWLIST: tuple[str, ...] = _setting((), NetworkList())
    #: Clients from these networks are refused, even if ``IP_ALLOWLIST`` has them.
    IP_BLOCKLIST: tuple[str, ...] = _setting((), NetworkList())
    #: Whether refused requests are logged to ``partstream.audit``.
    ENABLE_AUDIT_LOGGING: bool = _setting(True, SWITCH)
    #: Seconds of silence after which a stream sends a heartbeat.
    STREAM_HEARTBEAT: float = _setting(5.0, Number(float, least=0.1))
    #: The maximum number of open streams in one process; 0: there are no streams.
    MAX_STREAMS: int = _setting(100, Number(int, least=0))
    #: Seconds after which a stream ends, for its client to resume it.
    STREAM_MAX_SECONDS: float = _setting(25.0, Number(float, least=0.1))
    #: Whether ``PerformanceMiddleware``, where it is installed, records and publishes.
    ENABLE_MONITORING: bool = _setting(True, SWITCH)
    #: Whether it also measures queries and memory.
    TRACK_PERFORMANCE: bool = _setting(True, SWITCH)
    #: Whether slow parts and repeated queries are logged, and staff may ask what each part cost.
    ENABLE_DEBUG_LOGGING: bool = _setting(False, SWITCH)
    #: Whether ``partstream.health.HealthCheckView`` answers; if not, it is 404.
    HEALTH_CHECK_ENABLED: bool = _setting(True, SWITCH)


_FIELDS = {entry.name: entry for entry in fields(Settings)}
#: Variable -> setting. Lists have no variable.
VARIABLES = {
    PREFIX + (entry.metadata["variable"] or name): name
    for name, entry in _FIELDS.items()
    if entry.metadata["kind"].in_environment
}
_HINTS = {
    "CURSOR_KEYS": 'Make each with `python -c "import secrets; print(secrets.token_urlsafe(48))"`.',
}


def _read() -> tuple[dict[str, Any], list[Problem]]:
    """All values that are set, and all faults found while reading them."""
    values: dict[str, Any] = {}
    problems: list[Problem] = []

    def take(name: str, value: Any, source: str) -> None:
        try:
            values[name] = _FIELDS[name].metadata["kind"].take(value)
        except ValueError as error:
            hint = _HINTS.get(name, f"The default is {_FIELDS[name].default!r}.")
            problems.append(Problem(source, str(error), hint))

    for variable, name in VARIABLES.items():
        if variable in ENVIRONMENT:
            text = ENVIRONMENT[variable]
            try:
                value = _FIELDS[name].metadata["kind"].parse(text)
            except ValueError as error:
                problems.append(Problem(variable, str(error), f"It is {text!r}."))
            else:
                take(name, value, variable)

    declared = getattr(django_settings, SETTING, {})
    if not isinstance(declared, Mapping):
        problems.append(
            Problem(SETTING, "must be a dictionary.", 'Write {"DEFAULT_CHUNK_SIZE": 2}.')
        )
        return values, problems
    faulty = {VARIABLES[problem.source] for problem in problems}
    for name, value in declared.items():
        source = f"{SETTING}[{name!r}]"
        if name not in _FIELDS:
            problems.append(Problem(source, "is not a setting.", _guess(name), unknown=True))
        elif _overrides or not (name in values or name in faulty):
            take(name, value, source)
    return values, problems


def _guess(name: object) -> str:
    close = difflib.get_close_matches(str(name).upper(), _FIELDS, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"The settings are {', '.join(_FIELDS)}."


_overrides = 0


def _count_overrides(*, setting: str, enter: bool, **_: Any) -> None:
    global _overrides
    if setting == SETTING:
        _overrides = max(0, _overrides + (1 if enter else -1))


setting_changed.connect(_count_overrides)


def _make_settings() -> Settings:
    values, problems = _read()
    if problems:
        raise Misuse("\n".join(map(str, problems)))
    return Settings(**values)


#: Returns the settings that are in force now. It raises `Misuse` when any setting is unknown or
#: invalid; the message names all of them.
get_settings = Kept(_make_settings, SETTING).get


def get_source(name: str) -> str:
    """The source of a setting's value: its variable, or its place in the settings module."""
    variable = next((known for known, setting in VARIABLES.items() if setting == name), "")
    declared = getattr(django_settings, SETTING, {})
    is_declared = isinstance(declared, Mapping) and name in declared
    if variable in ENVIRONMENT and not (_overrides and is_declared):
        return variable
    return f"{SETTING}[{name!r}]"


#: In place of a value that is not valid, see `get_values`.
INVALID: Final = object()


def get_values() -> dict[str, tuple[Any, str]]:
    """Each setting's value and source by its name, even if some of them are not valid.

    The source is the variable's name, ``"settings.py"`` or ``"default"``.
    """
    values, _ = _read()
    declared = getattr(django_settings, SETTING, {})
    found: dict[str, tuple[Any, str]] = {}
    for name, entry in _FIELDS.items():
        source = get_source(name)
        if source not in VARIABLES:
            is_set = isinstance(declared, Mapping) and name in declared
            source = "settings.py" if is_set else "default"
        found[name] = (
            entry.default if source == "default" else values.get(name, INVALID),
            source,
        )
    return found


def get_problems() -> list[Problem]:
    """All faults of the configuration, for ``manage.py check``."""
    return _read()[1]


def misspelt_variables() -> Iterator[tuple[str, str]]:
    """Environment variables that look like a misspelt setting, with the likely name."""
    for variable in ENVIRONMENT:
        name = variable.removeprefix(PREFIX)
        if variable in VARIABLES:
            continue
        if name in _FIELDS:
            own = next((known for known, setting in VARIABLES.items() if setting == name), None)
            yield variable, own or f"{SETTING}[{name!r}], in the settings module"
        else:
            close = difflib.get_close_matches(variable, VARIABLES, n=1, cutoff=0.85)
            if close:
                yield variable, close[0]


#: Names that settings of Django packages often have.
_OTHER_NAMES: Final = frozenset({"PARTSTREAM", "PARTSTREAM_SETTINGS", "DRF_PARTSTREAM"})


def misspelt_dictionaries() -> list[str]:
    """Names in the settings module that look like a misspelt ``DJANGO_PARTSTREAM``."""
    return [
        name
        for name in dir(django_settings)
        if name != SETTING
        and (name in _OTHER_NAMES or difflib.get_close_matches(name, [SETTING], cutoff=0.85))
        and isinstance(getattr(django_settings, name, None), Mapping)
    ]
