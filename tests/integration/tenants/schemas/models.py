from __future__ import annotations

from django.db import models
from django_tenants.models import DomainMixin, TenantMixin


class Tenant(TenantMixin):
    auto_create_schema = False


class Domain(DomainMixin):
    pass


class Owner(models.Model):
    """One row in each schema: whose it is."""

    name = models.CharField(max_length=20)

    def __str__(self):
        return self.name
