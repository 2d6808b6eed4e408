from __future__ import annotations

from rest_framework import serializers

from .models import Author, Book, Branch, Loan, Receipt


class AuthorSerializer(serializers.ModelSerializer):
    class Meta:
        model = Author
        fields = ["id", "name"]


class BookSerializer(serializers.HyperlinkedModelSerializer):
    """In version 1 an author is a name, since version 2 an object."""

    author = serializers.CharField(source="author.name")

    class Meta:
        model = Book
        fields = ["url", "slug", "title", "author", "language", "year"]
        extra_kwargs = {"url": {"lookup_field": "slug"}}


class BookSerializerV2(BookSerializer):
    author = AuthorSerializer()


class BranchSerializer(serializers.ModelSerializer):
    class Meta:
        model = Branch
        fields = ["id", "name"]


class LoanSerializer(serializers.ModelSerializer):
    book = serializers.SlugRelatedField(slug_field="slug", read_only=True)

    class Meta:
        model = Loan
        fields = ["id", "book", "due"]


class ReceiptSerializer(serializers.ModelSerializer):
    class Meta:
        model = Receipt
        fields = ["id", "loan"]


class AccountSerializer(serializers.Serializer):
    username = serializers.CharField()
    is_staff = serializers.BooleanField()
    helped_by = serializers.CharField(allow_null=True)


class CountsSerializer(serializers.Serializer):
    version = serializers.CharField()
    loans = serializers.IntegerField()


class NamesSerializer(serializers.Serializer):
    names = serializers.ListField(child=serializers.CharField())
