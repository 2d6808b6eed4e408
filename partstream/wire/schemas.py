"""The envelopes as serializers, for schema generators."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class PartErrorSerializer(serializers.Serializer[Any]):
    """A failed part, for schemas."""

    part = serializers.CharField()
    code = serializers.CharField()
    detail = serializers.CharField()
    retryable = serializers.BooleanField()
    retry_cursor = serializers.CharField(required=False)


class EnvelopeMetaSerializer(serializers.Serializer[Any]):
    """The position of a walk, for schemas."""

    total_parts = serializers.IntegerField()
    current_part = serializers.IntegerField()
    has_more = serializers.BooleanField()
    manifest_url = serializers.CharField(required=False)
    pending = serializers.ListField(child=serializers.CharField(), required=False)
    debug = serializers.DictField(child=serializers.DictField(), required=False)


class EnvelopeSerializer(serializers.Serializer[Any]):
    """A response of a walk or by key, for schemas. The content of the parts is not described."""

    results = serializers.ListField(child=serializers.DictField())
    errors = PartErrorSerializer(many=True, required=False)  # type: ignore[assignment]
    cursor = serializers.CharField(allow_null=True)
    meta = EnvelopeMetaSerializer()


class ManifestMetaSerializer(serializers.Serializer[Any]):
    """The number of parts, for schemas."""

    total_parts = serializers.IntegerField()


class ManifestSerializer(serializers.Serializer[Any]):
    """The manifest, for schemas."""

    parts = serializers.DictField(child=serializers.DictField())
    meta = ManifestMetaSerializer()
    links = serializers.DictField(child=serializers.CharField())
