"""Executor hooks for django-tenants, which keeps the tenant on the thread's database connection.

Its middleware sets the tenant on the request's connection. A worker thread has its own connection,
and would read the public schema or that of the last tenant. Needs the extra ``django-tenants``::

    DJANGO_PARTSTREAM = {
        "PART_EXECUTOR": {
            "BACKEND": "partstream.backends.executors.inline.InlineExecutor",
            "OPTIONS": {
                "before_call": "partstream.contrib.django_tenants.before_call",
                "after_call": "partstream.contrib.django_tenants.after_call",
            },
        },
    }
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import connections
from django_tenants.utils import get_tenant_database_alias

from partstream.exceptions import Misuse


def before_call(request: Any) -> None:
    """Set the schema of ``request.tenant`` on this thread's connection.

    Without a tenant, a request uses the public schema if ``SHOW_PUBLIC_IF_NO_TENANT_FOUND`` is set,
    as it does in django-tenants' own middleware.

    Args:
        request: The request that loaders receive.

    Raises:
        Misuse: When the request has no tenant and that setting is not set.
    """
    connection: Any = connections[get_tenant_database_alias()]
    tenant = getattr(request, "tenant", None)
    if tenant is not None:
        connection.set_tenant(tenant)
    elif getattr(settings, "SHOW_PUBLIC_IF_NO_TENANT_FOUND", False):
        connection.set_schema_to_public()
    else:
        raise Misuse(
            "The request has no tenant, so the schema of its parts is unknown. Put django_tenants' "
            "middleware first in MIDDLEWARE, or write your own before_call() that knows where your "
            "tenant is."
        )


def after_call(request: Any) -> None:
    """Reset this thread's connection to the public schema.

    Args:
        request: The request that loaders receive.
    """
    connection: Any = connections[get_tenant_database_alias()]
    connection.set_schema_to_public()
