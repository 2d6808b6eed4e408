"""The endpoints of an ordinary project, which parts are made of."""

from __future__ import annotations

import io

from django.contrib.admin.views.decorators import staff_member_required
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.core.exceptions import ValidationError as ModelError
from django.db import connection
from django.http import (
    FileResponse,
    Http404,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.middleware.csrf import get_token
from django.urls import include, path, re_path, register_converter
from django.utils.decorators import method_decorator
from django.views.decorators.cache import cache_page, never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import condition
from rest_framework import (
    authentication,
    exceptions,
    filters,
    generics,
    pagination,
    permissions,
    routers,
    serializers,
    throttling,
    versioning,
    viewsets,
)
from rest_framework.decorators import action, api_view, permission_classes
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.response import Response
from rest_framework.views import APIView, exception_handler

from partstream import HybridProgressiveView
from partstream.viewsets import ProgressiveViewSetMixin, progressive_action
from tests.example.models import Note

CALLS = []


class ByHeader(authentication.BaseAuthentication):
    """As token authentication: the header names the user."""

    def authenticate(self, request):
        CALLS.append("header")
        name = request.headers.get("authorization", "").removeprefix("Token ")
        request.named = name  # DRF's request only.
        user = User.objects.filter(username=name).first()
        return None if user is None else (user, f"token of {name}")

    def authenticate_header(self, request):
        return "Token"


class BySession(authentication.SessionAuthentication):
    def authenticate(self, request):
        CALLS.append("session")
        return super().authenticate(request)

    def authenticate_header(self, request):
        return "Session"


class Counting(throttling.BaseThrottle):
    def allow_request(self, request, view):
        CALLS.append("throttle")
        return True


class OutOfStock(Exception):
    """A project's own error, which its handler knows."""


def handle(error, context):
    if isinstance(error, OutOfStock):
        return Response({"problem": "out_of_stock"}, status=409)
    response = exception_handler(error, context)
    if response is not None:
        response.data = {"handled": response.data}
    return response


class Base(APIView):
    authentication_classes = [BySession, ByHeader]
    permission_classes = [permissions.IsAuthenticated]
    throttle_classes = [Counting]

    def get_exception_handler(self):
        return handle


class Pages(pagination.PageNumberPagination):
    page_size = 2


class Windows(pagination.LimitOffsetPagination):
    default_limit = 2


class Positions(pagination.CursorPagination):
    page_size = 2
    ordering = "id"


class NoteSerializer(serializers.HyperlinkedModelSerializer):
    asked = serializers.SerializerMethodField()

    class Meta:
        model = Note
        fields = ["url", "text", "asked"]
        extra_kwargs = {"url": {"view_name": "note-detail"}}

    def get_asked(self, note):
        request, view = self.context["request"], self.context["view"]
        return [str(request.user), view.action, request.path, getattr(request, "tenant", None)]


class IsNotSecret(permissions.BasePermission):
    def has_object_permission(self, request, view, obj):
        return "secret" not in obj.text


class NoteViewSet(Base, viewsets.ModelViewSet):
    queryset = Note.objects.order_by("id")
    serializer_class = NoteSerializer
    permission_classes = [permissions.IsAuthenticated, IsNotSecret]
    pagination_class = Pages
    filter_backends = [filters.SearchFilter, filters.OrderingFilter]
    search_fields = ["text"]

    @action(detail=False)
    def summary(self, request):
        return Response([self.basename, self.detail, self.reverse_action("list"), self.action])

    @action(detail=True)
    def history(self, request, pk=None):
        return Response({"of": self.get_object().text})

    @action(detail=True, methods=["post"])
    def close(self, request, pk=None):
        return Response(status=204)


class PlainNotes(Base, generics.ListAPIView):
    queryset = Note.objects.order_by("id")

    class serializer_class(serializers.ModelSerializer):
        class Meta:
            model = Note
            fields = ["text"]


class Where(Base):
    """What an endpoint may look at."""

    def get(self, request, *args, **kwargs):
        return Response(
            {
                "absolute": request.build_absolute_uri(),
                "full": request.get_full_path(),
                "paths": [request.path, request.path_info],
                "route": request.resolver_match.view_name,
                "kwargs": kwargs,
                "query": dict(request.query_params.lists()),
                "method": request.method,
                "body": request.body.decode(),
                "data": request.data,
                "accept": request.headers.get("Accept"),
                "version": request.version,
                "tenant": getattr(request, "tenant", None),
                "format": request.accepted_renderer.format,
            }
        )


class Who(Base):
    def get(self, request):
        by = type(request.successful_authenticator).__name__
        return Response([str(request.user), str(request.auth), by])


class Named(Base):
    def get(self, request):
        own = [type(request.accepted_renderer).__name__, request.version]
        return Response([getattr(request, "named", None), *own])


class ByToken(permissions.BasePermission):
    def has_permission(self, request, view):
        return isinstance(request.successful_authenticator, ByHeader)


class Raises(Base):
    make = None

    def get(self, request, *args, **kwargs):
        raise self.make()


class Answers(Base):
    make = None

    def get(self, request, *args, **kwargs):
        return self.make()


@method_decorator(cache_page(60, key_prefix="endpoints"), name="dispatch")
class Cached(Base):
    runs = 0

    def get(self, request):
        Cached.runs += 1
        return Response({"runs": Cached.runs})


class Tagged(Base):
    @method_decorator(condition(etag_func=lambda request, *args, **kwargs: '"one"'))
    def get(self, request):
        return Response({"tagged": True})


class Enveloped(Base):
    def finalize_response(self, request, response, *args, **kwargs):
        response = super().finalize_response(request, response, *args, **kwargs)
        response.data = {"ok": not response.exception, "data": response.data}
        return response

    def get(self, request):
        return Response([1, 2])


class Touches(Base):
    def get(self, request):
        request.session["touched"] = request.session.get("touched", 0) + 1
        return Response(request.session["touched"])


class Handles(Base):
    def handle_exception(self, exc):
        if isinstance(exc, KeyError):
            return Response({"was": "handled"})
        return super().handle_exception(exc)

    def get(self, request):
        raise KeyError("x")


class InTransaction(Base):
    def get(self, request):
        return Response(connection.in_atomic_block)


class Writes(Base):
    def get(self, request):
        Note.objects.create(text="written, then refused")
        raise exceptions.ValidationError({"text": ["Too late."]})


class PostOnly(Base):
    def post(self, request):
        return Response()


class Board(HybridProgressiveView):
    parts = [("a", 1)]


@api_view(["GET"])
@permission_classes([permissions.AllowAny])
def function_view(request):
    return Response({"user": str(request.user)})


class Audience(ByHeader):
    """An authenticator with a configuration."""

    def __init__(self, audience):
        self.audience = audience

    def authenticate(self, request):
        if self.audience != request.headers.get("audience", "public"):
            raise exceptions.AuthenticationFailed
        return super().authenticate(request)


class ForAdmins(Who):
    def get_authenticators(self):
        return [Audience("admin")]


class ByObject(permissions.BasePermission):
    def has_object_permission(self, request, view, obj):
        return obj == request.user.username


class Profile(Base):
    """An object whose permission the view asks by itself."""

    permission_classes = [permissions.IsAuthenticated, ByObject]

    def get(self, request, name="ada"):
        self.check_object_permissions(request, name)
        return Response({"secret of": name})


class Pairs(Base):
    """Sets something before the handler, and clears it after the response."""

    held = []

    def initial(self, request, *args, **kwargs):
        super().initial(request, *args, **kwargs)
        Pairs.held.append("set")
        if "fail" in request.query_params:
            raise exceptions.ValidationError("no")

    def finalize_response(self, request, response, *args, **kwargs):
        Pairs.held.append("cleared")
        return super().finalize_response(request, response, *args, **kwargs)

    def get(self, request):
        return Response(1)


class ByQuery(Base):
    """A view whose renderers depend on the request."""

    def get_renderers(self):
        assert self.request.query_params is not None
        return super().get_renderers()

    def get(self, request):
        return Response("rendered")


class Page(Base):
    renderer_classes = [TemplateHTMLRenderer]

    def get(self, request):
        return Response({"secret": "of the template"}, template_name="page.html")


class Token(Base):
    def get(self, request):
        return Response(get_token(request))


class NoteConverter:
    """A converter of a project's own, that returns an object."""

    regex = "[0-9]+"
    loaded = []

    def to_python(self, value):
        NoteConverter.loaded.append(value)
        return Note.objects.get(pk=value)

    def to_url(self, value):
        return str(value)


register_converter(NoteConverter, "note")


class OneNote(Base):
    def get(self, request, note):
        return Response(note.text)


def plain_view(request):
    return HttpResponse("hello")


RAISED = {
    "invalid": lambda: exceptions.ValidationError({"since": ["No date."]}),
    "unreadable": lambda: exceptions.ParseError("Not that."),
    "throttled": lambda: exceptions.Throttled(wait=6.2),
    "missing": Http404,
    "gone": lambda: type("Gone", (exceptions.APIException,), {"status_code": 410})(),
    "denied": lambda: PermissionDenied("a secret"),
    "unknown": exceptions.AuthenticationFailed,
    "stock": OutOfStock,
    "bug": lambda: RuntimeError("a secret"),
    "model": lambda: ModelError("a secret"),
}
ANSWERED = {
    "teapot": lambda: Response({"detail": "short and stout"}, status=418),
    "later": lambda: Response("a secret", status=503, headers={"Retry-After": "9"}),
    "redirect": lambda: HttpResponseRedirect("/elsewhere/"),
    "file": lambda: FileResponse(io.BytesIO(b"x")),
    "stream": lambda: StreamingHttpResponse([b"x"]),
    "page": lambda: HttpResponse("<html>"),
    "json": lambda: JsonResponse({"plain": 1}),
    "broken": lambda: HttpResponse("{", content_type="application/json"),
    "empty": lambda: Response(status=204),
    "none": lambda: Response(None),
}


class MixedViewSet(Base, ProgressiveViewSetMixin, viewsets.ReadOnlyModelViewSet):
    """A view set of which one action has parts."""

    queryset = Note.objects.order_by("id")
    serializer_class = NoteSerializer

    @progressive_action(detail=False)
    def overview(self):
        return [("a", 1)]


router = routers.DefaultRouter()
router.register("mixed", MixedViewSet, "mixed")
router.register("notes", NoteViewSet, "note")
spaces = [
    path("space/", Where.as_view(versioning_class=versioning.NamespaceVersioning), name="space")
]

urlpatterns = [
    path("api/", include(router.urls)),
    path("api/plain/", PlainNotes.as_view(), name="plain"),
    path("api/windows/", PlainNotes.as_view(pagination_class=Windows), name="windows"),
    path("api/positions/", PlainNotes.as_view(pagination_class=Positions), name="positions"),
    path("api/pages/", PlainNotes.as_view(pagination_class=Pages), name="pages"),
    path("api/where/", Where.as_view(), name="where"),
    path("api/slug/<str:slug>/", Where.as_view(), name="by-slug"),
    path("api/who/", Who.as_view(), name="who"),
    path("api/named/", Named.as_view(), name="named"),
    path(
        "api/named-v/",
        Named.as_view(versioning_class=versioning.QueryParameterVersioning),
        name="named-version",
    ),
    path(
        "api/unnamed/",
        Named.as_view(authentication_classes=[], permission_classes=[]),
        name="unnamed",
    ),
    path("api/by-token/", Who.as_view(authentication_classes=[ByHeader]), name="by-token"),
    path("api/by-session/", Who.as_view(authentication_classes=[BySession]), name="by-session"),
    path("api/needs/", Who.as_view(permission_classes=[ByToken]), name="needs-token"),
    path(
        "api/public/",
        Who.as_view(authentication_classes=[], permission_classes=[]),
        name="public",
    ),
    path("api/staff/", Who.as_view(permission_classes=[permissions.IsAdminUser]), name="staff"),
    path("api/cached/", Cached.as_view(), name="cached"),
    path("api/admins/", ForAdmins.as_view(), name="for-admins"),
    path("api/profile/", Profile.as_view(), name="profile"),
    path("api/profiles/<str:name>/", Profile.as_view(), name="profile-of"),
    path("api/pairs/", Pairs.as_view(), name="pairs"),
    path("api/by-query/", ByQuery.as_view(), name="rendered"),
    path("api/page/", Page.as_view(), name="template"),
    path("api/csrf/", Token.as_view(), name="csrf"),
    path("api/one-note/<note:note>/", OneNote.as_view(), name="one-note"),
    path("api/tagged/", Tagged.as_view(), name="tagged"),
    path("api/enveloped/", Enveloped.as_view(), name="enveloped"),
    path("api/touches/", Touches.as_view(), name="touches"),
    path("api/handles/", Handles.as_view(), name="handles"),
    path("api/in-transaction/", InTransaction.as_view(), name="in-transaction"),
    path("api/writes/", Writes.as_view(), name="writes"),
    path("api/function/", function_view, name="function"),
    path("api/exempt/", csrf_exempt(Where.as_view()), name="exempt"),
    path("api/guarded/", staff_member_required(Where.as_view()), name="guarded"),
    path("api/never-cached/", never_cache(Where.as_view()), name="never-cached"),
    path("api/post/", PostOnly.as_view(), name="post-only"),
    path("api/no-drf/", plain_view, name="no-drf"),
    path("api/board/", include(Board.urls(name="board"))),
    path("api/where/", Who.as_view(), name="shadowed"),
    path(
        "api/versions/query/",
        Where.as_view(versioning_class=versioning.QueryParameterVersioning),
        name="by-query",
    ),
    path(
        "api/versions/accept/",
        Where.as_view(versioning_class=versioning.AcceptHeaderVersioning),
        name="by-accept",
    ),
    re_path(
        r"^(?P<version>v1|v2)/path/$",
        Where.as_view(versioning_class=versioning.URLPathVersioning),
        name="by-path",
    ),
    path("v1/", include((spaces, "v"), namespace="v1")),
    path("v2/", include((spaces, "v"), namespace="v2")),
    *(
        path(f"api/raises/{name}/", Raises.as_view(make=staticmethod(make)), name=name)
        for name, make in RAISED.items()
    ),
    *(
        path(f"api/answers/{name}/", Answers.as_view(make=staticmethod(make)), name=name)
        for name, make in ANSWERED.items()
    ),
]
