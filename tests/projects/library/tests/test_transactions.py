"""`ATOMIC_REQUESTS`: of the dashboard's request, and of endpoints in threads."""

from __future__ import annotations

from datetime import date
from threading import Event
from unittest import mock

from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connection, transaction
from django.test import TransactionTestCase

from partstream.testing import close_connections, collect
from tests.projects.library import views
from tests.projects.library.models import Loan, Receipt, Visit
from tests.projects.oracle import assert_same_as_urls

from .base import IN_TIME, LATE, make_library, with_session
from .test_desk import urls_of


class TransactionTests(TransactionTestCase):
    def setUp(self):
        cache.clear()
        make_library()
        self.client = with_session("ada")

    def tearDown(self):
        close_connections()

    def test_request__keeps_what_the_dashboard_wrote_and_not_what_a_refused_part_did(self):
        found = collect(self.client, f"/v1/desk/loans/{LATE}/", allow_errors=True)
        assert found.errors["receipt"]["code"] == "part_invalid"
        assert found.errors["receipt"]["problems"] == {"due": ["This loan is late."]}
        assert self.client.get(f"/v1/loans/{LATE}/receipt/").status_code == 400
        assert found["visits"] == 1
        assert (Visit.objects.count(), Receipt.objects.count()) == (1, 0)

    def test_request__survives_a_handler_that_marks_its_transaction(self):
        Loan.objects.filter(pk=IN_TIME).update(due=date(2019, 1, 1))
        for desk in ("desk", "busy-desk"):
            found = collect(self.client, f"/v1/{desk}/loans/{IN_TIME}/", allow_errors=True)
            assert found.errors["receipt"]["code"] == "part_invalid"
            assert found.errors["receipt"]["problems"] == {"detail": "This book is lost."}
            assert Receipt.objects.count() == 0
        own = self.client.get(f"/v1/loans/{IN_TIME}/receipt/")
        assert (own.status_code, own.json()) == (409, {"detail": "This book is lost."})
        assert (Visit.objects.count(), Receipt.objects.count()) == (2, 0)

    def test_on_commit__of_an_endpoint_runs_if_it_answered(self):
        sent = []

        def receipt(view, request, **kwargs):
            transaction.on_commit(lambda: sent.append(str(view.kwargs["pk"])))
            return answer_of(view, request, **kwargs)

        answer_of = views.LoanViewSet.receipt
        with mock.patch.object(views.LoanViewSet, "receipt", receipt):
            for desk in ("desk", "busy-desk"):
                for loan in (LATE, IN_TIME):
                    collect(self.client, f"/v1/{desk}/loans/{loan}/", allow_errors=True)
        assert sent == [str(IN_TIME)] * 2

    def test_request__keeps_what_an_endpoint_wrote_that_answered(self):
        parts = collect(self.client, f"/v1/desk/loans/{IN_TIME}/")
        assert Receipt.objects.get().pk == parts["receipt"]["id"]
        assert (Visit.objects.count(), parts["visits"]) == (1, 1)

    def test_worker__rolls_back_what_a_refused_endpoint_wrote(self):
        found = collect(self.client, f"/v1/busy-desk/loans/{LATE}/", allow_errors=True)
        assert found.errors["receipt"]["code"] == "part_invalid"
        assert (Visit.objects.count(), Receipt.objects.count()) == (1, 0)

    def test_worker__keeps_what_an_endpoint_wrote_that_answered(self):
        parts = collect(self.client, f"/v1/busy-desk/loans/{IN_TIME}/")
        assert Receipt.objects.get().pk == parts["receipt"]["id"]

    def test_worker__has_the_transaction_of_the_endpoint(self):
        seen = []

        def note(view, request, **kwargs):
            seen.append(connection.in_atomic_block)
            return answer_of(view, request, **kwargs)

        answer_of = views.StatisticsView.get
        with mock.patch.object(views.StatisticsView, "get", note):
            assert self.client.get("/v1/busy-desk/parts/?keys=statistics").status_code == 200
        assert seen == [True]

    def test_workers__deliver_what_the_urls_answer(self):
        parts = collect(self.client, "/v1/busy-desk/")
        assert_same_as_urls(self.client, parts, urls_of("v1"))
        assert collect(self.client, "/v1/busy-desk/", mode="keys") == parts

    def test_session__that_a_worker_changes_in_time_is_saved(self):
        parts = collect(self.client, "/v1/busy-desk/recent/ideas/")
        assert parts["recent"] == {"names": ["ideas"]}
        assert self.client.session["recent"] == ["ideas"]

    def test_session__that_a_worker_changes_after_the_answer_is_lost(self):
        answered, changed = Event(), Event()

        def wait(view, request, **kwargs):
            answered.wait(60)
            response = answer_of(view, request, **kwargs)
            changed.set()
            return response

        answer_of = views.RecentView.get
        with mock.patch.object(views.RecentView, "get", wait):
            with self.assertLogs("partstream.parts", "ERROR"):
                body = self.client.get("/v1/busy-desk/recent/ideas/?timeout=0.1").json()
            assert body["errors"][0]["code"] == "part_timeout"
            answered.set()
            assert changed.wait(60)
        assert "recent" not in self.client.session

    def test_session__of_the_request_is_read_in_a_worker(self):
        collect(self.client, "/v1/desk/recent/ideas/")
        parts = collect(self.client, "/v1/busy-desk/recent/orlando/")
        assert parts["recent"] == {"names": ["ideas", "orlando"]}
        assert User.objects.count() == 4
