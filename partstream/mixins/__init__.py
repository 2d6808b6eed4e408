"""The mixins: verbs and ``get_X()`` hooks, to be combined with an ``APIView`` in any order.

None of them binds an HTTP method: a view writes its own ``get()``, or inherits a ready one from
``partstream.views``.
"""

from __future__ import annotations

from .base import PartsMixin
from .chunk import ChunkMixin
from .cursor import CursorMixin
from .guard import GuardMixin
from .keys import KeyAccessMixin
from .manifest import ManifestMixin

__all__ = [
    "ChunkMixin",
    "CursorMixin",
    "GuardMixin",
    "KeyAccessMixin",
    "ManifestMixin",
    "PartsMixin",
]
