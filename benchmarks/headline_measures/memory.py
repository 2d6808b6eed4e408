"""The export of 500 MB: the memory of a worker that delivers it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from . import client
from .client import Visit
from .server import THREADS, serve
from .sizes import Sizes

#: Lines by which the bytes of a line are measured.
_SAMPLE = 1_000
#: Has glibc give a block of a megabyte or more back as soon as it is freed. By default it keeps
#: freed blocks of that size, for each thread by itself.
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "1000000"}
WALK, STREAM = "/export/", "/export/by-hand/"
#: Name of a way -> the view's path, the worker's threads, and its environment.
WAYS: dict[str, tuple[str, int, dict[str, str]]] = {
    "blocking": ("/export/blocking/", 1, {}),
    "progressive": (WALK, 1, {}),
    "threads": (WALK, THREADS, {}),
    "threads, giving back": (WALK, THREADS, GIVE_BACK),
    "stream": (STREAM, 1, {}),
}


@dataclass
class Delivery:
    """One way to deliver the export, by a fresh worker.

    Attributes:
        visit: The visit.
        idle: Bytes of the worker that waits, after it has delivered a small export.
        peak: The most that it ever had.
        processor: The worker's seconds.
    """

    visit: Visit
    idle: int
    peak: int
    processor: float

    @property
    def over_idle(self) -> int:
        """Bytes that the delivery took at its peak."""
        return self.peak - self.idle


def measure(url: str, ways: Iterable[str], sizes: Sizes) -> dict[str, Delivery]:
    """Deliver the export in some of `WAYS`, each by a fresh worker."""
    return {way: _deliver(url, way, sizes) for way in ways}


def _deliver(url: str, way: str, sizes: Sizes) -> Delivery:
    path, threads, environment = WAYS[way]
    walk = path == WALK
    # Under HTTP 1.0 a stream ends with its connection.
    version = "1.0" if path == STREAM else "1.1"
    with serve(url, threads=threads, **environment) as server:
        sample = client.visit(
            server.port, f"{path}?parts=1&rows={_SAMPLE}", walk=walk, version=version
        )
        rows = sizes.export_bytes * _SAMPLE // sample.received
        idle, used = server.memory("VmRSS"), server.processor_seconds()
        visit = client.visit(
            server.port,
            f"{path}?parts={sizes.export_parts}&rows={rows}",
            walk=walk,
            version=version,
        )
        return Delivery(
            visit=visit,
            idle=idle,
            peak=server.memory("VmHWM"),
            processor=server.processor_seconds() - used,
        )
