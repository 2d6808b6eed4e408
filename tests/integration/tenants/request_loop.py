"""Asks a project again and again, for all its tenants in turn, in several threads.

Django has to be set up.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from threading import Barrier, Event

from django.conf import settings
from django.core.checks import run_checks
from django.core.wsgi import get_wsgi_application

from tests.support.wsgi import ask

from .views import NAMES, PATIENCE, InlineView, ThreadsView, name_in

#: Parts of a request, and how far they are apart: of those whose loader calls another one, which
#: takes a second worker meanwhile, no two come together.
PARTS, APART = 5, 4
VIEWS = [InlineView, ThreadsView]
#: One request of so many is for a stream.
STREAMS = 3
#: Parts that depend on this one.
TIMED, DEPENDENTS = "timed", {"dependent", "cached_dependent"}
#: Whose errors are never right here.
LOGGERS = (".boundary", ".connections", ".hooks", ".lookups", ".pool", ".request")


class ErrorLog(logging.Handler):
    """Keeps what is logged of hooks, of parts that failed, and of what nobody caught."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.lines: Counter[str] = Counter()

    def emit(self, record):
        if record.name.endswith(LOGGERS):
            error = record.exc_info[1] if record.exc_info else None
            self.lines[f"{record.getMessage()} {error!r}"] += 1


def left_over(view, get_state):
    """What tenants are set in the workers of a view, when no part runs."""
    workers = settings.OPTIONS["max_workers"]
    all_of_them = Barrier(workers)

    def look():
        all_of_them.wait(PATIENCE)
        return get_state()

    calls = [view().get_executor().pool.submit(look) for _ in range(workers)]
    found = set()
    for call in calls:
        done = Event()
        call.on_done(lambda _, done=done: done.set())
        done.wait(PATIENCE)
        found.add(call.result)
    return sorted(found)


def main(requests, *, stops):
    """Ask, and print as JSON what was wrong, what was delivered, and what was left over.

    Args:
        requests: How many.
        stops: Whether the first mistake is the end.
    """
    create_data = import_module(f"{settings.PROJECT}.create_data")
    clients = create_data.make()
    application = get_wsgi_application()
    wrong: Counter[str] = Counter()
    delivered: Counter[str] = Counter()
    log = ErrorLog()
    logging.getLogger().addHandler(log)

    def request(number):
        if stops and wrong:
            return
        client = clients[number % len(clients)]
        view = ("inline", "threads")[number // len(clients) % 2]
        start = number // len(clients) // 2
        keys = [NAMES[(start + APART * offset) % len(NAMES)] for offset in range(PARTS)]
        # Each asks for these: behind all others, whose waiting may have cost the connection.
        keys = list(dict.fromkeys([*keys, "last_coroutine", "last"]))
        path, accept = f"/{view}/parts/?keys={','.join(keys)}", ""
        if start % STREAMS == 0:
            only = {*keys, *([TIMED] if DEPENDENTS.intersection(keys) else ())}
            path, accept = f"/{view}/?only={','.join(sorted(only))}", "application/x-ndjson"
            view += " stream"
        answer = ask(application, path, host=client.tenant, cookie=client.cookie, accept=accept)
        if answer.status != 200:
            wrong[f"{view}: status {answer.status}"] += 1
            return
        envelopes = answer.records()
        if accept and envelopes[-1]["cursor"] is not None:
            wrong[f"{view}: no end"] += 1
        for error in (error for found in envelopes for error in found.get("errors", [])):
            wrong[f"{view}.{error['part']}: {error['code']}"] += 1
        for result in (result for found in envelopes for result in found["results"]):
            [(name, data)] = result.items()
            found = name_in(data) if isinstance(data, list) else data
            delivered[name] += 1
            if found != client.expects:
                wrong[f"{view}.{name}: {found} for {client.expects}"] += 1

    with ThreadPoolExecutor(settings.CLIENTS) as threads:
        list(threads.map(request, range(requests)))
    left = {state for view in VIEWS for state in left_over(view, create_data.get_state)}
    checks = sorted({message.id for message in run_checks() if "partstream" in (message.id or "")})
    print(
        json.dumps(
            {
                "checks": checks,
                "wrong": wrong,
                "delivered": delivered,
                "logged": log.lines,
                "left_over": sorted(left),
            }
        )
    )
