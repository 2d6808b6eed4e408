from __future__ import annotations

import io

from adrf.views import APIView as AsyncAPIView
from django.contrib.auth.models import User
from django.http import FileResponse, HttpResponse, HttpResponseRedirect
from django.utils.decorators import method_decorator
from django.views.decorators.cache import cache_page
from django.views.decorators.vary import vary_on_headers
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import generics, permissions, versioning, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.views import APIView
from rest_framework_simplejwt.authentication import JWTAuthentication

from partstream import endpoint, lazy
from partstream.schemas import returns
from partstream.viewsets import ProgressiveViewSetMixin, progressive_action

from .errors import BookLost
from .filters import BookFilter, LoanFilter
from .models import Author, Book, Branch, Loan, Receipt
from .pagination import Soonest, Windows
from .serializers import (
    AccountSerializer,
    AuthorSerializer,
    BookSerializer,
    BookSerializerV2,
    BranchSerializer,
    CountsSerializer,
    LoanSerializer,
    NamesSerializer,
    ReceiptSerializer,
)


class BookViewSet(ProgressiveViewSetMixin, viewsets.ReadOnlyModelViewSet):
    queryset = Book.objects.select_related("author").order_by("title")
    filterset_class = BookFilter
    search_fields = ["title"]
    ordering_fields = ["year", "title"]
    lookup_field = "slug"

    def get_serializer_class(self):
        return BookSerializer if self.request.version == "v1" else BookSerializerV2

    # Added with partstream.

    @progressive_action(detail=True, chunk_size=2)
    def page(self):
        """The page of a book."""
        return [
            ("book", lazy(self.get_book)),
            ("same_author", lazy(self.get_same_author)),
            (
                "loans",
                lazy(
                    endpoint("loan-list", query=lambda request: {"book__slug": self.kwargs["slug"]})
                ),
            ),
        ]

    @returns(BookSerializer)
    def get_book(self, request):
        return self.get_serializer(self.get_object()).data

    @returns(BookSerializer, many=True)
    def get_same_author(self, request):
        book = self.get_object()
        others = self.get_queryset().filter(author=book.author_id).exclude(pk=book.pk)
        return self.get_serializer(self.filter_queryset(others), many=True).data


class AuthorViewSet(viewsets.ReadOnlyModelViewSet):
    queryset = Author.objects.order_by("name")
    serializer_class = AuthorSerializer
    pagination_class = Windows


class LoanViewSet(viewsets.ReadOnlyModelViewSet):
    """A reader's own loans."""

    queryset = Loan.objects.select_related("book")
    serializer_class = LoanSerializer
    pagination_class = Soonest
    filterset_class = LoanFilter

    def get_queryset(self):
        if getattr(self, "swagger_fake_view", False):
            return super().get_queryset().none()
        return super().get_queryset().filter(reader=self.request.user)

    @extend_schema(responses=ReceiptSerializer)
    @action(detail=True)
    def receipt(self, request, pk=None, **kwargs):
        """Makes a receipt; too late if the book is late itself."""
        loan = self.get_object()
        receipt = Receipt.objects.create(loan=loan)
        if loan.due.year < 2020:
            raise BookLost("This book is lost.")
        if loan.due.year < 2026:
            raise ValidationError({"due": ["This loan is late."]})
        return Response(ReceiptSerializer(receipt).data)


@method_decorator(cache_page(60), name="dispatch")
@method_decorator(vary_on_headers("Authorization", "Cookie"), name="dispatch")
class BranchesView(generics.ListAPIView):
    queryset = Branch.objects.order_by("name")
    serializer_class = BranchSerializer
    pagination_class = None


class AccountView(APIView):
    @extend_schema(responses=AccountSerializer)
    def get(self, request, **kwargs):
        account = {
            "username": request.user.username,
            "is_staff": request.user.is_staff,
            "helped_by": request.impersonator and request.impersonator.username,
        }
        return Response(AccountSerializer(account).data)


class StatisticsView(APIView):
    """It is expensive, so a client may ask twice a day."""

    throttle_scope = "statistics"

    @extend_schema(responses=CountsSerializer)
    def get(self, request, **kwargs):
        loans = Loan.objects.count()
        return Response({"version": request.version, "loans": loans})


class ReportView(APIView):
    """The numbers of a year; the year is the version."""

    versioning_class = versioning.URLPathVersioning

    @extend_schema(responses=CountsSerializer)
    def get(self, request, **kwargs):
        loans = Loan.objects.filter(due__year=request.version).count()
        return Response({"version": request.version, "loans": loans})


class PartnerView(APIView):
    """For other libraries, which name the version in the query."""

    schema = None  # drf-spectacular cannot describe such versions.
    versioning_class = versioning.QueryParameterVersioning

    def get(self, request, **kwargs):
        own = reverse("partner", request=request)
        return Response({"names": [str(request.version), own]})


class PayrollView(APIView):
    """For scripts of the staff only: a browser's session does not open it."""

    authentication_classes = [JWTAuthentication]
    permission_classes = [permissions.IsAdminUser]

    @extend_schema(responses=NamesSerializer)
    def get(self, request, **kwargs):
        staff = User.objects.filter(is_staff=True)
        return Response({"names": [request.user.username, *staff.values_list("email", flat=True)]})


class RecentView(APIView):
    """The books that a reader has looked at in this session."""

    @extend_schema(responses=NamesSerializer)
    def get(self, request, **kwargs):
        looked_at = request.query_params.get("looked_at")
        if looked_at:
            request.session["recent"] = [*request.session.get("recent", []), looked_at]
        return Response({"names": request.session.get("recent", [])})


# Not for parts.


class CoverView(APIView):
    @extend_schema(responses=OpenApiTypes.BINARY)
    def get(self, request, **kwargs):
        return FileResponse(io.BytesIO(b"a picture"), content_type="image/png")


class OldBooksView(APIView):
    @extend_schema(responses={302: None})
    def get(self, request, **kwargs):
        return HttpResponseRedirect(reverse("book-list", request=request))


class ShelfLabelView(APIView):
    @extend_schema(responses={(200, "text/html"): OpenApiTypes.STR})
    def get(self, request, **kwargs):
        return HttpResponse("<p>A label</p>")


class PosterView(APIView):
    renderer_classes = [TemplateHTMLRenderer]

    @extend_schema(responses={(200, "text/html"): OpenApiTypes.STR})
    def get(self, request, **kwargs):
        return Response({"title": "Poster"}, template_name="library/poster.html")


class NewsView(AsyncAPIView):
    @extend_schema(responses=NamesSerializer)
    async def get(self, request, **kwargs):
        return Response({"names": ["quiet"]})
