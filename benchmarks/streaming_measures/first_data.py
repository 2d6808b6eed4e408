"""Eight parts: when is the opening record there, when the first part, and when all?"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median

from headline_measures.texts import Table
from streaming_site.sleeps import SLEEPS

from . import client
from .client import Delivery
from .servers import ASYNCHRONOUS, GUNICORN, SERVERS, missing, nginx, redis, serve
from .sizes import Sizes

STREAM, PLAIN, INLINE = "/eight/", "/plain/", "/eight/inline/"
#: The slowest part, in seconds.
SLOWEST = max(SLEEPS.values()) / 1000
_NGINX, _REDIS = "nginx before gunicorn gthread", "gunicorn gthread, Redis store"


@dataclass
class Times:
    """What was seen at one server.

    Attributes:
        plain: Seconds to the first byte of a plain stream.
        streams: Streams of the eight parts.
        inline: The same parts as one response, one after another.
    """

    plain: list[float] = field(default_factory=list)
    streams: list[Delivery] = field(default_factory=list)
    inline: list[Delivery] = field(default_factory=list)

    def median(self, get: Callable[[Delivery], float]) -> float:
        """The median of a time of the streams."""
        return median(map(get, self.streams))


def measure(sizes: Sizes) -> tuple[list[Table], list[str]]:
    """Deliver the parts by each server; servers and ways take turns."""
    found: dict[str, Times] = {}
    with ExitStack() as stack:
        ports, notes = _start(stack)
        for number in range(sizes.rounds + 2):  # The first two warm up.
            for name, port in ports.items():
                plain = client.run(client.first_line(port, PLAIN))
                stream = client.run(client.stream(port, STREAM)).check(SLEEPS)
                if number < 2:
                    continue
                times = found.setdefault(name, Times())
                times.plain.append(plain)
                times.streams.append(stream)
                if name == GUNICORN and number % 4 == 2:
                    times.inline.append(client.run(client.walk(port, INLINE)).check(SLEEPS))
    return [_differences(found), _times(found)], notes


def _start(stack: ExitStack) -> tuple[dict[str, int], list[str]]:
    """The ports of all servers that can be started, and what cannot."""
    ports: dict[str, int] = {}
    notes: list[str] = []

    def start(name: str, make: Callable[[], int], *needed: str) -> None:
        if absent := missing(*needed):
            notes.append(f"{name}: left out, since {', '.join(absent)} is not installed.")
        else:
            ports[name] = make()

    for name in SERVERS:
        start(name, lambda name=name: stack.enter_context(serve(name)).port, name)
    if GUNICORN in ports:
        start(_NGINX, lambda: stack.enter_context(nginx(ports[GUNICORN])), "nginx")

        def with_redis() -> int:
            url = stack.enter_context(redis())
            return stack.enter_context(serve(GUNICORN, STREAMING_REDIS_URL=url)).port

        start(_REDIS, with_redis, "redis-server", "django_redis")
    return ports, notes


def _differences(found: dict[str, Times]) -> Table:
    rows = []
    for name, times in found.items():
        plain = median(times.plain)
        targets = ("<= 2", "<= 6") if name == _REDIS else ("<= 1.5", "<= 3")
        most = 1.03 if name in ASYNCHRONOUS else 1.015
        rows.append(
            (
                name,
                targets[0],
                _ms(times.median(lambda each: each.opening) - plain),
                targets[1],
                _ms(times.median(lambda each: each.first) - plain),
                f"<= {most} x",
                f"{times.median(lambda each: each.total) / SLOWEST:.3f} x",
            )
        )
    head = (
        "server",
        "target",
        "opening record, ms later",
        "target",
        "first lazy part, ms later",
        "target",
        "total / slowest part",
    )
    title = "Eight parts: the stream against the first byte of a plain stream"
    return Table(title, head, rows)


def _times(found: dict[str, Times]) -> Table:
    rows = [
        (
            name,
            _ms(median(times.plain)),
            _ms(times.median(lambda each: each.opening)),
            _ms(times.median(lambda each: each.first)),
            _ms(times.median(lambda each: each.total)),
            _ms(median(each.total for each in times.inline)) if times.inline else "",
        )
        for name, times in found.items()
    ]
    head = (
        "server, ms",
        "plain stream's first byte",
        "opening record",
        "first lazy part",
        "all parts",
        "one response, parts one after another",
    )
    return Table("Eight parts: the times", head, rows)


def _ms(seconds: float) -> str:
    value = seconds * 1000
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"
