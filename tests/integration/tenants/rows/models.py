from __future__ import annotations

from django.db import models


class Owner(models.Model):
    """A row of each tenant; where policies hold, a session sees its tenant's only."""

    name = models.CharField(max_length=20)

    def __str__(self):
        return self.name
