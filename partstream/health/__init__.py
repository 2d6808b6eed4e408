"""Health checks: they try what the project uses, and never wait longer than they were told.

Most projects mount `HealthCheckView`, and run ``manage.py partstream_health_check``.
"""

from __future__ import annotations

from .probes import ProbeResult as ProbeResult
from .runner import run_probes as run_probes
from .views import HealthCheckView as HealthCheckView

__all__ = ["HealthCheckView", "ProbeResult", "run_probes"]
