"""Parts of many megabytes.

The query ``?parts=10&bytes=20000000&shape=rows`` chooses the number of parts, the bytes of JSON in
each, and what they are made of.
"""

from __future__ import annotations

from rest_framework.response import Response
from rest_framework.views import APIView

from partstream import ProgressiveView, lazy

from .eight import THREADS
from .rows import SHAPES


def parts(request):
    """(name, loader) of each part."""
    query = request.query_params
    make, size = SHAPES[query["shape"]], int(query["bytes"])
    return [(f"part_{number}", lambda request: make(size)) for number in range(int(query["parts"]))]


class HeavyView(ProgressiveView):
    """The parts, of which two are made at a time."""

    executor = {"BACKEND": THREADS, "OPTIONS": {"max_workers": 2}}
    chunk_size = 1

    def get_parts(self):
        return [(name, lazy(load)) for name, load in parts(self.request)]


class BlockingHeavyView(APIView):
    """All of them as one response, without partstream."""

    def get(self, request):
        return Response({name: load(request) for name, load in parts(request)})
