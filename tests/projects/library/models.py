from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models


class Author(models.Model):
    name = models.CharField(max_length=80)

    def __str__(self):
        return self.name


class Book(models.Model):
    slug = models.SlugField(unique=True)
    title = models.CharField(max_length=80)
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    language = models.CharField(max_length=2, choices=[("en", "English"), ("nl", "Dutch")])
    year = models.PositiveSmallIntegerField()

    def __str__(self):
        return self.title


class Branch(models.Model):
    name = models.CharField(max_length=40)

    def __str__(self):
        return self.name


class Loan(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    book = models.ForeignKey(Book, models.CASCADE)
    reader = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    due = models.DateField()

    def __str__(self):
        return f"{self.book} to {self.reader}"


class Receipt(models.Model):
    """Made when somebody asks for it."""

    loan = models.ForeignKey(Loan, models.CASCADE)

    def __str__(self):
        return f"receipt {self.pk}"


class Visit(models.Model):
    """Who looked at the desk."""

    reader = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)

    def __str__(self):
        return f"visit of {self.reader}"
