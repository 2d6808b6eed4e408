"""How partstream starts a thread, and what it knows of the process's threads."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

from partstream.exceptions import NoThread


def start_daemon(target: Callable[..., Any], *args: Any, name: str) -> threading.Thread:
    """Start a daemon thread, which never holds up the end of the process.

    Args:
        target: What it runs.
        args: What ``target`` is called with.
        name: The thread's name, for debuggers.

    Raises:
        NoThread: When the system has no thread to give, as at a container's limit of processes.
    """
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise NoThread("the system has no thread to give") from error
    return thread


def is_out_of_threads(error: BaseException) -> bool:
    """Whether this is Python's error for a thread that the system has not, whoever asked for it.

    asgiref starts a thread to await a coroutine from synchronous code.
    """
    return isinstance(error, RuntimeError) and str(error).startswith("can't start new thread")


def patched_by() -> str | None:
    """The package that put green threads in the place of threads: gevent, eventlet, or None.

    An event loop marks the operating system's thread in which it runs, so that Django refuses to
    query there. Where all green threads share that one thread, it refuses for all of them.
    """
    # Neither is imported: what was not imported has patched nothing.
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None and gevent.is_module_patched("threading"):
        return "gevent"
    eventlet = sys.modules.get("eventlet.patcher")
    if eventlet is not None and eventlet.is_monkey_patched("thread"):
        return "eventlet"
    return None
