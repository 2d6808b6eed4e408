"""The protocol of single flight: look, join, claim, follow, run, end.

`obtain` is a generator that yields what to wait for; its driver waits. The drivers are the schedule
of a request, and direct calls of loaders, sync and async.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any

from partstream.backends.executors.pool import WorkerPool

from .flight import FAILED, LOST, Flight, Lost, current_caller
from .single_flight import SingleFlight, Turn


@dataclass
class Ask:
    """A step: call ``store``, which accesses the store, and send what it returns."""

    store: Callable[[], Any]


@dataclass
class Wait:
    """A step: wait until the flight has ended."""

    flight: Flight


@dataclass
class Joined:
    """The end: another caller's flight ended with this result."""

    result: Any


@dataclass
class Run:
    """The end: the caller computes the value, and ends the flight with it."""

    flight: Flight


Step = Ask | Wait
#: The value from the store; or another caller's result; or the caller's turn to compute it.
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
    """The steps to a value that only one caller at a time computes; see `Step` and `Found`.

    Args:
        flights: The flights of this process.
        key: The value's key.
        ttl: See `Flight`.
        fresh: See `Flight`.
        turn: The caller's turn across processes, if it is known. A caller whose turn is `Turn.RUN`
            gets LOST as a result, and starts again itself.
        looks: Whether to look for the value in the store first.
        pool: See `SingleFlight.end`.
    """
    caller, given, has_failed = current_caller(), turn, False
    while True:
        if looks and not fresh and turn is None:
            value = yield Ask(partial(flights.look, key))
            if value is not None:
                return bytes(value)
        flight, own = flights.join(key, ttl=ttl, fresh=fresh, owner=caller)
        if not own and flight.is_nested(caller):
            return Run(Flight())
        if own:
            try:
                if turn is None:
                    turn = yield Ask(partial(flights.claim, flight))
                elif has_failed and not fresh:
                    # Another caller here may have computed it since.
                    turn = (yield Ask(partial(flights.store.get, key))) or turn
                if isinstance(turn, bytes):
                    yield Ask(partial(flights.end, flight, turn))
                    return turn
                if turn is Turn.WAIT:
                    flights.follow(flight)
            except BaseException:
                # Without an owner, the flight would never end, and all others would wait forever.
                flights.end(flight, LOST, failed=True, pool=pool)
                raise
            if turn is Turn.RUN:
                return Run(flight)
        try:
            yield Wait(flight)
        except BaseException:
            if own and not flight.waiting:
                flights.end(flight, LOST)  # Nobody needs the value any more.
            raise
        if not isinstance(flight.result, Lost):
            return Joined(flight.result)
        if flight.result is LOST and given is Turn.RUN:
            return Joined(LOST)
        looks, has_failed = True, flight.result is FAILED
        turn = Turn.RUN if has_failed else None


def proceed(steps: Generator[Step, Any, Found], reply: Any = None) -> Wait | Found:
    """Reply to a step of `obtain`, do all `Ask` steps, and return the next `Wait` or the end."""
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
