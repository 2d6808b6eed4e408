"""The demo site's URLs, and those of the tests."""

from __future__ import annotations

from django.urls import include, path

from shopsite.urls import urlpatterns as of_site

from .views import ScriptControl, ScriptedView, SettingsControl, WithoutStreams

urlpatterns = [
    path("scripted/<slug:test>/", include(ScriptedView.urls(name="scripted"))),
    path("without-streams/<slug:test>/", include(WithoutStreams.urls(name="without-streams"))),
    path("control/scripts/<slug:test>/", ScriptControl.as_view()),
    path("control/settings/", SettingsControl.as_view()),
    *of_site,
]
