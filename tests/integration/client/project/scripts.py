"""What a test declares: the parts of a view, and when they come.

A part is a JSON object with ``value``, or with ``data`` for a loader. A loader's object may have
``held`` (it waits until it is released), ``seconds`` (it takes so long), ``depends_on``, and
``error``: ``crash``, ``forbidden``, ``throttled`` (with ``retry_after``), or the code of a
`PartError`.
"""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from threading import Event

from rest_framework.exceptions import PermissionDenied, Throttled

from partstream import PartError, lazy

#: Seconds after which a loader that nobody has released gives up.
PATIENCE = 120


class Script:
    """The parts of one test's view.

    Attributes:
        token: What `Authorization` must say; None: nothing is asked for.
        calls: How often each loader was called.
        waiting: The loaders that wait to be released.
    """

    def __init__(self):
        self.token = None
        self.calls = Counter()
        self.waiting = []
        self._parts = {}
        self._gates = {}

    def declare(self, parts):
        """Replace all parts for later requests; those that are here have the parts as they were."""
        self._parts = parts
        for name, part in parts.items():
            gate = Event()
            if not part.get("held"):
                gate.set()
            self._gates.setdefault(name, []).append(gate)

    def release(self, names=None):
        """Let the loaders of all requests go; None: of all parts."""
        for name in self._gates if names is None else names:
            for gate in self._gates[name]:
                gate.set()

    def parts(self):
        """The parts, as a view's `get_parts()` returns them."""
        return [(name, self._part(name, part)) for name, part in self._parts.items()]

    def _part(self, name, part):
        if "value" in part:
            return part["value"]
        load = partial(self._load, name, part, self._gates[name][-1])
        return lazy(load, depends_on=part.get("depends_on", []))

    def _load(self, name, part, gate, request, **dependencies):
        self.calls[name] += 1
        self.waiting.append(name)
        released = gate.wait(PATIENCE)
        self.waiting.remove(name)
        if not released:
            raise AssertionError(f"nobody released {name!r}")
        time.sleep(part.get("seconds", 0))
        if "error" in part:
            raise self._error(part)
        return {**dependencies, "data": part["data"]} if dependencies else part["data"]

    def _error(self, part):
        if part["error"] == "crash":
            return RuntimeError("as the test wants it")
        if part["error"] == "forbidden":
            return PermissionDenied()
        if part["error"] == "throttled":
            return Throttled(wait=part["retry_after"])
        return PartError("As the test wants it.", code=part["error"])


#: The script of each test by its name.
scripts: dict[str, Script] = {}
