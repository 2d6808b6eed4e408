"""The shop app's configuration."""

from __future__ import annotations

from django.apps import AppConfig


class ShopConfig(AppConfig):
    """Customers, products, orders and stock of the demo shop."""

    name = "shop"
    default_auto_field = "django.db.models.BigAutoField"
