"""Progressive actions: the parts of a viewset, in the routers of Django REST Framework."""

from __future__ import annotations

from .actions import progressive_action
from .mixin import ProgressiveViewSetMixin

__all__ = ["ProgressiveViewSetMixin", "progressive_action"]
