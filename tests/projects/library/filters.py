from __future__ import annotations

import django_filters

from .models import Book, Loan


class BookFilter(django_filters.FilterSet):
    since = django_filters.NumberFilter(field_name="year", lookup_expr="gte")
    any_year = django_filters.AllValuesMultipleFilter(field_name="year")
    author_name = django_filters.CharFilter(field_name="author__name")

    class Meta:
        model = Book
        fields = ["language"]


class LoanFilter(django_filters.FilterSet):
    due_before = django_filters.DateFilter(field_name="due", lookup_expr="lt")

    class Meta:
        model = Loan
        fields = ["book__slug"]
