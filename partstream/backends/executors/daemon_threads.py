"""Starts threads, and knows whether the process's threads are patched."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

from partstream.exceptions import NoThread


def start_daemon(target: Callable[..., Any], *args: Any, name: str) -> threading.Thread:
    """Start a daemon thread, which never delays the exit of the process.

    Args:
        target: The function to run.
        args: The arguments of ``target``.
        name: The thread's name, for debuggers.

    Raises:
        NoThread: When the system cannot start a thread, such as at a container's process limit.
    """
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise NoThread("the system could not start a thread") from error
    return thread


def is_out_of_threads(error: BaseException) -> bool:
    """Whether this is Python's error for a thread that could not be started, in any library.

    asgiref starts a thread to await a coroutine from synchronous code.
    """
    return isinstance(error, RuntimeError) and str(error).startswith("can't start new thread")


def patched_by() -> str | None:
    """The package that has replaced threads by green threads: gevent, eventlet, or None.

    An event loop marks the operating system's thread that it runs in, so that Django refuses
    queries there. If all green threads share that one thread, Django refuses them all.
    """
    # Neither is imported here: a package that was not imported has patched nothing.
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None and gevent.is_module_patched("threading"):
        return "gevent"
    eventlet = sys.modules.get("eventlet.patcher")
    if eventlet is not None and eventlet.is_monkey_patched("thread"):
        return "eventlet"
    return None
