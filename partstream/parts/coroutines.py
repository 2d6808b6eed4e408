"""Coroutine functions: how they are known, awaited from synchronous code, and limited in time."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from asgiref.sync import async_to_sync, iscoroutinefunction

from partstream.backends.executors.daemon_threads import patched_by
from partstream.backends.executors.loop import cancel
from partstream.exceptions import Misuse, PartTimeout


def is_coroutine_function(function: Any) -> bool:
    """Whether calling it makes a coroutine: it is ``async def``, is marked so, or its class is."""
    return any(
        iscoroutinefunction(candidate) or inspect.iscoroutinefunction(candidate)
        for candidate in (function, type(function).__call__)
    )


async def _awaited(coroutine: Any) -> Any:
    return await coroutine


def run_coroutine(coroutine: Any) -> Any:
    """What a coroutine returns, awaited by an event loop in this thread.

    Raises:
        Misuse: Where threads are green threads: an event loop would stop all of them from querying.
    """
    package = patched_by()
    if package is not None:
        coroutine.close()
        raise Misuse(
            f"{coroutine.__qualname__}() is a coroutine, and {package} has patched threads in "
            "this process. Write a plain function, def instead of async def."
        )
    # `async_to_sync` takes functions only.
    return async_to_sync(_awaited)(coroutine)


async def timed(coroutine: Any, seconds: float | None) -> Any:
    """What a coroutine returns; it is cancelled after the timeout.

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
        # Not wait_for(): a TimeoutError of the loader's own is another matter.
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if done:
            return task.result()
    finally:
        cancel(task)
    raise PartTimeout("it took longer than its timeout")
