"""The guard: grammar of requests, addresses of clients, the audit trail."""

from __future__ import annotations

from .audit import AuditLogger

__all__ = ["AuditLogger"]
