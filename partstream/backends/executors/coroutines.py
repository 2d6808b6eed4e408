"""Coroutine functions: how to recognize them, await them from synchronous code, and time them."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from asgiref.sync import async_to_sync, iscoroutinefunction

from partstream.exceptions import Misuse, PartTimeout

from .daemon_threads import patched_by
from .loop import cancel


def is_coroutine_function(function: Any) -> bool:
    """Whether a call returns a coroutine: it or its ``__call__`` is ``async def``, or marked so."""
    return any(
        iscoroutinefunction(candidate) or inspect.iscoroutinefunction(candidate)
        for candidate in (function, type(function).__call__)
    )


async def _awaited(coroutine: Any) -> Any:
    return await coroutine


def run_coroutine(coroutine: Any) -> Any:
    """Await a coroutine in an event loop of this thread, and return its result.

    Raises:
        Misuse: See `refuse_green_threads`.
    """
    try:
        refuse_green_threads(f"{coroutine.__qualname__}()")
    except Misuse:
        coroutine.close()
        raise
    # `async_to_sync` takes functions only.
    return async_to_sync(_awaited)(coroutine)


def refuse_green_threads(function: str) -> None:
    """Refuse a coroutine function, described by ``function``, if threads are green threads.

    Raises:
        Misuse: The message says what to write instead.
    """
    package = patched_by()
    if package is not None:
        raise Misuse(
            f"{function} is a coroutine function, and {package} has patched threads in this "
            "process: an event loop would stop every ORM query of it. Write a plain function, def "
            "instead of async def, or run the process without monkey-patching."
        )


async def timed(coroutine: Any, seconds: float | None) -> Any:
    """Await a coroutine and return its result; cancel it after the timeout.

    Args:
        coroutine: The coroutine.
        seconds: The timeout; None: it has none.

    Raises:
        PartTimeout: When the coroutine was cancelled.
    """
    if seconds is None:
        return await coroutine
    task = asyncio.ensure_future(coroutine)
    try:
        # Not wait_for(): it could not tell the timeout from a TimeoutError of the loader.
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if done:
            return task.result()
    finally:
        cancel(task)
    raise PartTimeout("it took longer than its timeout")
