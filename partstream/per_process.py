"""What a process has once: values that its settings decide, and what a fork has to reset."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Hashable
from typing import Any, Generic, Protocol, TypeVar

from django.core.signals import setting_changed

T = TypeVar("T")


class Resettable(Protocol):
    """An object that must be reset in a forked child process."""

    def reset(self) -> None:
        """Start again, with no threads, no held locks and no work in progress."""


_resettable: weakref.WeakSet[Resettable] = weakref.WeakSet()


def reset_after_fork(instance: Resettable) -> None:
    """Call ``instance.reset()`` in each child process that is forked from this one.

    Threads do not survive a fork, and a lock that another thread held would stay locked for ever.
    The instance is held by a weak reference.
    """
    _resettable.add(instance)


def _reset_all() -> None:
    for instance in list(_resettable):
        instance.reset()


os.register_at_fork(after_in_child=_reset_all)


class Once:
    """Tells what happens for the first time in this process, for lines that are logged once.

    Args:
        names: Settings: after a change of one of them, everything is new again.
        most: The number of keys that it remembers. Once it is full, nothing is first any more.

    Example:
        ``if told.is_first(part): logger.warning(...)``
    """

    def __init__(self, *names: str, most: int = 4096) -> None:
        self._names = frozenset(names)
        self._most = most
        self._seen: dict[Hashable, object] = {}
        setting_changed.connect(self._forget)

    def is_first(self, key: Hashable = None) -> bool:
        """Whether this is the first call with this key; of several threads, one is the first."""
        if key in self._seen or len(self._seen) >= self._most:
            return False
        own = object()
        return self._seen.setdefault(key, own) is own

    def _forget(self, *, setting: str, **_: Any) -> None:
        if setting in self._names:
            self._seen.clear()


class Kept(Generic[T]):
    """A value made once per process, at first use, and again after one of its settings changes.

    Args:
        make: Makes the value. If it raises, each use raises until it succeeds.
        names: The settings that the value depends on.

    Example:
        ``get_settings = Kept(make_settings, "DJANGO_PARTSTREAM").get``
    """

    def __init__(self, make: Callable[[], T], *names: str) -> None:
        self._make = make
        self._names = frozenset(names)
        self._value: T | None = None
        self._lock = threading.RLock()
        setting_changed.connect(self._forget)

    def get(self) -> T:
        """The value."""
        value = self._value
        if value is None:
            with self._lock:
                if self._value is None:
                    self._value = self._make()
                value = self._value
        return value

    def _forget(self, *, setting: str, **_: Any) -> None:
        if setting in self._names:
            # Waits for a value that is being made: one made from the old setting is not kept.
            with self._lock:
                self._value = None
