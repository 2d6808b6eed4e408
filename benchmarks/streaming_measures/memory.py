"""Large parts, two of them made at a time: the memory of the worker that delivers them."""

from __future__ import annotations

from dataclasses import dataclass

from headline_measures.texts import Table, size

from . import client
from .client import JSON, NDJSON
from .servers import GUNICORN, UVICORN, missing, serve
from .sizes import Sizes

STREAM, BLOCKING = "/heavy/", "/heavy/blocking/"
#: Has glibc give a block of a megabyte or more back as soon as it is freed.
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "1000000"}
ORJSON = {"STREAMING_ORJSON": "1"}


@dataclass(frozen=True)
class Way:
    """A way to deliver the parts.

    Attributes:
        name: What the table calls it.
        server: One of the servers.
        path: The view's.
        shape: What the parts are made of.
        is_slow: Whether the client reads slowly.
        target: The most parts, if there is a target.
        environment: Environment variables of the server.
    """

    name: str
    server: str = GUNICORN
    path: str = STREAM
    shape: str = "texts"
    is_slow: bool = False
    target: str = ""
    environment: tuple[tuple[str, str], ...] = ()


def _ways() -> list[Way]:
    ways = []
    for shape in ("texts", "rows"):
        ways.append(Way("one response", path=BLOCKING, shape=shape))
        for server in (GUNICORN, UVICORN):
            ways += [
                Way("a stream", server, shape=shape, target="<= 6"),
                Way("a stream, a slow client", server, shape=shape, is_slow=True, target="<= 6"),
            ]
        [back] = GIVE_BACK.items()
        [orjson] = ORJSON.items()
        ways += [
            Way(f"a stream, with {'='.join(back)}", shape=shape, environment=(back,)),
            Way(
                "a stream, with orjson put in for DRF's encoder",
                shape=shape,
                target="<= 4",
                environment=(orjson,),
            ),
        ]
    return ways


def measure(sizes: Sizes) -> tuple[list[Table], list[str]]:
    """Deliver the parts in each way, each by a fresh worker."""
    rows, notes = [], []
    for way in _ways():
        needed = [way.server, *(["orjson"] if dict(way.environment) == ORJSON else [])]
        if absent := missing(*needed):
            which = f"{way.name}, {way.shape}, {way.server}"
            notes.append(f"{which}: left out, since {', '.join(absent)} is not installed.")
            continue
        peak, part = _deliver(way, sizes)
        rows.append((way.shape, way.name, way.server, way.target, f"{peak / part:.1f}", size(peak)))
    head = ("made of", "way", "server", "target, parts", "parts", "peak memory over idle")
    title = f"{sizes.parts} parts of {size(sizes.part_bytes)} of JSON, two in flight"
    notes.append(
        "The library offers no setting for another encoder, and takes no ready JSON from a loader: "
        "the rows with orjson replace its function in the worker."
    )
    return [Table(title, head, rows)], notes


def _deliver(way: Way, sizes: Sizes) -> tuple[int, float]:
    """Bytes over idle at the peak, and the bytes of one part."""
    query = f"?parts={sizes.parts}&shape={way.shape}&bytes="
    accept = NDJSON if way.path == STREAM else JSON
    with serve(way.server, **dict(way.environment)) as server:
        # Loads what a first delivery needs.
        client.run(client.drain(server.port, f"{way.path}{query}1000", accept=accept))
        server.forget_peak()
        idle = server.memory()
        received = client.run(
            client.drain(
                server.port,
                f"{way.path}{query}{sizes.part_bytes}",
                accept=accept,
                pace=sizes.pace if way.is_slow else None,
            )
        )
        if received < sizes.parts * sizes.part_bytes * 0.9:
            raise client.WrongAnswer(f"{way.name}: only {received} bytes came.")
        return server.peak_memory() - idle, received / sizes.parts
