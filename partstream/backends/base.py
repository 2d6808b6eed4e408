"""What every backend has."""

from __future__ import annotations

from django.core.checks import CheckMessage


class Backend:
    """The base of all backends. One instance serves a process, from many threads.

    A backend gets its options by its constructor and never reads settings.
    """

    def check(self) -> list[CheckMessage]:
        """What ``manage.py check`` should say about this backend, nothing by default."""
        return []

    def check_deploy(self) -> list[CheckMessage]:
        """What ``manage.py check --deploy`` should say beside: what matters in production only."""
        return []
