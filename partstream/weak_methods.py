"""References to bound methods that do not keep their objects."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import MethodType
from typing import Any


class WeakMethod:
    """A reference to a bound method; calling it returns the method, or None if its object is gone.

    ``weakref.WeakMethod`` does the same with a callback, which raises where the object and the
    reference go at the same time, in two threads.

    Args:
        method: A bound method.
    """

    __slots__ = ("_function", "_object")

    def __init__(self, method: Callable[..., Any]) -> None:
        self._object = weakref.ref(method.__self__)  # type: ignore[attr-defined]
        self._function = method.__func__  # type: ignore[attr-defined]

    def __call__(self) -> Any:
        """The bound method; None: its object is gone."""
        found = self._object()
        return None if found is None else MethodType(self._function, found)
