from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models


class Workshop(models.Model):
    slug = models.SlugField(unique=True)

    def __str__(self):
        return self.slug


class Membership(models.Model):
    """Who works where; a user may work in several workshops."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    workshop = models.ForeignKey(Workshop, models.CASCADE)
    is_owner = models.BooleanField(default=False)

    def __str__(self):
        return f"{self.user} in {self.workshop}"


class OfWorkshop(models.Model):
    """Its policies show a row to its own workshop only."""

    workshop = models.ForeignKey(Workshop, models.CASCADE)

    class Meta:
        abstract = True


class Customer(OfWorkshop):
    full_name = models.CharField(max_length=80)

    def __str__(self):
        return self.full_name


class Bicycle(OfWorkshop):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    customer = models.ForeignKey(Customer, models.CASCADE)
    frame_number = models.CharField(max_length=20)

    def __str__(self):
        return self.frame_number


class RepairOrder(OfWorkshop):
    number = models.SlugField()
    bicycle = models.ForeignKey(Bicycle, models.CASCADE)
    mechanic = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    is_done = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self):
        return self.number


class SparePart(OfWorkshop):
    part_name = models.CharField(max_length=40)
    in_stock = models.PositiveIntegerField(default=0)
    unit_price = models.DecimalField(max_digits=8, decimal_places=2, default=0)

    def __str__(self):
        return self.part_name
