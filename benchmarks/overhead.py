"""The cost of progressive delivery, compared with a view that responds at once.

Install the versions to be measured, then run ``python benchmarks/overhead.py``. Cases that are
compared run in alternating blocks in one process. Only their ratios are meaningful, since the
machine's speed and noise affect both sides alike. ``--markdown`` prints the table for the docs.

The subject is the view alone, called as Django calls it and rendered: no middleware, no
authentication, no throttle, SQLite in memory. A part is a list of three small objects. Times are
the thread's processor time. Where valgrind and a C compiler are installed, a second table counts
instructions, which is free of noise: compare it with the table of another commit.
"""

from __future__ import annotations

import gc
import logging
import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from itertools import count as count_from
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import django
from django.conf import settings

#: So high that no request of a benchmark is refused.
ENDLESS = 100_000
MEMORY = "partstream.backends.rate_limits.memory.MemoryRateLimitStore"
CODECS = {
    "Fernet": "fernet.FernetCursorCodec",
    "AES-SIV": "aead.AESSIVCursorCodec",
    "signed": "signed.SignedCursorCodec",
    "JWT": "jwt.JWTCursorCodec",
}
OFF = {"ENABLE_RATE_LIMITING": False}


class URLs:
    """The project's URLs."""

    urlpatterns: list = []


settings.configure(
    SECRET_KEY="the benchmarks' own secret, of a good length",
    ALLOWED_HOSTS=["testserver"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=[
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "rest_framework",
        "partstream",
    ],
    REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": [], "DEFAULT_PERMISSION_CLASSES": []},
    ROOT_URLCONF=URLs,
    DJANGO_PARTSTREAM=OFF,
    LOGGING_CONFIG=None,
)
django.setup()

import cryptography
import instructions
import jwt
from django.contrib.auth.models import Group
from django.core.handlers.base import BaseHandler
from django.core.management import call_command
from django.http import HttpResponse, JsonResponse
from django.test import RequestFactory, override_settings
from django.urls import path
from ninja import NinjaAPI
from report import report
from rest_framework.generics import ListAPIView
from rest_framework.pagination import CursorPagination
from rest_framework.response import Response
from rest_framework.serializers import ModelSerializer
from rest_framework.views import APIView
from timing import Case, measure

from partstream import ProgressiveView, lazy
from partstream.backends.loader import get_cursor_codec
from partstream.performance.recorder import recorder
from partstream.security import audit
from partstream.walks.cursor import Cursor

TTL = 3600
ITEMS = [{"id": number, "total": "9.90"} for number in range(3)]
requests = RequestFactory(headers={"host": "testserver"})


def load(request):
    """A loader that costs nothing, so that only delivery is measured."""
    return ITEMS


def declare(count):
    """The given number of parts."""
    return [(f"part_{number}", lazy(load)) for number in range(count)]


class TenParts(ProgressiveView):
    """Ten parts, two per chunk."""

    parts = declare(10)


class FiftyParts(ProgressiveView):
    """Fifty parts in one chunk."""

    chunk_size = 50
    parts = declare(50)


class ManyParts(ProgressiveView):
    """A thousand parts, two per chunk."""

    parts = declare(1000)


class ManyPartsMadeEachTime(ProgressiveView):
    """A thousand parts, declared again for each request."""

    def get_parts(self):
        """The parts."""
        return declare(1000)


class ManyPartsKept(ProgressiveView):
    """A thousand parts, in a tuple that the class keeps and returns for each request."""

    kept = tuple(declare(1000))

    def get_parts(self):
        """The parts."""
        return self.kept


class TenPartsMadeEachTime(ProgressiveView):
    """Ten parts, declared again for each request."""

    def get_parts(self):
        """The parts."""
        return declare(10)


FIRST = TenParts.as_view()(requests.get("/walk/")).data


class Bare(APIView):
    """A plain view that returns the same body as the first chunk."""

    def get(self, request):
        """The body."""
        return Response(FIRST)


def plain(request):
    """A view of Django's own that returns the same body."""
    return JsonResponse(FIRST)


api = NinjaAPI(openapi_url=None)


@api.get("/ninja")
def ninja(request):
    """The same with django-ninja."""
    return FIRST


class GroupSerializer(ModelSerializer):
    """Two fields of a row."""

    class Meta:
        model = Group
        fields = ["id", "name"]


class Pagination(CursorPagination):
    """DRF's cursors, two rows per page."""

    ordering = "id"
    page_size = 2


class Groups(ListAPIView):
    """Rows behind DRF's cursors."""

    queryset = Group.objects.all()
    serializer_class = GroupSerializer
    pagination_class = Pagination


def unrelated(request):
    """A view that is not partstream's."""
    return HttpResponse(b"plain")


URLs.urlpatterns = [
    path("api/", api.urls),
    path("unrelated/", unrelated),
    path("first/", TenParts.as_view()),
    path("fifty/", FiftyParts.as_view()),
]
MONITORED = ["partstream.middleware.PerformanceMiddleware"]


# The cases


def within(**partstream):
    """The context of a case: the benchmark's settings, and these."""
    return partial(override_settings, DJANGO_PARTSTREAM={**OFF, **partstream})


def with_codec(codec):
    """The setting of a codec."""
    return {"CURSOR_CODEC": f"partstream.backends.cursors.{codec}"}


def of_view(view, url="/walk/", **partstream):
    """Requests made in advance, each answered and rendered."""
    handler = view.as_view()
    return Case(
        lambda count: [requests.get(url) for _ in range(count)],
        lambda request: handler(request).render(),
        within(**partstream),
    )


def of_walk(view, change=lambda token: token, **partstream):
    """The second chunk of a walk; ``change`` returns the token that is sent."""
    handler = view.as_view()

    def prepare(count):
        token = change(handler(requests.get("/walk/")).data["cursor"])
        return [requests.get(f"/walk/?cursor={token}") for _ in range(count)]

    return Case(prepare, lambda request: handler(request).render(), within(**partstream))


def of_function(view, url):
    """A view that needs no rendering."""
    return Case(lambda count: [requests.get(url) for _ in range(count)], view)


def of_handler(middleware, url="/unrelated/", **partstream):
    """A request through Django's handler, with this middleware."""
    with override_settings(MIDDLEWARE=middleware):
        handler = BaseHandler()
        handler.load_middleware()
    respond, calls = handler.get_response, count_from(1)

    def call(request):
        respond(request)
        if next(calls) % 100 == 0:  # A process adds up its figures once a second.
            recorder.take()

    return of_function(call if middleware == MONITORED else respond, url)._replace(
        within=within(**partstream)
    )


def of_codec(codec):
    """A cursor decoded, and the next encoded."""
    payload = Cursor("w" * 16, 2, 0, 10, "d" * 16, "b" * 22).payload()

    def prepare(count):
        made = get_cursor_codec()
        return [(made, made.encode(payload, TTL))] * count

    def decode_and_encode(given):
        made, token = given
        cursor = Cursor.from_payload(made.decode(token, TTL))
        made.encode(cursor.payload(), TTL)

    return Case(prepare, decode_and_encode, within(**with_codec(codec)))


LIMITS = {
    "ENABLE_RATE_LIMITING": True,
    "RATE_LIMIT_STORE": MEMORY,
    "RATE_LIMIT": ENDLESS,
    "BURST_LIMIT": ENDLESS,
}


def make_cases():
    """Name -> case, for the times and for the counts."""
    call_command("migrate", verbosity=0)
    Group.objects.bulk_create(Group(name=f"group {number}") for number in range(10))
    second_page = Groups.as_view()(requests.get("/groups/")).data["next"]
    both = ["ProgressiveDeliveryMiddleware", "SecurityMiddleware"]
    found = {"a bare APIView": of_view(Bare)}
    for name, codec in CODECS.items():
        found[f"first chunk, {name}"] = of_view(TenParts, **with_codec(codec))
        found[f"cursor chunk, {name}"] = of_walk(TenParts, **with_codec(codec))
    return found | {
        "cursor chunk, the walk cache off": of_walk(TenParts, ENABLE_CACHING=False),
        # Every part is slow enough to be kept, so each chunk asks the store and writes to it.
        "cursor chunk, the walk cache in use": of_walk(TenParts, CACHE_MIN_DURATION=0.0),
        "first chunk, rate limiting": of_view(TenParts, **LIMITS),
        "refused cursor, no audit trail": of_walk(
            TenParts, lambda token: f"{token[:-9]}AAAAAAAAA", ENABLE_AUDIT_LOGGING=False
        ),
        "refused cursor, audit trail": of_walk(TenParts, lambda token: f"{token[:-9]}AAAAAAAAA"),
        "fifty parts in a chunk": of_view(FiftyParts),
        "first chunk of 1,000 parts": of_view(ManyParts),
        "cursor chunk of 1,000 parts": of_walk(ManyParts),
        "a page of CursorPagination": of_view(
            Groups, second_page.removeprefix("http://testserver")
        ),
        "a Django view": of_function(plain, "/walk/"),
        "django-ninja": of_function(of_handler([]).call, "/api/ninja"),
        "an unrelated view, no middleware": of_handler([]),
        "an unrelated view, both middlewares": of_handler(
            [f"partstream.middleware.{name}" for name in both]
        ),
        "first chunk through the handler": of_handler([], "/first/"),
        "first chunk through the handler, monitored": of_handler(MONITORED, "/first/"),
        "fifty parts through the handler": of_handler([], "/fifty/"),
        "fifty parts through the handler, monitored": of_handler(MONITORED, "/fifty/"),
    }


def make_monitored():
    """Further cases of the middleware that monitors."""
    return {
        "none": of_handler([], "/first/"),
        "times only": of_handler(MONITORED, "/first/", TRACK_PERFORMANCE=False),
        "switched off": of_handler(MONITORED, "/first/", ENABLE_MONITORING=False),
        "unrelated": of_handler([]),
        "unrelated, monitored": of_handler(MONITORED),
    }


def make_declared():
    """Cases of a thousand parts that are declared for each request, and of those views' lists."""
    many, ten = ManyPartsMadeEachTime(), TenPartsMadeEachTime()
    return {
        "made": of_view(ManyPartsMadeEachTime),
        "kept": of_view(ManyPartsKept),
        "ten": of_view(TenPartsMadeEachTime),
        "made list": Case(lambda count: [many] * count, lambda view: view.get_parts()),
        "ten list": Case(lambda count: [ten] * count, lambda view: view.get_parts()),
    }


# Other measures


def collected(rounds=20):
    """Objects that only the garbage collector frees, for each request: all, and partstream's."""
    handler, case = TenParts.as_view(), of_walk(TenParts)
    given = case.prepare(rounds)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    for request in given:
        handler(request).render()
    del request, given
    gc.collect()
    found = [type(one) for one in gc.garbage]
    gc.garbage.clear()
    gc.set_debug(0)
    gc.enable()
    own = [kind for kind in found if kind.__module__.startswith("partstream")]
    return len(found) / rounds, len(own) / rounds


def import_milliseconds(rounds=15):
    """Milliseconds of ``import partstream`` after ``import django``, in new processes."""
    code = (
        "import django, time; t = time.perf_counter(); import partstream; "
        "print((time.perf_counter() - t) * 1000)"
    )
    command = [sys.executable, "-c", code]
    root = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as compiled:
        # As installed: with bytecode, which the first round writes.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        outputs = [
            subprocess.run(
                command, cwd=root, env=environment, check=True, capture_output=True
            ).stdout
            for _ in range(rounds + 1)
        ]
    return statistics.median(map(float, outputs[1:]))


def rows(blocks):
    """Each measure: its name, target and result, in the order of the table."""
    cases, old = make_cases(), django.VERSION < (6, 1)
    found = measure(cases, blocks=blocks)
    bare, first = found["a bare APIView"], found["first chunk, Fernet"]
    made = measure(make_declared(), calls=20, blocks=blocks)
    codecs = measure({name: of_codec(codec) for name, codec in CODECS.items()}, blocks=blocks)
    # What a request costs for each of its parts, without making them.
    beyond = ((made["made"] - made["made list"]) - (made["ten"] - made["ten list"])) / 990

    def against(name, target=""):
        return f"{name}, against it", target, f"{found[name] / bare:.2f} x"

    yield "a bare APIView of the same body", "", f"{bare:.0f} us"
    yield against("first chunk, Fernet", f"<= {1.35 if old else 1.18} x")
    yield against("cursor chunk, Fernet", f"<= {1.85 if old else 1.6} x")
    yield against("first chunk, AES-SIV", f"<= {1.1 if old else 0.95} x")
    yield against("cursor chunk, AES-SIV", f"<= {1.35 if old else 1.15} x")
    for name in ("signed", "JWT"):
        yield against(f"first chunk, {name}")
        yield against(f"cursor chunk, {name}")
    yield against("cursor chunk, the walk cache off")
    yield against("cursor chunk, the walk cache in use")
    yield (
        "added to a first chunk by rate limiting, memory store",
        "<= 0.25 x",
        f"{(found['first chunk, rate limiting'] - first) / bare:.2f} x",
    )
    yield against("refused cursor, no audit trail")
    yield against("refused cursor, audit trail")
    page = found["a page of CursorPagination"]
    yield (
        "cursor chunk, Fernet, against DRF's CursorPagination of two rows",
        "<= 0.2 x",
        f"{found['cursor chunk, Fernet'] / page:.2f} x",
    )
    yield (
        "for comparison: DRF's CursorPagination, against the bare view",
        "",
        f"{page / bare:.1f} x",
    )
    yield (
        "for comparison: a Django view with JsonResponse",
        "",
        f"{found['a Django view'] / bare:.2f} x",
    )
    yield (
        "for comparison: django-ninja, with Django's handler and its URLs",
        "",
        f"{found['django-ninja'] / bare:.2f} x",
    )
    yield (
        "a plain lazy part, of 50 in a chunk",
        "<= 5.5 us",
        f"{(found['fifty parts in a chunk'] - first) / 48:.1f} us",
    )
    for name in ("first", "cursor"):
        yield (
            f"1,000 parts in `parts` against ten, {name} chunk",
            "<= 1.1 x",
            f"{found[f'{name} chunk of 1,000 parts'] / found[f'{name} chunk, Fernet']:.2f} x",
        )
    yield "making 1,000 `lazy()` parts in `get_parts()`", "", f"{made['made list']:.0f} us"
    yield (
        "1,000 parts that `get_parts()` makes, against a kept list",
        "",
        f"{made['made'] / made['kept']:.1f} x",
    )
    yield "a part from `get_parts()`, beyond what that costs", "<= 0.1 us", f"{beyond:.2f} us"
    for name, target in [("Fernet", 45), ("AES-SIV", 10), ("signed", 45), ("JWT", 100)]:
        yield f"decode and encode a cursor, {name}", f"<= {target} us", f"{codecs[name]:.0f} us"
    for name, target in [("Fernet", 200), ("AES-SIV", 140)]:
        with within(**with_codec(CODECS[name]))():
            token = TenParts.as_view()(requests.get("/walk/")).data["cursor"]
        yield (
            f"a token of a walk of ten parts, {name}",
            f"<= {target} characters",
            f"{len(token)} characters",
        )
    everything, own = collected()
    yield (
        "objects that only the garbage collector frees, a request: partstream's, of all",
        "0",
        f"{own:.0f} of {everything:.0f}",
    )
    without = found["an unrelated view, no middleware"]
    with_both = found["an unrelated view, both middlewares"]
    yield (
        "both middlewares, on a view that is not ours",
        "<= 4 us",
        f"{with_both - without:.1f} us",
    )
    first_added, fifty_added = (
        found[f"{name} through the handler, monitored"] - found[f"{name} through the handler"]
        for name in ("first chunk", "fifty parts")
    )
    of_part = (fifty_added - first_added) / 48
    yield (
        "monitoring: a request, without its parts",
        "<= 8 us",
        f"{first_added - 2 * of_part:.1f} us",
    )
    yield "monitoring: a part", "<= 3 us", f"{of_part:.1f} us"
    monitored = measure(make_monitored(), blocks=blocks)
    for name, label in [
        ("times only", "monitoring: a first chunk of two parts, without queries and memory"),
        ("switched off", "monitoring: a request, installed but switched off"),
    ]:
        yield label, "", f"{monitored[name] - monitored['none']:.1f} us"
    others = monitored["unrelated, monitored"] - monitored["unrelated"]
    yield "monitoring: a request for a view that is not ours", "", f"{others:.1f} us"
    yield (
        "`import partstream` after `import django`",
        "<= 2 ms",
        f"{import_milliseconds():.1f} ms",
    )


def counts():
    """Instructions of each case: its name, thousands of instructions, and their ratio."""
    try:
        found = instructions.count(__file__)
    except instructions.Missing as missing:
        yield f"not counted: {missing} is missing (Debian: apt install valgrind gcc)", "", ""
        return
    for name, count in found.items():
        yield name, f"{count / 1000:,.0f}", f"{count / found['a bare APIView']:.2f} x"


if __name__ == "__main__":
    # Lines of the audit trail are written in full; without a handler, none would be.
    trail = logging.getLogger("partstream.audit")
    trail.addHandler(logging.FileHandler(os.devnull))
    trail.propagate = False
    audit._trail._per_minute = ENDLESS
    if "--count" in sys.argv:
        instructions.run(make_cases(), sys.argv[-1])
    else:
        report(
            __doc__.split("\n")[0],
            rows,
            f"cryptography {cryptography.__version__}",
            f"PyJWT {jwt.__version__}",
            counts=counts,
        )
