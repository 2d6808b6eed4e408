"""The mixin that lists a view's parts."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponseBase
from rest_framework.request import Request

from partstream.conf import get_settings
from partstream.exceptions import Misuse
from partstream.parts.declaration import LazyPart
from partstream.parts.fragment import NotSerializable
from partstream.wire import envelopes
from partstream.wire.responses import PartsResponse, conditional

from .base import PartsMixin
from .chunk import ChunkMixin
from .cursor import CursorMixin
from .stream import StreamMixin


class ManifestMixin(PartsMixin):
    """Lists the parts that this user has, and runs none of them. Verb: `manifest_response`.

    Example::

        class Contents(ManifestMixin, APIView):
            parts = [("meta", {"version": 1}), ("orders", lazy("get_orders", size="large"))]

            def get(self, request):
                return self.manifest_response(request)
    """

    def counts_as_burst(self, request: Request) -> bool:
        """See `GuardMixin.counts_as_burst`; a manifest runs no loaders, so it does not count."""
        has_walks = isinstance(self, (CursorMixin, ChunkMixin))
        return has_walks and super().counts_as_burst(request)

    def manifest_response(self, request: Request) -> HttpResponseBase:
        """The manifest, or 304 if the client has the same manifest already.

        Raises:
            Misuse: When ``get_parts_manifest()`` returned something that is not JSON.
        """
        self._take_walk_path(request)
        resolver = self.get_resolver(request)
        layout = resolver.parts.layout
        entries: dict[str, dict[str, Any]] = {}
        for position in resolver.parts.visible:
            name = layout.names[position]
            part = resolver.parts[name]
            is_lazy = isinstance(part, LazyPart)
            entries[name] = {
                "size": part.size if is_lazy else None,
                **resolver.parts.described.get(name, {}),
                "dependencies": layout.dependencies[position],
                "lazy": is_lazy,
            }
        links = {name: path for name, path in self.get_links(request).items() if name != "manifest"}
        if "walk" in links and isinstance(self, StreamMixin) and get_settings().MAX_STREAMS:
            links["stream"] = links["walk"]
        try:
            body = envelopes.manifest(entries, links)
        except NotSerializable as error:
            raise Misuse(
                f"{type(self).__name__}: get_parts_manifest() has a value that is not JSON: "
                f"{error}. Use plain data."
            ) from error
        return conditional(request, PartsResponse(body, "private, no-cache"))
