from __future__ import annotations

from django.db import models


class Note(models.Model):
    """Something with rows: what loaders read and break."""

    text = models.CharField(max_length=50, unique=True)

    def __str__(self) -> str:
        return self.text
