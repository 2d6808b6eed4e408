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

    def probe(self) -> None:
        """Try what requests need of this backend, for a health check. By default, nothing.

        It is called in a thread of its own, which ends after it, and never twice at a time. It may
        wait for a service: its caller gives up in time. It affects no request: it counts for no
        client, opens and closes no breaker, and leaves nothing behind.

        Raises:
            ProbeFailed: When it does not work; its text is shown, so it must contain no secret.
            Exception: The same, for any other exception; only its type is shown.
        """

    def check_deploy(self) -> list[CheckMessage]:
        """Further messages for ``manage.py check --deploy``: what matters in production only."""
        return []
