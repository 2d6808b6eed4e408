"""Makes two tenants, as ``migrate_schemas`` would, and who asks them."""

from __future__ import annotations

from django.db import connection

from ..clients import Client
from .models import Domain, Owner, Tenant

TENANTS = ["red", "blue"]


def make():
    """The clients of the project."""
    with connection.schema_editor() as editor:
        for model in (Tenant, Domain, Owner):
            editor.create_model(model)
    Owner.objects.create(name="public")
    for name in TENANTS:
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE SCHEMA {name}")
        tenant = Tenant.objects.create(schema_name=name)
        Domain.objects.create(domain=name, tenant=tenant, is_primary=True)
    for name in TENANTS:
        connection.set_schema(name, include_public=False)
        with connection.schema_editor() as editor:
            editor.create_model(Owner)
        Owner.objects.create(name=name)
    connection.set_schema_to_public()
    connection.close()
    return [Client(name, name) for name in TENANTS]


def get_state():
    """The tenant that this thread's connection has."""
    return connection.schema_name
