"""The OpenAPI schema of views that deliver parts, for drf-spectacular.

It is used as soon as ``drf_spectacular`` is in ``INSTALLED_APPS``: drf-spectacular finds the
extension because it is a subclass of its own.
"""

from __future__ import annotations

from .extension import ProgressiveViewExtension
from .operations import PartsSchema, delivery_of
from .part_types import schema_of_part

__all__ = ["PartsSchema", "ProgressiveViewExtension", "delivery_of", "schema_of_part"]
