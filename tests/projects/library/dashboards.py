"""What the team wrote for the desk of a reader."""

from __future__ import annotations

from django.db import transaction
from django.utils.decorators import method_decorator

from partstream import HybridProgressiveView, cached_for, endpoint, lazy

from .models import Visit


class Desk(HybridProgressiveView):
    """All that a reader sees first."""

    chunk_size = 4
    parts = [
        ("account", lazy(endpoint("account"))),
        ("books", lazy(endpoint("book-list", query={"language": "nl", "ordering": "-year"}))),
        ("newer_books", lazy(endpoint("book-list", query={"since": 1950, "page": 2}))),
        ("authors", lazy(endpoint("author-list", query={"limit": 1, "offset": 1}))),
        ("favourite", lazy(endpoint("book-detail", kwargs={"slug": "max-havelaar"}))),
        ("branches", lazy(endpoint("branches"))),
        ("loans", lazy(cached_for(60)(endpoint("loan-list")))),
        ("statistics", lazy(endpoint("statistics"))),
        ("report", lazy(endpoint("report", kwargs={"version": "2026"}))),
        ("partner", lazy(endpoint("partner", query={"version": "v2"}))),
    ]


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class BusyDesk(Desk):
    """The same in threads, where a part has the transaction of its endpoint."""

    executor = "partstream.backends.executors.threads.ThreadExecutor"


class Filtered(HybridProgressiveView):
    """Books as the client filters them."""

    parts = [("books", lazy(endpoint("book-list", query=lambda request: request.query_params)))]


class LoanDesk(HybridProgressiveView):
    """One loan: it writes, as the endpoint does that it asks."""

    def get_parts(self):
        loan = {"pk": self.kwargs["loan"]}
        return [
            ("visit", lazy(self.note_visit)),
            ("loan", lazy(endpoint("loan-detail", kwargs=loan))),
            ("receipt", lazy(endpoint("loan-receipt", kwargs=loan))),
            ("visits", lazy(self.count_visits)),
        ]

    def note_visit(self, request):
        return Visit.objects.create(reader=request.user).pk

    def count_visits(self, request):
        return Visit.objects.count()


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class BusyLoanDesk(LoanDesk):
    executor = "partstream.backends.executors.threads.ThreadExecutor"


class StaffDesk(HybridProgressiveView):
    parts = [("account", lazy(endpoint("account"))), ("payroll", lazy(endpoint("payroll")))]


class RecentDesk(HybridProgressiveView):
    def get_parts(self):
        book = {"looked_at": self.kwargs["slug"]}
        timeout = float(self.request.query_params.get("timeout", 30))
        return [("recent", lazy(endpoint("recent", query=book), timeout=timeout))]


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class BusyRecentDesk(RecentDesk):
    executor = "partstream.backends.executors.threads.ThreadExecutor"


class OldVersion(HybridProgressiveView):
    """A part of version 1 for a page that was not changed yet, and one that all readers share."""

    parts = [
        ("book", lazy(endpoint("v1:book-detail", kwargs={"slug": "orlando"}))),
        ("shared_branches", lazy(cached_for(60, shared=True)(endpoint("branches")))),
    ]


class OddDesk(HybridProgressiveView):
    """Endpoints that have no data."""

    parts = [
        (name, lazy(endpoint(name))) for name in ("cover", "old_books", "shelf_label", "poster")
    ]
