"""The cost of a part made of an endpoint, compared with the endpoint's own view.

Install the versions to be measured, then run ``python benchmarks/endpoints.py``. Cases that are
compared run in alternating blocks in one process, so only their ratios are meaningful.
``--markdown`` prints the table for the docs.

The subject is the call alone: ``endpoint()``'s loader with the request of a dashboard, and what
``as_view()`` returned with a request of its own. Neither renders its data. The client is a user who
is authenticated by a header; SQLite is in memory.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import django
from django.conf import settings


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
    ROOT_URLCONF=URLs,
    DJANGO_PARTSTREAM={"ENABLE_RATE_LIMITING": False},
)
django.setup()

from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.test import RequestFactory
from django.urls import include, path
from report import report
from rest_framework import filters, pagination, routers, serializers, viewsets
from rest_framework.authentication import BaseAuthentication
from rest_framework.decorators import api_view, authentication_classes, permission_classes
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response
from rest_framework.views import APIView
from timing import Case, measure

from partstream import HybridProgressiveView, endpoint, lazy

USER = User(username="ada", pk=1)
requests = RequestFactory(headers={"accept": "application/json", "authorization": "Token ada"})


class ByHeader(BaseAuthentication):
    def authenticate(self, request):
        return (USER, "token") if request.META.get("HTTP_AUTHORIZATION") else None


class Pages(pagination.PageNumberPagination):
    page_size = 10


class GroupSerializer(serializers.ModelSerializer):
    class Meta:
        model = Group
        fields = ["id", "name"]


class GroupViewSet(viewsets.ReadOnlyModelViewSet):
    authentication_classes = [ByHeader]
    permission_classes = [IsAuthenticated]
    queryset = Group.objects.order_by("id")
    serializer_class = GroupSerializer
    pagination_class = Pages
    filter_backends = [filters.SearchFilter, filters.OrderingFilter]
    search_fields = ["name"]


class Summary(APIView):
    authentication_classes = [ByHeader]
    permission_classes = [IsAuthenticated]

    def get(self, request):
        return Response({"orders": 17, "revenue": 1423601})


@api_view(["GET"])
@authentication_classes([ByHeader])
@permission_classes([IsAuthenticated])
def function_view(request):
    return Response({"orders": 17, "revenue": 1423601})


seen = []


class Dashboard(HybridProgressiveView):
    authentication_classes = [ByHeader]
    permission_classes = [IsAuthenticated]
    parts = [("seen", lazy(lambda request: seen.append(request)))]


router = routers.SimpleRouter()
router.register("groups", GroupViewSet, "group")
URLs.urlpatterns = [
    path("api/", include(router.urls)),
    path("api/summary/", Summary.as_view(), name="summary"),
    path("api/function/", function_view, name="function"),
    path("dashboard/", Dashboard.as_view()),
]
#: Label -> the loader, and the same view as its URL calls it.
SUBJECTS = {
    "a view that returns a dictionary": (endpoint("summary"), Summary.as_view(), {}),
    "a function with `@api_view`": (endpoint("function"), function_view, {}),
    "an object of a view set": (
        endpoint("group-detail", kwargs={"pk": 1}),
        GroupViewSet.as_view({"get": "retrieve"}),
        {"pk": 1},
    ),
    "a page of a view set, with search and ordering": (
        endpoint("group-list", query={"search": "group", "ordering": "name"}),
        GroupViewSet.as_view({"get": "list"}),
        {},
    ),
}
URLS = {
    "an object of a view set": "/api/groups/1/",
    "a page of a view set, with search and ordering": "/api/groups/?search=group&ordering=name",
}


def rows(blocks):
    """The ratio of each part to its view."""
    call_command("migrate", verbosity=0)
    Group.objects.bulk_create([Group(name=f"group {number}") for number in range(10)])
    Dashboard.as_view()(requests.get("/dashboard/"))
    request = seen[0]
    cases = {}
    for label, (loader, view, kwargs) in SUBJECTS.items():
        url = URLS.get(label, "/api/")
        cases[f"{label}, as a part"] = Case(
            lambda count: [request] * count, lambda one, loader=loader: loader.function(one)
        )
        cases[label] = Case(
            lambda count, url=url: [requests.get(url) for _ in range(count)],
            lambda one, view=view, kwargs=kwargs: view(one, **kwargs),
        )
    times = measure(cases, blocks=blocks)
    for label in SUBJECTS:
        part, alone = times[f"{label}, as a part"], times[label]
        yield f"{label}: part / view", "<= 2", f"{part / alone:.2f} ({part:.0f} / {alone:.0f} us)"


if __name__ == "__main__":
    report(__doc__.split("\n")[0], rows)
