"""What the settings are and where they come from, without any secret in them.

What may be a secret is masked, and so is what is not known to be none: most of the options of a
project's own backend.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final, NamedTuple

from django.conf import settings as django_settings

from partstream.conf import INVALID, Settings, get_values
from partstream.setting_kinds import (
    BackendPath,
    Flag,
    FunctionPath,
    Kind,
    NetworkList,
    Number,
    Secrets,
    Word,
)

#: Stands for what may be a secret.
MASK: Final = "***"
#: Stands for a value that is not valid.
NOT_VALID: Final = "(not valid)"

#: Kinds of settings that cannot hold a secret.
_OPEN_KINDS: Final = (Flag, FunctionPath, NetworkList, Number, Word)

#: The URL of a Redis server. Whatever has another form is masked: a password that is not quoted as
#: URLs demand it can be in any place.
_URL = re.compile(
    r"(?P<scheme>rediss?://)(?P<user>[^@/?#]*@)?(?P<host>(?:[\w.-]+|\[[\da-fA-F:.]+\])(?::\d+)?)"
    r"(?P<database>/\d*)?(?P<query>\?[^@#]*)?",
    re.ASCII,
)


class SettingValue(NamedTuple):
    """A setting as operators may see it.

    Attributes:
        name: Its name.
        value: JSON data, masked; `NOT_VALID` if it is not valid.
        source: The name of the variable that sets it, ``"settings.py"`` or ``"default"``.
    """

    name: str
    value: Any
    source: str


def get_setting_values() -> list[SettingValue]:
    """All settings in the order of `Settings`, even if some of them are not valid."""
    kinds: dict[str, Kind] = {entry.name: entry.metadata["kind"] for entry in fields(Settings)}
    return [
        SettingValue(name, NOT_VALID if value is INVALID else _masked(kinds[name], value), source)
        for name, (value, source) in get_values().items()
    ]


def _masked(kind: Kind, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(kind, Secrets):
        return f"{len(value)} secret{'s' if len(value) > 1 else ''}"
    if isinstance(kind, BackendPath):
        return value if isinstance(value, str) else _masked_backend(value)
    if isinstance(kind, _OPEN_KINDS):
        return list(value) if isinstance(value, tuple) else value
    return MASK


def _masked_backend(configured: Mapping[str, Any]) -> dict[str, Any]:
    options = configured.get("OPTIONS")
    if options is None:
        return dict(configured)
    masked = {str(name): _masked_option(name, value) for name, value in options.items()}
    return {**configured, "OPTIONS": masked}


def _masked_option(name: Any, value: Any) -> Any:
    show = OPTIONS.get(name)
    return MASK if show is None else show(value)


def _number(value: Any) -> Any:
    return value if type(value) in (int, float) else MASK


def _alias(value: Any) -> Any:
    return value if isinstance(value, str) and value in django_settings.CACHES else MASK


def _path(value: Any) -> Any:
    return value if FunctionPath().accepts(value) else MASK


def masked_url(value: Any) -> str:
    """The URL of a Redis server without user, password and query.

    Example:
        ``masked_url("redis://ada:hunter2@redis.example.com:6379/0?socket_timeout=1")`` is
        ``"redis://***@redis.example.com:6379/0?***"``.
    """
    found = _URL.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return MASK
    user = f"{MASK}@" if found["user"] else ""
    query = f"?{MASK}" if found["query"] else ""
    return f"{found['scheme']}{user}{found['host']}{found['database'] or ''}{query}"


#: The options of the library's own backends -> what shows their values.
OPTIONS: Final[Mapping[Any, Callable[[Any], Any]]] = {
    "after_call": _path,
    "alias": _alias,
    "before_call": _path,
    "cluster_url": masked_url,
    "max_abandoned": _number,
    "max_coroutines": _number,
    "max_keys": _number,
    "max_per_request": _number,
    "max_queued": _number,
    "max_workers": _number,
    "retry_after": _number,
    "timeout": _number,
}
