"""What a request's thread has set for itself, and a thread that works for it has to have too."""

from __future__ import annotations

from django.urls import get_script_prefix, get_urlconf, set_script_prefix, set_urlconf
from django.utils import timezone, translation


class Surroundings:
    """Language, time zone, script prefix and URL configuration of the thread that makes it.

    Context variables can be copied from thread to thread. Django keeps these four in asgiref's
    ``Local``, which copies of a context do not carry to another thread.
    """

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
