"""The views of the tests of the client, and what controls them."""

from __future__ import annotations

import json

from django.conf import settings
from django.http import HttpResponse, JsonResponse
from django.test import override_settings
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import AllowAny

from partstream import HybridProgressiveView
from partstream.streams.registry import count_open_streams

from .scripts import Script, scripts


class TokenOfScript(BaseAuthentication):
    """Refuses every token but that of the test's script."""

    def authenticate(self, request):
        token = scripts[request.parser_context["kwargs"]["test"]].token
        if token is not None and request.headers.get("Authorization") != token:
            raise AuthenticationFailed()
        return None

    def authenticate_header(self, request):
        return "Bearer"


class ScriptedView(HybridProgressiveView):
    """A view whose parts a test declares."""

    authentication_classes = [TokenOfScript]
    permission_classes = [AllowAny]
    chunk_size = 2

    def get_parts(self):
        return scripts[self.kwargs["test"]].parts()


class WithoutStreams(ScriptedView):
    """The same, of a project that has switched streams off for this view."""

    @classmethod
    def offers_streams(cls, initkwargs):
        return False


@method_decorator(csrf_exempt, name="dispatch")
class ScriptControl(View):
    """PUT declares the parts of a test, POST releases some, DELETE releases all."""

    def get(self, request, test):
        script = scripts[test]
        return JsonResponse(
            {
                "calls": script.calls,
                "waiting": script.waiting,
                "streams": count_open_streams(),
            }
        )

    def put(self, request, test):
        body = json.loads(request.body)
        script = scripts.setdefault(test, Script())
        script.token = body.get("token")
        script.declare(body["parts"])
        return HttpResponse(status=204)

    def post(self, request, test):
        scripts[test].release(json.loads(request.body))
        return HttpResponse(status=204)

    def delete(self, request, test):
        scripts[test].release()
        return HttpResponse(status=204)


@method_decorator(csrf_exempt, name="dispatch")
class SettingsControl(View):
    """PUT changes `DJANGO_PARTSTREAM` for the whole process, DELETE undoes all that was changed."""

    _changes: list[override_settings] = []

    def put(self, request):
        changed = {**settings.DJANGO_PARTSTREAM, **json.loads(request.body)}
        change = override_settings(DJANGO_PARTSTREAM=changed)
        change.enable()
        self._changes.append(change)
        return HttpResponse(status=204)

    def delete(self, request):
        while self._changes:
            self._changes.pop().disable()
        return HttpResponse(status=204)
