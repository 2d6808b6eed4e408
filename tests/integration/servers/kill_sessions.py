"""Kills the sessions of threads of ours, and prints what became of them.

`ADMIN_URL` in the environment is the server, as a superuser. Django has to be set up.
"""

from __future__ import annotations

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.urls import path

from partstream import ProgressiveView, cached_for, lazy
from partstream.backends.executors import pool
from partstream.testing import close_connections
from tests.support.wsgi import ask

from . import urls

# Workers keep their sessions here until somebody ends them.
pool.CLOSE_SECONDS = 600
PATIENCE = 60
LONG = 120

held, begun = threading.Event(), threading.Event()
runs = []


def backend(request):
    """The process id of the session that this thread has."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


@cached_for(300, shared=True)
def hold(request):
    runs.append(backend(request))
    begun.set()
    held.wait(PATIENCE)
    return "made"


class HeldView(ProgressiveView):
    executor = urls.THREADS
    parts = [("part", lazy(hold))]


urls.urlpatterns += [
    path("timed-backend/", urls.view(lazy(backend, timeout=LONG))),
    path("backend/", urls.view(lazy(backend), urls.ThreadsView)),
    path("held/", HeldView.as_view()),
]


class Admin:
    """A superuser's session, which sees those of the project."""

    def __init__(self, session):
        self._session = session

    def sessions(self):
        """The sessions of the project."""
        name = connection.settings_dict["NAME"]
        rows = self._session.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = %s", [name]
        ).fetchall()
        return {pid for [pid] in rows}

    def idle(self):
        """Those of them that have had nothing to do for half a second."""
        rows = self._session.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = %s AND state = 'idle' "
            "AND state_change < clock_timestamp() - interval '0.5 s'",
            [connection.settings_dict["NAME"]],
        ).fetchall()
        return {pid for [pid] in rows}

    def kill(self, pids):
        """End them, and return when they have ended."""
        for pid in pids:
            self._session.execute("SELECT pg_terminate_backend(%s)", [pid])
        wait_until(lambda: not self.sessions() & set(pids))


@contextmanager
def admin():
    with psycopg.connect(os.environ["ADMIN_URL"], autocommit=True) as session:
        yield Admin(session)


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("in vain")
        time.sleep(0.01)


def worker(application, admin):
    """Kill the session of a worker between its calls, for each executor."""
    told = {}
    for name in ("timed-backend", "backend"):
        answers = []
        for _ in range(4):
            envelope = ask(application, f"/{name}/").json()
            codes = [error["code"] for error in envelope.get("errors", [])]
            answers.append(codes or envelope["results"])
            if not codes:
                [result] = envelope["results"]
                admin.kill([result["part"]])
        told[name] = ["answer" if isinstance(answer[0], dict) else answer[0] for answer in answers]
    return told


def keeper(application, admin):
    """While a part is made, kill each session that the thread which renews its lock leaves idle."""
    with ThreadPoolExecutor(1) as clients:
        answer = clients.submit(ask_and_close, application)
        try:
            begun.wait(PATIENCE)
            others = admin.sessions() | own()
            renewals = [expiry()]
            while len(renewals) < 5:
                admin.kill(admin.idle() - others)
                renewed = expiry()
                if renewed is None:
                    raise AssertionError("the lock is gone: nobody has renewed it")
                if renewed != renewals[-1]:
                    renewals.append(renewed)
                time.sleep(0.01)
        finally:
            held.set()
        results = answer.result(PATIENCE).json()["results"]
        wait_until(lambda: admin.sessions() <= others)
    return {"results": results, "runs": len(runs)}


def ask_and_close(application):
    """Ask for what is held, in a thread that ends then."""
    try:
        return ask(application, "/held/")
    finally:
        connection.close()


def own():
    """This thread's session."""
    return {backend(None)}


def expiry():
    """When the lock of the one part that is made expires; None: there is no lock any more."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(expires) FROM fragments WHERE expires > now()")
        return cursor.fetchone()[0]


def main(subject):
    """Kill the sessions of ``"worker"`` or ``"keeper"``; none may be left over."""
    application = get_wsgi_application()
    with admin() as superuser:
        connection.close()
        before = len(superuser.sessions())
        told = {"worker": worker, "keeper": keeper}[subject](application, superuser)
        close_connections()
        connection.close()
        wait_until(lambda: len(superuser.sessions()) == before)
    print(json.dumps(told))
