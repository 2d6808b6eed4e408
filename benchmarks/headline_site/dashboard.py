"""The shop's dashboard without the part of its courier, which the documented figures lack."""

from __future__ import annotations

from rest_framework.response import Response

from shop import views

LEFT_OUT = "deliveries"


class DashboardView(views.DashboardView):
    """The dashboard in parts."""

    def get_parts(self):
        return [(name, part) for name, part in super().get_parts() if name != LEFT_OUT]


class BlockingDashboardView(views.BlockingDashboardView):
    """The same as one response."""

    def get(self, request):
        data = super().get(request).data
        del data[LEFT_OUT]
        return Response(data)
