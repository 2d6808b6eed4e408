"""The shop's URLs that deliver parts."""

from __future__ import annotations

from partstream.mixins import PartsMixin
from shop.urls import urlpatterns as of_shop

urlpatterns = [
    pattern
    for pattern in of_shop
    if hasattr(pattern, "url_patterns")
    or issubclass(getattr(pattern.callback, "cls", object), PartsMixin)
]
