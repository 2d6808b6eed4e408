"""The protocol of single flight: look, join, claim, poll, run, end.

`obtain` is a generator that says what to wait for, and leaves the waiting to its driver. A
request's schedule drives it, and so do direct calls of loaders, sync and async.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any

from partstream.backends.executors.pool import WorkerPool

from .flight import LOST, Flight, current_caller
from .single_flight import SingleFlight, Turn


@dataclass
class Ask:
    """A step: call this, a round trip to the store, and send what it returns."""

    store: Callable[[], Any]


@dataclass
class Wait:
    """A step: wait until the flight has ended.

    Where another process makes the value (``polls``), wait for `POLL_SECONDS` instead, and send
    what `SingleFlight.poll` says of the flight.
    """

    flight: Flight
    polls: bool = False


@dataclass
class Joined:
    """The end: another caller's flight ended with this result."""

    result: Any


@dataclass
class Run:
    """The end: the caller makes the value, and ends the flight with it."""

    flight: Flight


Step = Ask | Wait
#: The value, from the store; or what another caller made; or that it has to be made.
Found = bytes | Joined | Run


def obtain(
    flights: SingleFlight,
    key: str,
    *,
    ttl: int | None,
    fresh: bool = False,
    turn: Turn | None = None,
    looks: bool = True,
    pool: WorkerPool | None = None,
) -> Generator[Step, Any, Found]:
    """The steps to a value that one caller makes at a time; see `Step` and `Found`.

    Args:
        flights: The flights of this process.
        key: The value's key.
        ttl: See `Flight`.
        fresh: See `Flight`.
        turn: The caller's turn across processes, where it is known. Such a caller is told of LOST
            and starts again itself.
        looks: Whether the store has still to be asked for the value.
        pool: See `SingleFlight.end`.
    """
    caller = current_caller()
    while True:
        if looks and not fresh and turn is None:
            value = yield Ask(partial(flights.look, key))
            if value is not None:
                return bytes(value)
        flight, own = flights.join(key, ttl=ttl, fresh=fresh, owner=caller)
        if own:
            break
        if flight.is_nested(caller):
            return Run(Flight())
        yield Wait(flight)
        if flight.result is not LOST or turn is not None:
            return Joined(flight.result)
        looks = True
    try:
        if turn is None:
            turn = yield Ask(partial(flights.claim, flight))
        while turn is Turn.WAIT:
            turn = yield Wait(flight, polls=True)
        if turn is not Turn.RUN:
            yield Ask(partial(flights.end, flight, turn))
    except BaseException:
        # A flight without an owner would keep all others waiting.
        flights.end(flight, LOST, failed=True, pool=pool)
        raise
    return Run(flight) if turn is Turn.RUN else bytes(turn or b"")


def proceed(steps: Generator[Step, Any, Found], reply: Any = None) -> Wait | Found:
    """Reply to a step of `obtain`, and go on to the next that takes time, past those of `Ask`."""
    try:
        step = steps.send(reply)
        while isinstance(step, Ask):
            try:
                reply = step.store()
            except BaseException as error:  # noqa: BLE001 - raised again by the generator
                step = steps.throw(error)
            else:
                step = steps.send(reply)
    except StopIteration as stop:
        found: Found = stop.value
        return found
    return step
