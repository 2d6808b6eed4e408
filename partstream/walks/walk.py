"""The walk of a request: it reads the request's cursor, and issues the next ones."""

from __future__ import annotations

from collections.abc import Sequence

from partstream.backends.cursors.base import CursorCodec
from partstream.exceptions import CursorError, InvalidCursor, StaleCursor
from partstream.parts.layout import Layout

from .binding import Binding
from .cursor import Cursor, new_walk, position
from .query import WalkQuery


def _without_traceback(error: CursorError) -> CursorError:
    """A copy. The original's traceback refers to the walk, which must not refer to it in turn."""
    copied = type(error).__new__(type(error), *error.args)
    vars(copied).update(vars(error))
    return copied


class Walk:
    """The position of a request in its walk. Made once per request, before any loader runs.

    Args:
        query: The request's query; it has no token where a walk begins.
        codec: Turns cursors into tokens.
        ttl: Seconds for which a cursor stays valid.
        longest: The maximum length of a token in characters, ``MAX_CURSOR_SIZE``.
        binding: What the cursors are bound to.
    """

    def __init__(
        self,
        query: WalkQuery,
        *,
        codec: CursorCodec,
        ttl: int,
        longest: int,
        binding: Binding,
    ) -> None:
        self.binding = binding
        self._codec = codec
        self._ttl = ttl
        self._longest = longest
        self._cursor: Cursor | None = None
        self._error: CursorError | None = None
        given = query.tokens
        self._given = given[0] if given else None
        if given:
            try:
                self._cursor = self._decode(query.validated_token(longest))
            except CursorError as error:
                error.token = self._given
                # Kept, and raised by `read`: the throttle counts the request before that.
                self._error = _without_traceback(error)
        self.id = self._cursor.walk if self._cursor is not None else new_walk()

    def _decode(self, token: str) -> Cursor:
        cursor = Cursor.from_payload(self._codec.decode(token, self._ttl))
        if not self.binding.matches(cursor.binding):
            raise InvalidCursor("the cursor is bound to another identity, view, path or query")
        return cursor

    @property
    def goes_on(self) -> bool:
        """Whether the request has a cursor of its walk, stale or not, so it begins nothing new."""
        return self._cursor is not None

    def read(self, layout: Layout) -> Cursor | None:
        """The request's cursor for these parts; None at the beginning of the walk.

        Raises:
            InvalidCursor: When it is not a cursor of this walk, for whatever reason.
            CursorExpired: When it is too old.
            StaleCursor: When the parts that the walk began with are no longer declared.
        """
        if self._error is not None:
            raise _without_traceback(self._error)
        cursor = self._cursor
        # The token is authenticated, so its digest is one that this project made.
        if cursor is not None and not (
            cursor.count <= len(layout.names) and cursor.digest in layout.digests(cursor.count)
        ):
            raise self._stale()
        return cursor

    def _stale(self) -> StaleCursor:
        error = StaleCursor("the parts of the walk are no longer declared in the same order")
        error.token = self._given
        return error

    def issue(self, layout: Layout, remaining: Sequence[int]) -> str:
        """A token of this walk for which only these ascending positions remain.

        Raises:
            ValueError: When it is longer than ``MAX_CURSOR_SIZE``.
        """
        count = self._cursor.count if self._cursor is not None else len(layout.names)
        first, done = position(remaining, count)
        digest, binding = layout.digests(count)[0], self.binding.digest()
        if layout.fits != (self._codec, self._longest):
            # The longest possible token, so that the error shows before the first part fails. This
            # walk may have begun with fewer parts than there are now.
            most = len(layout.names)
            full = Cursor(self.id, 0, (1 << max(0, most - 1)) - 1, most, digest, binding)
            self._fitting(self._codec.encode(full.payload(), self._ttl), most)
            layout.fits = (self._codec, self._longest)
        cursor = Cursor(self.id, first, done, count, digest, binding)
        return self._fitting(self._codec.encode(cursor.payload(), self._ttl), count)

    def _fitting(self, token: str, count: int) -> str:
        if len(token) > self._longest:
            raise ValueError(
                f"a cursor over {count} parts has up to {len(token)} characters, but "
                f"MAX_CURSOR_SIZE is {self._longest}. Raise the setting, or declare fewer parts."
            )
        return token
