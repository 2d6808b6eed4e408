"""Views that deliver their parts as they become ready: by cursor, by key, or as a stream.

Each name is imported at its first use, so ``import partstream`` is cheap and works before Django
is configured.
"""

from __future__ import annotations

from importlib import import_module

# Not imported from typing: type checkers know this name, and importing typing costs more than the
# rest of this module.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .exceptions import PartError as PartError
    from .parts.declaration import PartList as PartList
    from .parts.declaration import lazy as lazy
    from .parts.endpoints import endpoint as endpoint
    from .parts.loader import cached_for as cached_for
    from .parts.loader import safe_call as safe_call
    from .parts.loader import with_timeout as with_timeout
    from .views import HybridProgressiveView as HybridProgressiveView
    from .views import ProgressiveView as ProgressiveView

__version__ = "0.1.0"

_HOMES = {
    "HybridProgressiveView": "views",
    "PartError": "exceptions",
    "PartList": "parts.declaration",
    "ProgressiveView": "views",
    "cached_for": "parts.loader",
    "endpoint": "parts.endpoints",
    "lazy": "parts.declaration",
    "safe_call": "parts.loader",
    "with_timeout": "parts.loader",
}

__all__ = [
    "HybridProgressiveView",
    "PartError",
    "PartList",
    "ProgressiveView",
    "cached_for",
    "endpoint",
    "lazy",
    "safe_call",
    "with_timeout",
]


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(f".{home}", __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
