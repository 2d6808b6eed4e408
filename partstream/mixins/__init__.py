"""The mixins: verbs and ``get_X()`` hooks. Combine them with an ``APIView`` in any order.

None of them binds an HTTP method: write your own ``get()``, or inherit a ready-made view from
``partstream.views``.
"""

from __future__ import annotations

from .base import PartsMixin
from .chunk import ChunkMixin
from .cursor import CursorMixin
from .guard import GuardMixin
from .keys import KeyAccessMixin
from .manifest import ManifestMixin
from .stream import StreamMixin

__all__ = [
    "ChunkMixin",
    "CursorMixin",
    "GuardMixin",
    "KeyAccessMixin",
    "ManifestMixin",
    "PartsMixin",
    "StreamMixin",
]
