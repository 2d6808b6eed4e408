from __future__ import annotations

import os
from importlib.util import find_spec

import pytest
from django.urls import include, path
from hypothesis import settings as hypothesis_settings

from partstream import HybridProgressiveView, ProgressiveView

# New examples are for those who can look at them; CI tries the same ones each time.
hypothesis_settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    hypothesis_settings.load_profile("ci")

pytest.register_assert_rewrite("tests.backends.cursors.contract", "tests.walking")

needs_jwt = pytest.mark.skipif(find_spec("jwt") is None, reason="the extra jwt is not installed")

CODECS = [
    pytest.param("partstream.backends.cursors.fernet.FernetCursorCodec", id="fernet"),
    pytest.param("partstream.backends.cursors.jwt.JWTCursorCodec", id="jwt", marks=needs_jwt),
    pytest.param("partstream.backends.cursors.signed.SignedCursorCodec", id="signed"),
]


class URLconf:
    """Stands where Django expects a module with ``urlpatterns``."""

    def __init__(self, urlpatterns):
        self.urlpatterns = urlpatterns


@pytest.fixture
def mount(settings):
    """Make these URL patterns the project's only ones."""

    def mount(*patterns):
        settings.ROOT_URLCONF = URLconf(list(patterns))

    return mount


@pytest.fixture
def serve(mount):
    """Serve one view, made of a base and attributes; its URL is returned."""

    def serve(base=ProgressiveView, **attributes):
        view = type("ServedView", (base,), {"__module__": __name__, **attributes})
        hybrid = issubclass(view, HybridProgressiveView)
        mount(path("served/", include(view.urls(name="served")) if hybrid else view.as_view()))
        return "/served/"

    return serve


class Calls(list):
    """Names of the loaders that were called, in order."""

    def loader(self, name, data=None):
        """A loader that notes its call and returns the data."""

        def load(request, **dependencies):
            self.append(name)
            return data

        return load


@pytest.fixture
def calls():
    return Calls()


@pytest.fixture(params=CODECS)
def codec(request, settings):
    """Each codec in turn, as the project's; the value is its path."""
    settings.DJANGO_PARTSTREAM = {"CURSOR_CODEC": request.param}
    return request.param


@pytest.fixture
def user(django_user_model):
    return django_user_model.objects.create_user("ada", password="ada")


@pytest.fixture
def staff(django_user_model):
    return django_user_model.objects.create_user("grace", password="grace", is_staff=True)
