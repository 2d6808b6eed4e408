"""A check for django-health-check 4, in its own list of checks. Needs the extra.

In the URLconf::

    from health_check.views import HealthCheckView

    urlpatterns = [
        path(
            "health/",
            HealthCheckView.as_view(
                checks=[
                    "health_check.checks.Database",
                    "partstream.contrib.health_check.PartstreamHealthCheck",
                ]
            ),
        ),
    ]
"""

from __future__ import annotations

import dataclasses
from datetime import timedelta

from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable

from partstream.health.shared_run import get_shared_run


@dataclasses.dataclass
class PartstreamHealthCheck(HealthCheck):  # type: ignore[misc]  # Its package is not typed.
    """Tries what the project uses of partstream.

    Requests at the same time share one run of the probes, whose result is used again for a second.

    Args:
        timeout: How long all probes together may take; two seconds by default.

    Raises:
        ServiceUnavailable: In ``run()``, with the probes that failed. The text contains no secret.
    """

    timeout: timedelta = dataclasses.field(default=timedelta(seconds=2), repr=False)

    def run(self) -> None:
        """Wait for the probes; django-health-check calls it in a thread."""
        failed = [
            f"{result.name}: {result.message}"
            for result in get_shared_run().get(self.timeout.total_seconds())
            if not result.ok
        ]
        if failed:
            raise ServiceUnavailable("; ".join(failed))
