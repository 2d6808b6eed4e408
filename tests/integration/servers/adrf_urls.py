"""A view of `adrf` with partstream's mixins: its `get` is a coroutine."""

from __future__ import annotations

from adrf.views import APIView
from asgiref.sync import sync_to_async
from django.urls import path

from partstream.backends.executors.threads import ThreadExecutor
from partstream.mixins import ChunkMixin, CursorMixin, StreamMixin

from .streaming_urls import held, parts, streams


class AsyncView(StreamMixin, CursorMixin, ChunkMixin, APIView):
    executor = ThreadExecutor()
    parts = parts(held)
    chunk_size = 1

    async def get(self, request):
        return await sync_to_async(self.walk_response)(request)


urlpatterns = [path("plain/", streams), path("side-by-side/", AsyncView.as_view())]
