"""Sphinx's configuration: `sphinx-build -W docs docs/_build`."""

from __future__ import annotations

import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "partstream"],
    SECRET_KEY="what autodoc imports needs a configured Django, and nothing else",
)
django.setup()

import partstream  # noqa: E402 - what it hands on needs Django

project = "django-partstream"
author = "django-partstream contributors"
copyright = author
version = release = partstream.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "figures"]

html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = False

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

# Docstrings are Google's style, and name what they mean in single backticks.
default_role = "any"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_default_options = {"members": True}
napoleon_use_ivar = True
napoleon_use_rtype = False


def setup(app):
    """Keep napoleon from reading "Seconds; None: the setting" as a type and its description."""
    kept = {}

    def keep(app, what, name, obj, options, lines):
        kept[name] = list(lines)

    def restore(app, what, name, obj, options, lines):
        if what in ("attribute", "data"):
            lines[:] = kept[name]

    app.connect("autodoc-process-docstring", keep, priority=400)
    app.connect("autodoc-process-docstring", restore, priority=600)
