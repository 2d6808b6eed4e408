"""No part has another workshop's rows, on connections that are kept from request to request."""

from __future__ import annotations

import json
import threading

from django.core.cache import cache
from django.core.wsgi import get_wsgi_application
from django.db import connection, connections
from django.test import TransactionTestCase

from partstream.testing import close_connections
from tests.projects.oracle import answer
from tests.projects.repairs import dashboards
from tests.projects.repairs.models import SparePart
from tests.support.wsgi import ask

from .base import client_of, make_workshop, unlimited

CLIENTS = 4
REQUESTS = 60
PAGES = ["busy", "busy-threads", "front", "busy-threads"]
#: Where a part says whose row it shows.
OTHERS = {"north": "south", "south": "north"}


@unlimited
class TenantTests(TransactionTestCase):
    def setUp(self):
        cache.clear()
        for slug in OTHERS:
            make_workshop(slug)

    def tearDown(self):
        close_connections()

    def test_parts__have_the_rows_of_the_clients_workshop(self):
        application = get_wsgi_application()
        start = threading.Barrier(CLIENTS)
        wrong, seen = [], set()

        def client(number):
            start.wait(60)
            try:
                for count in range(REQUESTS):
                    slug = ("north", "south")[(number + count) % 2]
                    page = PAGES[(number + count // 2) % len(PAGES)]
                    answer = ask(
                        application,
                        f"/api/{page}/",
                        host=f"{slug}.workshops.example",
                        token=f"token-of-{slug}-owner",
                    )
                    wrong.extend(self.problems(slug, page, answer, seen))
            except Exception as error:  # noqa: BLE001 - the test's own thread says it
                wrong.append(repr(error))
            finally:
                connections.close_all()

        threads = [threading.Thread(target=client, args=[number]) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert wrong == []
        assert len(seen) == 2 * (2 * len(dashboards.BusyPage.parts) + 4)
        assert self.left_over() == {""}

    def test_version__of_a_cached_part_is_that_of_the_workshop(self):
        """What is written is read at once, in each workshop and in each thread."""
        for page in ("busy", "busy-threads"):
            for slug in ("north", "south", "north"):
                client = client_of(f"{slug}-owner")
                before = self.summary(client, page)
                assert before == answer(client, "/api/orders/summary/")
                order = {"isDone": not answer(client, "/api/orders/r-3/")["isDone"]}
                assert client.patch("/api/orders/r-3/", order).status_code == 200
                assert (
                    self.summary(client, page) == answer(client, "/api/orders/summary/") != before
                )

    def summary(self, client, page):
        return answer(client, f"/api/{page}/parts/?keys=summary")["results"][0]["summary"]

    def problems(self, slug, page, answer, seen):
        if answer.status != 200:
            return [(slug, page, answer.status, answer.body)]
        body = answer.json()
        found = [(slug, page, error) for error in body.get("errors", [])]
        for result in body["results"]:
            [(name, data)] = result.items()
            text = json.dumps(data)
            seen.add((slug, page, name))
            if (slug not in text and name != "summary") or OTHERS[slug] in text:
                found.append((slug, page, name, data))
        return found

    def left_over(self):
        """The workshop that is set on the sessions of the workers when no part runs."""
        workers = dashboards.THREADS["OPTIONS"]["max_workers"]
        together, done = threading.Barrier(workers), threading.Semaphore(0)

        def look():
            together.wait(60)
            with connection.cursor() as cursor:
                cursor.execute("SELECT current_setting('app.workshop', true)")
                return cursor.fetchone()[0] or ""

        executor = dashboards.BusyPage(executor=dashboards.THREADS).get_executor()
        calls = [executor.pool.submit(look) for _ in range(workers)]
        for call in calls:
            call.on_done(lambda _: done.release())
        for _ in calls:
            assert done.acquire(timeout=60)
        return {call.result for call in calls}

    def test_rows__are_nobodys_without_a_workshop(self):
        assert not SparePart.objects.exists()
