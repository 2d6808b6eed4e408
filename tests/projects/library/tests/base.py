from __future__ import annotations

from datetime import date
from uuid import UUID

from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import TestCase
from rest_framework.test import APIClient
from rest_framework_simplejwt.tokens import AccessToken

from tests.projects.library.models import Author, Book, Branch, Loan

BOOKS = [
    ("max-havelaar", "Max Havelaar", "nl", 1860),
    ("ideas", "Ideas", "nl", 1862),
    ("letters", "Letters", "nl", 1890),
    ("orlando", "Orlando", "en", 1928),
    ("the-waves", "The Waves", "en", 1951),
    ("the-years", "The Years", "en", 1957),
    ("flush", "Flush", "en", 1953),
]
LATE, IN_TIME = UUID(int=1), UUID(int=2)


def make_library():
    """Readers with loans, two librarians, and some books."""
    authors = {
        "nl": Author.objects.create(name="Multatuli"),
        "en": Author.objects.create(name="Virginia Woolf"),
    }
    for slug, title, language, year in BOOKS:
        Book.objects.create(
            slug=slug, title=title, author=authors[language], language=language, year=year
        )
    for name in ("North", "South"):
        Branch.objects.create(name=name)
    for name in ("ada", "bob"):
        reader = User.objects.create_user(name, password=name)
        for number, book in enumerate(Book.objects.order_by("pk")[:3], start=1):
            start = 0 if name == "ada" else 100
            Loan.objects.create(
                id=UUID(int=start + number),
                book=book,
                reader=reader,
                due=date(2025 + (number > 1), 1, number),
            )
    for name in ("grace", "heidi"):
        email = f"{name}@library.example"
        User.objects.create_user(name, email, password=name, is_staff=True)


def with_session(name, **defaults):
    client = APIClient(**defaults)
    client.force_login(User.objects.get(username=name))
    return client


def bearer(name):
    return f"Bearer {AccessToken.for_user(User.objects.get(username=name))}"


def with_jwt(name, **defaults):
    return APIClient(HTTP_AUTHORIZATION=bearer(name), **defaults)


class LibraryTestCase(TestCase):
    @classmethod
    def setUpTestData(cls):
        make_library()

    def setUp(self):
        cache.clear()
