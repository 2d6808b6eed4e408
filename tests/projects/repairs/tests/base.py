"""Two workshops with the same customers' names, so that only a wrong row tells them apart."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import TestCase, override_settings
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from tests.projects.repairs.models import (
    Bicycle,
    Customer,
    Membership,
    RepairOrder,
    SparePart,
    Workshop,
)
from tests.projects.repairs.tenants import as_workshop

BICYCLES = {"north": UUID(int=1), "south": UUID(int=101)}


def make_workshop(slug):
    """A workshop with an owner, a mechanic, and a little of everything."""
    workshop = Workshop.objects.create(slug=slug)
    owner = User.objects.create_user(f"{slug}-owner")
    mechanic = User.objects.create_user(f"{slug}-mechanic")
    for user in (owner, mechanic):
        Membership.objects.create(user=user, workshop=workshop, is_owner=user is owner)
        Token.objects.create(user=user, key=f"token-of-{user.username}")
    with as_workshop(workshop):
        for number in range(1, 4):
            customer = Customer.objects.create(
                workshop=workshop, full_name=f"Customer {number} of {slug}"
            )
            bicycle = Bicycle.objects.create(
                workshop=workshop,
                id=UUID(int=BICYCLES[slug].int + number - 1),
                customer=customer,
                frame_number=f"{slug}-{number}",
            )
            RepairOrder.objects.create(
                workshop=workshop,
                number=f"r-{number}",
                bicycle=bicycle,
                mechanic=owner if number == 3 else mechanic,
                is_done=number == 2,
            )
            SparePart.objects.create(
                workshop=workshop,
                part_name=f"Chain {number} of {slug}",
                in_stock=number,
                unit_price=10 * number,
            )
    return workshop


def client_of(username, **defaults):
    """Who has this user's token, at the host of the user's workshop."""
    slug = username.partition("-")[0]
    return APIClient(
        HTTP_HOST=f"{slug}.workshops.example",
        HTTP_AUTHORIZATION=f"Token token-of-{username}",
        **defaults,
    )


#: For tests that ask more often than a client may. `collect()` is not limited.
unlimited = override_settings(
    DJANGO_PARTSTREAM={**settings.DJANGO_PARTSTREAM, "ENABLE_RATE_LIMITING": False}
)


class RepairsTestCase(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.north, cls.south = make_workshop("north"), make_workshop("south")

    def setUp(self):
        cache.clear()
        self.owner = client_of("north-owner")
        self.mechanic = client_of("north-mechanic")
