"""What a request's thread has set for itself, and a thread that works for it has to have too."""

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


class Surroundings:
    """Language, time zone, script prefix and URL configuration of the thread that makes it."""

    __slots__ = ("_language", "_prefix", "_urlconf", "_zone")

    def __init__(self) -> None:
        self._language = translation.get_language()
        self._zone = timezone.get_current_timezone()
        self._prefix = get_script_prefix()
        self._urlconf = get_urlconf()

    def restore(self) -> None:
        """Have them so in this thread, and in this context."""
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


class CallersContext:
    """A copy of the context variables of the thread that makes it, for one that works for it.

    Django keeps the `Surroundings` in asgiref's ``Local``: a context variable whose value names the
    thread that it is for, so that another thread which runs in a copy of the context does not see
    it. So the values get another name here, as asgiref gives them one in ``sync_to_async``; to read
    the four and to set them took longer than all else that a call costs. An asgiref whose ``Local``
    is made otherwise gets the four.
    """

    __slots__ = ("_context", "_surroundings", "_thread")

    def __init__(self) -> None:
        self._context = copy_context()
        self._thread = get_ident()
        self._surroundings = Surroundings() if Storage is None else None

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function with them, in this thread."""
        return self._context.run(self._run, function, *args)

    def _run(self, function: Callable[..., Any], *args: Any) -> Any:
        before, here = self._thread, get_ident()
        if self._surroundings is not None:
            self._surroundings.restore()
        elif here != before:
            for variable, value in self._context.items():
                # What the caller's thread did not see either stays unseen.
                if type(value) is Storage and value.thread_id == before:
                    variable.set(Storage(here, value.data))
            self._thread = here
        return function(*args)
