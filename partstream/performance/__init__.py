"""What requests cost: measured in each worker, published, and read for all workers together."""

from __future__ import annotations

from .monitor import PerformanceMonitor

__all__ = ["PerformanceMonitor"]
