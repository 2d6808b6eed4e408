"""Chunks: the parts that one response of a walk delivers, and those that remain after it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from partstream.parts.layout import Layout, names_json

from .cursor import Cursor


class Chunk:
    """The parts of one response of a walk.

    Args:
        layout: The declared parts.
        cursor: The position of the walk; None at its beginning.
        size: The maximum number of parts in a response.
        visible: Positions of the parts that exist for this user; None: all of them.

    Attributes:
        names: The parts to resolve, in declared order.
        total: The number of the walk's parts that exist for this user.
    """

    __slots__ = ("_chosen", "_hides", "_layout", "_moved", "_rest", "_standing", "names", "total")

    def __init__(
        self, layout: Layout, cursor: Cursor | None, size: int, visible: Sequence[int] | None
    ) -> None:
        self._layout = layout
        self._hides = visible is not None
        count = self.total = cursor.count if cursor is not None else len(layout.names)
        self._standing = cursor.indices() if cursor is not None else range(count)
        waiting = self._standing
        if visible is not None:
            seen = frozenset(visible)
            waiting = [index for index in waiting if index in seen]
            self.total = sum(index < count for index in seen)
        self._chosen, self._rest = waiting[:size], waiting[size:]
        self._moved: Sequence[int] = ()
        self.names = [layout.names[index] for index in self._chosen]

    def move(self, delivered: Collection[str]) -> None:
        """Move the parts that were not delivered to the next chunk."""
        self._moved = [i for i in self._chosen if self._layout.names[i] not in delivered]

    @property
    def left(self) -> int:
        """The number of parts that are still to come for this user."""
        return len(self._moved) + len(self._rest)

    @property
    def remaining(self) -> Sequence[int]:
        """Positions for the next cursor, ascending.

        A hidden part is skipped with its chunk; hidden parts further on may still be granted.
        """
        rest = self._rest
        if self._hides:
            rest = [index for index in self._standing if index > self._chosen[-1]]
        return [*self._moved, *rest] if self._moved else rest

    def pending(self) -> bytes:
        """The names of the parts still to come, as a JSON array."""
        names = self._layout.names
        if self._hides or self._moved:
            return names_json(names[index] for index in (*self._moved, *self._rest))
        return self._layout.names_json_from(len(self._chosen))
