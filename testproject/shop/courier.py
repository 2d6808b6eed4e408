"""A simulated courier, who is asked where parcels are, and sometimes does not answer.

A real shop would call the courier's tracking service over HTTP. This module stands in for it, so
that the demo has a part that fails and a retry that works. It counts the shop's own orders on
their way, and fails when a page wants it to: see `fetch`.
"""

from __future__ import annotations

import re
from typing import Any

from django.conf import settings
from django.core.cache import BaseCache, caches
from django.db.models import Count, F

from partstream import PartError

from .models import Order

CITIES = 6
REMEMBERED_SECONDS = 600
_VISIT = re.compile(r"[A-Za-z0-9_-]{1,64}")


def fetch(visit: str | None) -> list[dict[str, Any]]:
    """Ask the courier for the cities that most parcels are on their way to.

    Args:
        visit: An id of 1 to 64 letters, digits, hyphens and underscores. The first call with an id
            fails, and later ones work. Without an id, or with any other text, each call works.

    Returns:
        `{"city": name, "parcels": number}` for six cities at most, the largest number first.

    Raises:
        PartError: When the courier does not answer.
    """
    if visit is not None and _VISIT.fullmatch(visit) and _is_new(visit):
        raise PartError("The courier did not answer.", code="courier_unavailable")
    cities = (
        Order.objects.filter(status=Order.Status.SHIPPED)
        .values(city=F("customer__city"))
        .annotate(parcels=Count("pk"))
        .order_by("-parcels", "city")
    )
    return list(cities[:CITIES])


def _is_new(visit: str) -> bool:
    """Whether this is the first call with this id, as far as the cache remembers."""
    return bool(_cache().add(f"courier:{visit}", True, timeout=REMEMBERED_SECONDS))


def _cache() -> BaseCache:
    """The cache that all processes share, where the site has one."""
    return caches["partstream" if "partstream" in settings.CACHES else "default"]
