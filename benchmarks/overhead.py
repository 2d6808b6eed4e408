"""The cost of progressive delivery, compared with a view that responds at once.

Install the versions to be measured, then run ``python benchmarks/overhead.py``. Cases that are
compared run in alternating blocks in one process. Only their ratios are meaningful, since the
machine's speed and noise affect both sides alike. ``--markdown`` prints the table for the docs.

The subject is the view alone, called as Django calls it and rendered: no middleware, no
authentication, no throttle, SQLite in memory. A part is a list of three small objects.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import django
from django.conf import settings

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
    DJANGO_PARTSTREAM={"ENABLE_RATE_LIMITING": False},
)
django.setup()

import cryptography
import jwt
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.test import RequestFactory
from report import report
from rest_framework.generics import ListAPIView
from rest_framework.pagination import CursorPagination
from rest_framework.response import Response
from rest_framework.serializers import ModelSerializer
from rest_framework.views import APIView
from timing import measure

from partstream import ProgressiveView, lazy
from partstream.backends.cursors.fernet import FernetCursorCodec
from partstream.backends.cursors.jwt import JWTCursorCodec
from partstream.backends.cursors.signed import SignedCursorCodec
from partstream.keys import get_key_ring
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


class ManyParts(ProgressiveView):
    """A thousand parts, two per chunk."""

    parts = declare(1000)


class ManyPartsMadeEachTime(ProgressiveView):
    """A thousand parts, declared again for each request."""

    def get_parts(self):
        """The parts."""
        return declare(1000)


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


def of_view(view, url="/walk/"):
    """A case: requests made in advance, each answered and rendered."""
    handler = view.as_view()
    return lambda count: [requests.get(url) for _ in range(count)], lambda r: handler(r).render()


def of_codec(codec):
    """A case: a cursor decoded, and the next encoded."""
    payload = Cursor("w" * 16, 2, 0, 10, "d" * 16, "b" * 22).payload()
    token = codec.encode(payload, TTL)

    def turn(token):
        cursor = Cursor.from_payload(codec.decode(token, TTL))
        codec.encode(cursor.payload(), TTL)

    return lambda count: [token] * count, turn


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
    call_command("migrate", verbosity=0)
    Group.objects.bulk_create(Group(name=f"group {number}") for number in range(10))
    second_page = Groups.as_view()(requests.get("/groups/")).data["next"]
    token = FIRST["cursor"]
    many_token = ManyParts.as_view()(requests.get("/walk/")).data["cursor"]
    old = django.VERSION < (6, 1)

    found = measure(
        {
            "bare": of_view(Bare),
            "first": of_view(TenParts),
            "cursor": of_view(TenParts, f"/walk/?cursor={token}"),
            "many first": of_view(ManyParts),
            "many cursor": of_view(ManyParts, f"/walk/?cursor={many_token}"),
        },
        blocks=blocks,
    )
    paged = measure(
        {
            "pagination": of_view(Groups, second_page.removeprefix("http://testserver")),
            "cursor": of_view(TenParts, f"/walk/?cursor={token}"),
        },
        blocks=blocks,
    )
    keys = get_key_ring()
    codecs = measure(
        {
            "fernet": of_codec(FernetCursorCodec(keys=keys)),
            "signed": of_codec(SignedCursorCodec(keys=keys)),
            "jwt": of_codec(JWTCursorCodec(keys=keys)),
        },
        blocks=blocks,
    )
    maker, few = ManyPartsMadeEachTime(), TenPartsMadeEachTime()
    made = measure(
        {
            "many": of_view(ManyPartsMadeEachTime),
            "ten": of_view(TenPartsMadeEachTime),
            "many get_parts": (lambda count: [maker] * count, lambda view: view.get_parts()),
            "ten get_parts": (lambda count: [few] * count, lambda view: view.get_parts()),
        },
        calls=20,
        blocks=blocks,
    )
    beyond = ((made["many"] - made["many get_parts"]) - (made["ten"] - made["ten get_parts"])) / 990

    yield "a bare APIView of the same body", "", f"{found['bare']:.0f} us"
    yield (
        "first chunk, Fernet, against it",
        f"<= {1.2 if old else 1.05} x",
        f"{found['first'] / found['bare']:.2f} x",
    )
    yield (
        "cursor chunk, Fernet, against it",
        f"<= {1.65 if old else 1.45} x",
        f"{found['cursor'] / found['bare']:.2f} x",
    )
    yield (
        "cursor chunk against DRF's CursorPagination of two rows",
        "<= 0.3 x",
        f"{paged['cursor'] / paged['pagination']:.2f} x",
    )
    for name, target in [("fernet", 45), ("signed", 45), ("jwt", 100)]:
        yield f"decode and encode a cursor, {name}", f"<= {target} us", f"{codecs[name]:.0f} us"
    yield (
        "1,000 parts in `parts` against ten, first chunk",
        "<= 1.1 x",
        f"{found['many first'] / found['first']:.2f} x",
    )
    yield (
        "1,000 parts in `parts` against ten, cursor chunk",
        "<= 1.1 x",
        f"{found['many cursor'] / found['cursor']:.2f} x",
    )
    yield "a part from `get_parts()`, beyond what that costs", "<= 0.1 us", f"{beyond:.2f} us"
    yield "a token of a walk of ten parts", "<= 200 characters", f"{len(token)} characters"
    yield (
        "`import partstream` after `import django`",
        "<= 2 ms",
        f"{import_milliseconds():.1f} ms",
    )


if __name__ == "__main__":
    report(
        __doc__.split("\n")[0],
        rows,
        f"cryptography {cryptography.__version__}",
        f"PyJWT {jwt.__version__}",
    )
