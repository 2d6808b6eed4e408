"""Layouts: what stays the same for all requests that declare the same names, checked once."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from graphlib import CycleError, TopologicalSorter
from itertools import accumulate, chain
from keyword import iskeyword
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from partstream.keys import KeyRing, get_key_ring, keyed_digest
from partstream.security.validation import PART_NAME

from .slow_parts import SlowParts

#: The maximum number of parts in a view.
MAX_PARTS = 2000

_NAME = re.compile(PART_NAME)
_RESERVED = frozenset({"request", "self"})
#: Bytes of the digest of the names. It only tells lists apart; nothing is protected by it.
_DIGEST_BYTES = 12

Names = tuple[str, ...]
#: A part's position, dependencies and permission classes.
Link = tuple[int, Names, tuple[Any, ...]]
#: Names of parts, each with additional dependencies.
Gates = tuple[tuple[str, Names], ...]


@dataclass(eq=False)
class Layout:
    """What is the same for all requests that declare the same names, checked once.

    Attributes:
        names: The declared names, in order.
        index: Name -> position.
        dependencies: The dependencies of each part, in order.
        permissions: The permission classes of each part, in order.
        order: Positions, sorted so that each part comes after its dependencies.
        gated: Whether any part has dependencies.
        guarded: Whether any part has permissions.
        has_executors: Whether any part has an executor of its own.
        checked: Whether the loaders have been checked.
        slow: Which of the parts have been slow in this process.
        fits: The codec and ``MAX_CURSOR_SIZE`` for which the longest token is known to fit.
    """

    names: Names
    index: dict[str, int]
    dependencies: tuple[Names, ...]
    permissions: tuple[tuple[Any, ...], ...]
    order: tuple[int, ...]
    gated: bool
    guarded: bool
    has_executors: bool
    checked: bool = False
    slow: SlowParts = field(default_factory=SlowParts)
    fits: tuple[Any, int] | None = None
    _kept_digests: tuple[KeyRing, Names] | None = None

    @cached_property
    def dependents(self) -> dict[str, tuple[int, ...]]:
        """Name -> positions of the parts that depend on it."""
        found: dict[str, list[int]] = {name: [] for name in self.names}
        for position, dependencies in enumerate(self.dependencies):
            for name in dependencies:
                found[name].append(position)
        return {name: tuple(positions) for name, positions in found.items()}

    def closure(self, wanted: Iterable[str], known: Container[str] = ()) -> list[str]:
        """The wanted names and all their dependencies, each after its own dependencies.

        Args:
            wanted: Names.
            known: Names that are available already, so their dependencies are not needed.
        """
        if not self.gated:
            return [name for name in wanted if name not in known]
        found: dict[str, None] = {}
        for name in wanted:
            stack = [(name, False)]
            while stack:
                current, ready = stack.pop()
                if ready:
                    found[current] = None
                elif current not in found and current not in known:
                    dependencies = self.dependencies[self.index[current]]
                    stack.append((current, True))
                    stack.extend((other, False) for other in reversed(dependencies))
        return list(found)

    def digests(self, count: int) -> Names:
        """Keyed digests of the first ``count`` names, one for each secret, newest first."""
        ring = get_key_ring()
        if count != len(self.names):
            return _digests(self.names[:count], ring)
        kept = self._kept_digests
        if kept is None or kept[0] is not ring:
            kept = self._kept_digests = (ring, _digests(self.names, ring))
        return kept[1]

    def names_json_from(self, position: int) -> bytes:
        """A JSON array of the names from a position on, cut from a cached array."""
        if position >= len(self.names):
            return b"[]"
        text, offsets = self._json
        return b"[" + text[offsets[position] :]

    @cached_property
    def _json(self) -> tuple[bytes, tuple[int, ...]]:
        """All names as a JSON array, and the offset of each name in it."""
        # Each entry has the name, two quotes, and the comma or bracket before it.
        offsets = accumulate((len(name) + 3 for name in self.names), initial=1)
        return names_json(self.names), tuple(offsets)


def names_json(names: Iterable[str]) -> bytes:
    """A JSON array of part names, which need no escaping."""
    joined = '","'.join(names)
    return f'["{joined}"]'.encode() if joined else b"[]"


def _digests(names: Names, ring: KeyRing) -> Names:
    # No name has a comma, so different lists give different texts.
    message = ",".join(names).encode()
    return tuple(keyed_digest(key, message, _DIGEST_BYTES) for key in ring.derive("names"))


class _Declared(NamedTuple):
    """A view's last declaration: most views declare the same names each time."""

    names: list[str]
    kinds: list[type]
    links: list[Link]
    gates: Gates
    layout: Layout


_latest: WeakKeyDictionary[type, _Declared] = WeakKeyDictionary()


def find_layout(
    owner: type | None,
    names: list[str],
    kinds: list[type],
    gates: Gates,
    get_links: Callable[[], list[Link]],
) -> Layout | str:
    """The layout of these parts, or the error message if the declaration is invalid.

    Args:
        owner: The view's class.
        names: The declared names, in order.
        kinds: The type of each value; only some types can have links.
        gates: Additional dependencies of parts, from the view's manifest.
        get_links: Returns the links of the parts that have any.
    """
    latest = _latest.get(owner) if owner is not None else None
    if (
        latest is not None
        and latest.kinds == kinds
        and latest.names == names
        and latest.gates == gates
        and (not latest.links or latest.links == get_links())
    ):
        return latest.layout
    links = get_links()
    layout = _make_layout(owner, tuple(names), tuple(kinds), gates, tuple(links))
    if owner is not None and not isinstance(layout, str):
        _latest[owner] = _Declared(names, kinds, links, gates, layout)
    return layout


@lru_cache(maxsize=64)
def _make_layout(
    owner: type | None,
    names: Names,
    kinds: tuple[type, ...],
    gates: Gates,
    links: tuple[Link, ...],
) -> Layout | str:
    if len(names) > MAX_PARTS:
        return f"{len(names)} parts are declared. The maximum is {MAX_PARTS}."
    linked = {position: (depends_on, guards) for position, depends_on, guards in links}
    more = dict(gates)
    index: dict[str, int] = {}
    own: list[Names] = []
    permissions: list[tuple[Any, ...]] = []
    for name, kind in zip(names, kinds, strict=True):
        problem = _name_problem(name) or _value_problem(name, kind)
        if problem:
            return problem
        if name in index:
            return f"part {name!r} is declared twice. Rename one of them."
        depends_on, guards = linked.get(len(index), ((), ()))
        index[name] = len(index)
        own.append(tuple(dict.fromkeys(chain(depends_on, more.get(name, ())))))
        permissions.append(guards)
    for name, dependencies in zip(names, own, strict=True):
        for other in dependencies:
            if other not in index:
                return (
                    f"part {name!r} depends on {other!r}, which is not a declared part. "
                    "Declare it, or remove it from depends_on."
                )
    try:
        sorted_names = TopologicalSorter(dict(zip(names, own, strict=True))).static_order()
        order = tuple(index[name] for name in sorted_names)
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        return f"parts depend on each other in a circle: {circle}. Remove one dependency."
    return Layout(
        names,
        index,
        tuple(own),
        tuple(permissions),
        order,
        gated=any(own),
        guarded=any(permissions),
        has_executors=any(getattr(kind, "has_executor", False) for kind in kinds),
    )


def _name_problem(name: object) -> str | None:
    if not isinstance(name, str):
        return f"{name!r:.80} is not a valid name. A part's name must be a str."
    if not _NAME.fullmatch(name) or iskeyword(name) or name in _RESERVED:
        return (
            f"{name!r:.80} is not a valid name for a part. Use letters, digits and underscores, at "
            "most 64, starting with a letter, but no Python keyword, 'request' or 'self'."
        )
    return None


def _value_problem(name: str, kind: type) -> str | None:
    if any("__call__" in base.__dict__ for base in kind.__mro__):
        return f"part {name!r} is a callable ({kind.__name__}). Wrap a loader: lazy(...)."
    if hasattr(kind, "__await__"):
        return f"part {name!r} is a coroutine. Pass the function without calling it: lazy(...)."
    return None
