"""The base of all backends."""

from __future__ import annotations

from django.core.checks import CheckMessage


class Backend:
    """The base of all backends. One instance serves the whole process, from many threads.

    A backend gets its options through its constructor and never reads settings.
    """

    def check(self) -> list[CheckMessage]:
        """Messages about this backend for ``manage.py check``; none by default."""
        return []

    def check_deploy(self) -> list[CheckMessage]:
        """Further messages for ``manage.py check --deploy``: what matters in production only."""
        return []
