"""How much the streaming benchmark measures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """The sizes of a full run.

    Attributes:
        rounds: How often eight parts are delivered in each way.
        delayed_rounds: The same, over a delayed line.
        clients: Clients at once.
        client_rounds: How often they come.
        parts: Large parts.
        part_bytes: Bytes of JSON in each of them.
        pace: Bytes a second that a slow client reads.
        idle: Numbers of idle streams, ascending.
        joining: Streams that join another process's work.
        watched: Seconds for which the streams that wait are watched.
    """

    rounds: int = 25
    delayed_rounds: int = 9
    clients: int = 32
    client_rounds: int = 5
    parts: int = 10
    part_bytes: int = 20_000_000
    pace: float = 20_000_000
    idle: tuple[int, ...] = (50, 100)
    joining: int = 20
    watched: float = 8.0


#: So small that a test can wait for it; the figures mean nothing.
QUICK = Sizes(
    rounds=2,
    delayed_rounds=1,
    clients=4,
    client_rounds=1,
    parts=3,
    part_bytes=200_000,
    pace=2_000_000,
    idle=(2, 4),
    joining=2,
    watched=0.5,
)
