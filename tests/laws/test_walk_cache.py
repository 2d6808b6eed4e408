"""Law 8: a cache hit looks like the original, and never belongs to another identity."""

from __future__ import annotations

import itertools
import json
import logging
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import caches
from django.test import RequestFactory, override_settings
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from rest_framework.test import force_authenticate

from partstream import HybridProgressiveView, PartError, cached_for, lazy, safe_call, with_timeout
from partstream.backends.executors.threads import ThreadExecutor
from tests.laws.test_laws import Spec, expected, get, specs, summary, view_of
from tests.support.hypothesis_profiles import examples

pytestmark = pytest.mark.usefixtures("empty_cache")


def again(drawn, view, cachings):
    """A view of the same parts, each kept as is said; None: not at all."""

    def kept(spec, part):
        caching = cachings.get(spec.name)
        if caching is None or spec.kind == "immediate":
            return part
        return lazy(
            cached_for(60, **caching)(part.loader),
            depends_on=part.depends_on,
            permission_classes=part.permission_classes,
        )

    parts = [(name, kept(spec, part)) for spec, (name, part) in zip(drawn, view.parts, strict=True)]
    return type("Kept", (view,), {"parts": parts, "get_identity": lambda self, request: "ada"})


def results_of(answers):
    """What a client sees, less the tokens, which are new each time."""
    seen = []
    for answer in answers:
        envelope = json.loads(answer.content)
        for error in envelope.get("errors", ()):
            error.pop("retry_cursor", None)
        seen.append((envelope["results"], envelope.get("errors"), envelope["meta"]))
    return seen


EXECUTORS = [None, "partstream.backends.executors.threads.ThreadExecutor"]


CACHINGS = [None, {}, {"shared": True}, {"key": lambda request: "tenant"}]


@pytest.fixture
def quiet(caplog):
    """Without the log, which takes longer than what it tells of."""
    caplog.set_level(logging.CRITICAL, "partstream")


@pytest.mark.usefixtures("quiet")
@examples(
    20,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(specs(), st.integers(1, 4), st.data())
def test_law_8__a_hit_is_indistinguishable(drawn: list[Spec], size: int, data: Any) -> None:
    caches["default"].clear()
    plain = view_of(drawn, size)
    plain.executor = data.draw(st.sampled_from(EXECUTORS))
    cachings = {spec.name: data.draw(st.sampled_from(CACHINGS)) for spec in drawn}
    cached = again(drawn, plain, cachings)
    wanted = expected(drawn)

    def walked(view, cursors=None):
        answers = [get(view)]
        while (token := json.loads(answers[-1].content)["cursor"]) is not None:
            answers.append(get(view, query=f"?cursor={token}"))
            if cursors is not None:
                cursors.append((token, answers[-1]))
        return answers

    with override_settings(DJANGO_PARTSTREAM={"ENABLE_CACHING": False}):
        without = results_of(walked(plain))
    with override_settings(DJANGO_PARTSTREAM={"CACHE_MIN_DURATION": 0}):
        for view in (plain, cached, cached):
            cursors: list[Any] = []
            answers = walked(view, cursors)
            assert results_of(answers) == without
            assert summary(answers) == wanted
            for token, answer in cursors:
                repeated = get(view, query=f"?cursor={token}")
                assert results_of([repeated]) == results_of([answer])
        for name in wanted:
            assert summary([get(cached, "parts", f"?keys={name}")]) == {name: wanted[name]}
        for _ in range(2):
            cached.calls.clear()
            walked(cached)
            made = {
                spec.name
                for spec in drawn
                if cachings[spec.name] is not None and wanted.get(spec.name, [""])[0] == "data"
                if "fallback" not in spec.behaviour
            }
            assert not made & set(cached.calls), "a loader ran for what is kept"


class Canaries(HybridProgressiveView):
    """Twenty parts of all kinds, each with the name of whoever asks in it."""

    authentication_classes = ()
    chunk_size = 10
    max_keys_per_request = 20

    def stamped(self, request, **dependencies):
        return [f"<{request.user.pk}>", dependencies]

    async def stamped_later(self, request, **dependencies):
        return self.stamped(request, **dependencies)

    def raising(self, request, **dependencies):
        raise PartError(f"<{request.user.pk}>", code="closed")

    def get_parts(self):
        own = cached_for(60)
        tenant = cached_for(60, key=lambda request: f"tenant {request.user.pk}")
        parts = [
            ("me", f"<{self.request.user.pk}>"),
            ("error", lazy(own(self.raising))),
            ("later", lazy(own(self.stamped_later), depends_on=["me"])),
            ("covered", lazy(safe_call(own(self.raising), lambda request, error: str(error)))),
            ("timed", lazy(with_timeout(own(self.stamped), 30), depends_on=["me"])),
        ]
        for number, kind in zip(
            range(15), itertools.cycle([self.stamped, own(self.stamped), tenant(self.stamped)])
        ):
            before = [name for name, _ in parts[-2:]] if number % 4 else []
            parts.append((f"part_{number}", lazy(kind, depends_on=before)))
        return parts


@pytest.mark.usefixtures("quiet")
def test_law_8__users_on_threads_see_nothing_of_each_other(executors, settings):
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            "LOCATION": "canaries",
            "OPTIONS": {"MAX_ENTRIES": 20_000},
        }
    }
    settings.DJANGO_PARTSTREAM = {"CACHE_MIN_DURATION": 0}
    threads = executors(ThreadExecutor)
    views = {
        (delivery, threaded): Canaries.as_view(
            delivery=delivery, executor=threads if threaded else None
        )
        for delivery, threaded in itertools.product(["walk", "parts"], [False, True])
    }
    names_of_all = ",".join(name for name, _ in parts_of(1000))

    def ask(user, delivery, **query):
        request = RequestFactory().get("/canaries/", query)
        force_authenticate(request, User(pk=user))
        answer = views[delivery, user % 2 == 0](request)
        assert answer.status_code == 200
        text = answer.content.decode()
        stamps = {piece.partition(">")[0] for piece in text.split("<")[1:]}
        assert stamps == {str(user)}
        return json.loads(text)

    walks = dict.fromkeys(range(1000, 1040))
    locks = {user: threading.Lock() for user in walks}
    steps = [*walks] * 3
    random.Random(7).shuffle(steps)

    def step(user):
        with locks[user]:  # A user's own requests come one after another.
            if walks[user] == "done":
                assert len(ask(user, "parts", keys=names_of_all)["results"]) == 19
            else:
                query = {"cursor": walks[user]} if walks[user] else {}
                walks[user] = ask(user, "walk", **query)["cursor"] or "done"

    with ThreadPoolExecutor(8) as clients:
        list(clients.map(step, steps))
    assert set(walks.values()) == {"done"}


def parts_of(user):
    """The declared parts, as the view of this user has them."""
    view = Canaries()
    view.request = type("Asked", (), {"user": User(pk=user)})
    return view.get_parts()
