"""Views whose parts arrive as they are ready: by cursor, by key, or as a stream.

The names are loaded when they are first used, so importing this package costs nothing and needs
no configured Django.
"""

from __future__ import annotations

from importlib import import_module

# Not from typing: type checkers know the name, and importing typing costs more than all the rest.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .exceptions import PartError as PartError
    from .loaders import cached_for as cached_for
    from .loaders import safe_call as safe_call
    from .loaders import with_timeout as with_timeout
    from .parts import PartList as PartList
    from .parts import lazy as lazy
    from .views import HybridProgressiveView as HybridProgressiveView
    from .views import ProgressiveView as ProgressiveView

__version__ = "0.1.0"

_HOMES = {
    "HybridProgressiveView": "views",
    "PartError": "exceptions",
    "PartList": "parts",
    "ProgressiveView": "views",
    "cached_for": "loaders",
    "lazy": "parts",
    "safe_call": "loaders",
    "with_timeout": "loaders",
}

__all__ = [
    "HybridProgressiveView",
    "PartError",
    "PartList",
    "ProgressiveView",
    "cached_for",
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
