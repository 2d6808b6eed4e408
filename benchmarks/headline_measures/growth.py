"""What a walk costs as the number of parts grows: those that are delivered, and those that are not.

In this process, without a server. The parts are declared once, in the attribute ``parts``, and
their loaders cost nothing; ten of them go into a chunk.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from timing import Case
from timing import measure as timed

CHUNK = 10


@dataclass
class Growth:
    """Microseconds of one view.

    Attributes:
        parts: The number of its parts.
        blocking: A blocking view of all parts.
        walk: The whole walk.
        first: The first chunk alone.
        by_key: One part, by key.
    """

    parts: int
    blocking: float
    walk: float
    first: float
    by_key: float


def measure(sizes: tuple[int, ...], blocks: int) -> list[Growth]:
    """Time views with these numbers of parts; all cases alternate."""
    _set_up()
    cases = {(number, name): case for number in sizes for name, case in _cases(number).items()}
    found = timed(cases, calls=5, blocks=blocks)
    return [
        Growth(number, *(found[number, name] for name in ("blocking", "walk", "first", "by key")))
        for number in sizes
    ]


def _set_up() -> None:
    import django
    from django.conf import settings

    settings.configure(
        SECRET_KEY="the benchmarks' own secret, of a good length",
        ALLOWED_HOSTS=["testserver"],
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "rest_framework",
            "partstream",
        ],
        REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": [], "DEFAULT_PERMISSION_CLASSES": []},
        DJANGO_PARTSTREAM={"ENABLE_RATE_LIMITING": False},
        LOGGING_CONFIG=None,
    )
    django.setup()


def _cases(number: int) -> dict[str, Case]:
    from django.test import RequestFactory
    from rest_framework.response import Response
    from rest_framework.views import APIView

    from partstream import HybridProgressiveView, lazy

    requests = RequestFactory()

    def load(request: Any) -> list[dict[str, Any]]:
        return [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]

    class Declared(HybridProgressiveView):
        chunk_size = CHUNK
        parts = [(f"part_{position}", lazy(load)) for position in range(number)]

    class Blocking(APIView):
        def get(self, request: Any) -> Response:
            return Response({f"part_{position}": load(request) for position in range(number)})

    walk, by_key = Declared.as_view(), Declared.as_view(delivery="parts")
    blocking = Blocking.as_view()

    def walked(_: object) -> None:
        token, delivered = "", 0
        while token is not None:
            path = f"/?cursor={token}" if token else "/"
            body = json.loads(walk(requests.get(path)).render().content)
            token = body["cursor"]
            delivered += len(body["results"])
        if delivered != number:
            raise RuntimeError(f"{delivered} parts of {number} were delivered.")

    def prepare(count: int) -> list[Any]:
        return [None] * count

    last = f"/?keys=part_{number - 1}"
    return {
        "blocking": Case(prepare, lambda _: blocking(requests.get("/")).render()),
        "walk": Case(prepare, walked),
        "first": Case(prepare, lambda _: walk(requests.get("/")).render()),
        "by key": Case(prepare, lambda _: by_key(requests.get(last)).render()),
    }
