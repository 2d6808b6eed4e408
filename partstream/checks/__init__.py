"""The system checks that ``manage.py check`` runs on settings, backends and views.

=================  ================================================================
partstream.E001    A name in ``DJANGO_PARTSTREAM`` is not a setting.
partstream.E002    A setting, or its environment variable, has a wrong value.
partstream.E003    A backend cannot be made.
partstream.E004    A view's attributes cannot work.
partstream.E005    A time budget is missing something that it needs.
partstream.E006    A rate-limit store is over a cache that cannot count.
partstream.E007    A cache store is over a cache that does not return bytes unchanged.
partstream.E008    A store and its Redis server do not match.
partstream.E009    Parts run in threads that do not know the request's tenant.
partstream.E010    A coroutine loader in a process whose threads are patched.
partstream.E011    The function that ``IDENTITY`` names cannot be used.
partstream.E012    A store's keys depend on the current thread's tenant.
partstream.E013    The function that ``REQUEST_ID`` names cannot be used.
partstream.W001    ``DEFAULT_CHUNK_SIZE`` is above ``MAX_PARTS_PER_REQUEST``.
partstream.W002    A view's ``chunk_size`` is above ``MAX_PARTS_PER_REQUEST``.
partstream.W003    An environment variable looks like a misspelt setting.
partstream.W004    Anyone who can write to the cache can run code (``check --deploy``).
partstream.W005    A cache store cannot limit a loader to one process at a time.
partstream.W006    A time budget runs parts again in another process (``check --deploy``).
partstream.W007    Parts run outside the transaction of ``ATOMIC_REQUESTS``.
partstream.W008    Rate limits are counted in each process separately (``check --deploy``).
partstream.W009    Rate limits are counted in a cache that processes do not share.
partstream.W010    A rate-limit store may wait too long for a server that hangs.
partstream.W011    ``TRUSTED_PROXIES`` has a network that covers every address.
partstream.W012    Requests are not limited at all (``check --deploy``).
partstream.W013    Requests are admitted uncounted while the store is down (``check --deploy``).
partstream.W014    Refused requests leave no audit trail (``check --deploy``).
partstream.W015    Cursors depend on a short ``SECRET_KEY`` (``check --deploy``).
partstream.W016    Processes do not share their figures (``check --deploy``).
partstream.W017    Middleware that may answer comes before ``ProgressiveDeliveryMiddleware``.
partstream.W018    A text in static parts is the name of a method.
partstream.W019    Each process caches parts for itself (``check --deploy``).
partstream.W020    Anonymous clients may share one limit (``check --deploy``).
partstream.W021    A setting looks like a misspelt ``DJANGO_PARTSTREAM``.
partstream.W022    A permission needs a ``queryset`` that it cannot find.
partstream.W023    Resumed streams run parts again in another process (``check --deploy``).
partstream.W024    ``STREAM_HEARTBEAT`` is not below ``STREAM_MAX_SECONDS``.
=================  ================================================================
"""

from __future__ import annotations

from django.core import checks

from .backends import check_backends, check_backends_for_production
from .guard import check_guard, check_guard_for_production, check_identity, check_request_id
from .middleware import check_middleware
from .performance import check_monitoring
from .settings import check_settings
from .views import check_views, check_views_for_production


def register() -> None:
    """Register the checks; called by the app config's ``ready()``."""
    checks.register(check_settings)
    checks.register(check_backends)
    checks.register(check_backends_for_production, deploy=True)
    checks.register(check_identity)
    checks.register(check_request_id)
    checks.register(check_middleware)
    checks.register(check_guard)
    checks.register(check_guard_for_production, deploy=True)
    checks.register(check_monitoring, deploy=True)
    checks.register(check_views, checks.Tags.urls)
    checks.register(check_views_for_production, checks.Tags.urls, deploy=True)
