"""A project of two tenants, each with a database of its own; settings, router, middleware, view.

The databases are files in the directory where the process runs. `main` makes them, and says as JSON
what becomes of user 7 of the one and user 7 of the other.
"""

from __future__ import annotations

import json
import os
from contextvars import ContextVar
from itertools import count

import django
from django.db import connections
from django.test import Client
from django.urls import path

from tests.settings import *  # noqa: F403

DATABASES = {
    alias: {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{alias}.sqlite3"}
    for alias in ("default", "blue", "red")
}
DATABASE_ROUTERS = ["tests.integration.processes.two_databases.TenantRouter"]
MIDDLEWARE = ["tests.integration.processes.two_databases.tenant_middleware"]
ROOT_URLCONF = "tests.integration.processes.two_databases"
DJANGO_PARTSTREAM = {
    "RATE_LIMIT": None,
    "BURST_LIMIT": 6,
    "RATE_LIMIT_STORE": "partstream.backends.rate_limits.memory.MemoryRateLimitStore",
}

tenant = ContextVar("tenant", default="default")


class TenantRouter:
    """Reads and writes are in the database of the request's tenant."""

    def db_for_read(self, model, **hints):
        return tenant.get()

    db_for_write = db_for_read


def tenant_middleware(get_response):
    def answer(request):
        token = tenant.set(request.headers["X-Tenant"])
        try:
            return get_response(request)
        finally:
            tenant.reset(token)

    return answer


def make_databases():
    """User 7 in each, with one password."""
    from django.contrib.auth.models import User
    from django.core.management import call_command

    for alias in ("blue", "red"):
        call_command("migrate", database=alias, verbosity=0)
        password = User.objects.using("blue").get(pk=7).password if alias == "red" else "!"
        user = User(pk=7, username="ada", email=f"ada@{alias}.example", password=password)
        if alias == "blue":
            user.set_password("ada")
        user.save(using=alias)


def make_patterns():
    from rest_framework.authentication import BasicAuthentication

    from partstream import ProgressiveView, cached_for, lazy

    class TenantView(ProgressiveView):
        authentication_classes = [BasicAuthentication]
        chunk_size = 1
        made = count(1)
        parts = [("mail", lazy("get_mail")), ("more", 2)]

        @cached_for(300)
        def get_mail(self, request):
            return [request.user.email, next(self.made)]

    return [path("mail/", TenantView.as_view())]


def stop_the_clock():
    from partstream.backends.loader import get_rate_limit_store

    get_rate_limit_store()._clock = lambda: 0


def main():
    """What each of them gets, and with the other's cursor; then how often they may ask."""
    os.environ["PARTSTREAM_ENABLE_RATE_LIMITING"] = "true"
    django.setup()
    make_databases()
    global urlpatterns
    urlpatterns = make_patterns()
    stop_the_clock()
    said = {}
    clients = {
        alias: Client(headers={"X-Tenant": alias, "Authorization": "Basic YWRhOmFkYQ=="})
        for alias in ("blue", "red")
    }
    tokens = {}
    for alias, client in clients.items():
        envelope = client.get("/mail/").json()
        said[f"mail of {alias}"] = envelope["results"][0]["mail"]
        tokens[alias] = envelope["cursor"]
    for alias, client in clients.items():
        for whose, token in tokens.items():
            answer = client.get("/mail/", {"cursor": token})
            said[f"{alias} with the cursor of {whose}"] = answer.status_code
    for alias, client in clients.items():
        statuses = [client.get("/mail/").status_code for _ in range(6)]
        said[f"{alias} is admitted"] = statuses.count(200)
    print(json.dumps(said))
    connections.close_all()


urlpatterns = []
