"""The shop's tables.

Money is stored in whole cents, so sums are exact and the same on SQLite and PostgreSQL.
"""

from __future__ import annotations

from django.db import models


class Customer(models.Model):
    """A customer of the shop."""

    name = models.CharField(max_length=100)
    email = models.EmailField(unique=True)
    city = models.CharField(max_length=60)
    joined_on = models.DateField()

    def __str__(self) -> str:
        return self.name


class Product(models.Model):
    """A product, with today's price and the shop's own cost."""

    class Category(models.TextChoices):
        """The shelves of the shop."""

        TENTS = "tents", "Tents"
        SLEEPING = "sleeping", "Sleeping"
        COOKING = "cooking", "Cooking"
        PACKS = "packs", "Packs"
        CLOTHING = "clothing", "Clothing"
        FOOTWEAR = "footwear", "Footwear"
        LIGHTS = "lights", "Lights"
        CLIMBING = "climbing", "Climbing"

    sku = models.CharField("SKU", max_length=20, unique=True)
    name = models.CharField(max_length=100)
    category = models.CharField(max_length=20, choices=Category.choices, db_index=True)
    price_cents = models.PositiveIntegerField()
    cost_cents = models.PositiveIntegerField()

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    """One purchase of one customer."""

    class Status(models.TextChoices):
        """The state of an order. Cancelled orders count in no figure."""

        NEW = "new", "New"
        PACKED = "packed", "Packed"
        SHIPPED = "shipped", "Shipped"
        DELIVERED = "delivered", "Delivered"
        CANCELLED = "cancelled", "Cancelled"

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="orders")
    placed_at = models.DateTimeField(db_index=True)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.NEW)

    class Meta:
        indexes = [
            models.Index(fields=["status", "placed_at"], name="shop_order_status_placed"),
            models.Index(fields=["customer", "placed_at"], name="shop_order_customer_placed"),
        ]

    def __str__(self) -> str:
        return f"Order {self.pk}"


class OrderLine(models.Model):
    """One product of an order, at the price it was sold for."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="lines")
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="lines")
    quantity = models.PositiveSmallIntegerField()
    unit_price_cents = models.PositiveIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["order", "product"], name="shop_line_order_product"),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} of product {self.product_id}"


class Stock(models.Model):
    """The quantity of a product in one warehouse."""

    class Warehouse(models.TextChoices):
        """The shop's warehouses."""

        NORTH = "north", "North"
        SOUTH = "south", "South"
        HARBOUR = "harbour", "Harbour"

    product = models.ForeignKey(Product, on_delete=models.CASCADE, related_name="stock")
    warehouse = models.CharField(max_length=10, choices=Warehouse.choices)
    quantity = models.PositiveIntegerField()
    received_on = models.DateField(help_text="When goods last came in.")

    class Meta:
        verbose_name_plural = "stock"
        constraints = [
            models.UniqueConstraint(
                fields=["product", "warehouse"], name="shop_stock_product_warehouse"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} of product {self.product_id} in {self.warehouse}"
