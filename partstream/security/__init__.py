"""The guard: the grammar of requests, client addresses, and the audit trail."""

from __future__ import annotations

from .audit import AuditLogger

__all__ = ["AuditLogger"]
