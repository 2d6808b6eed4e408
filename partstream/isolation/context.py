"""The context of a request's thread: its context variables, its language, its time zone."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from threading import get_ident
from typing import Any

from django.urls import get_script_prefix, get_urlconf, set_script_prefix, set_urlconf
from django.utils import timezone, translation

try:
    from asgiref.local import _Storage as Storage
except ImportError:  # Before asgiref 3.12.
    Storage = None  # type: ignore[assignment, misc]


class ThreadSettings:
    """Language, time zone, script prefix and URL configuration of the thread that makes it."""

    def __init__(self) -> None:
        self._language = translation.get_language()
        self._zone = timezone.get_current_timezone()
        self._prefix = get_script_prefix()
        self._urlconf = get_urlconf()

    def restore(self) -> None:
        """Set them in this thread, and in this context."""
        if translation.get_language() != self._language:
            if self._language is None:
                translation.deactivate_all()
            else:
                translation.activate(self._language)
        if timezone.get_current_timezone() is not self._zone:
            timezone.activate(self._zone)
        if get_script_prefix() != self._prefix:
            set_script_prefix(self._prefix)
        if get_urlconf() != self._urlconf:
            set_urlconf(self._urlconf)


class SavedContext:
    """The context variables of this thread, restored after each loader that runs in it.

    Language and time zone are context variables too, so one comparison tells whether the loader
    changed anything. A variable that had no value before keeps the one that the loader gave it. A
    worker needs no restoring: it runs in a copy of the context.
    """

    def __init__(self) -> None:
        self._context = copy_context()

    def restore(self) -> None:
        """Undo what a loader changed."""
        try:
            if copy_context() == self._context:
                return
        except Exception:  # noqa: BLE001 - a project's value cannot be compared
            pass
        for variable, value in self._context.items():
            if variable.get() is not value:
                variable.set(value)
        self._context.run(ThreadSettings).restore()


class CallersContext:
    """A copy of the context variables of the thread that makes it, for a thread that works for it.

    Django keeps the `ThreadSettings` in asgiref's ``Local``: a context variable whose value names
    the thread that it belongs to, so that another thread does not see it in a copy of the context.
    Here the values get the name of the running thread, as in asgiref's ``sync_to_async``, because
    reading and setting the four settings takes longer than all other work around a call. With an
    asgiref whose ``Local`` is built differently, the four are read and set.
    """

    __slots__ = ("_context", "_settings", "_thread")

    def __init__(self) -> None:
        self._context = copy_context()
        self._thread = get_ident()
        self._settings = ThreadSettings() if Storage is None else None

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function in this thread, with the copied variables."""
        return self._context.run(self._run, function, *args)

    def _run(self, function: Callable[..., Any], *args: Any) -> Any:
        before, here = self._thread, get_ident()
        if self._settings is not None:
            self._settings.restore()
        elif here != before:
            for variable, value in self._context.items():
                # A value that the caller's thread did not see stays unseen here, too.
                if type(value) is Storage and value.thread_id == before:
                    variable.set(Storage(here, value.data))
            self._thread = here
        return function(*args)
