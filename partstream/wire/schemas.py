"""The envelopes as serializers, for schema generators.

Their docstrings and help texts are descriptions in the schema. ``ref_name`` is the name of the
component there: no serializer of a project is called so.
"""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class PartErrorSerializer(serializers.Serializer[Any]):
    """A part that failed."""

    part = serializers.CharField(help_text="The name of the part.")
    code = serializers.CharField(help_text="The kind of failure, for programs.")
    detail = serializers.CharField(help_text="A text for people.")
    retryable = serializers.BooleanField(help_text="Whether another request may succeed.")
    retry_cursor = serializers.CharField(
        required=False, help_text="A cursor that delivers this part alone."
    )
    retry_after = serializers.IntegerField(
        required=False, help_text="Seconds to wait before another request."
    )
    problems = serializers.JSONField(
        required=False, help_text="What is wrong with the request for this part."
    )

    class Meta:
        """For schemas."""

        ref_name = "PartstreamPartError"


class EnvelopeMetaSerializer(serializers.Serializer[Any]):
    """The position of a walk."""

    total_parts = serializers.IntegerField(help_text="How many parts this user has.")
    current_part = serializers.IntegerField(help_text="How many of them the walk has passed.")
    has_more = serializers.BooleanField(help_text="Whether the cursor is not null.")
    manifest_url = serializers.CharField(required=False, help_text="The path of the manifest.")
    pending = serializers.ListField(
        child=serializers.CharField(),
        required=False,
        help_text="The names of the parts still to come, in the answer that begins a walk, and in "
        "the first record of a stream.",
    )
    debug = serializers.DictField(
        child=serializers.DictField(),
        required=False,
        help_text="What each part cost, for staff.",
    )

    class Meta:
        """For schemas."""

        ref_name = "PartstreamMeta"


class EnvelopeSerializer(serializers.Serializer[Any]):
    """Some of the parts: a chunk of a walk, or the parts that were requested by key."""

    results = serializers.ListField(
        child=serializers.DictField(), help_text="An object with one key for each part."
    )
    errors = PartErrorSerializer(many=True, required=False)  # type: ignore[assignment]
    cursor = serializers.CharField(
        allow_null=True, help_text="The token of the next chunk; null at the end."
    )
    meta = EnvelopeMetaSerializer()

    class Meta:
        """For schemas."""

        ref_name = "PartstreamEnvelope"


class StreamErrorSerializer(serializers.Serializer[Any]):
    """Why the server ended a stream. Its cursor resumes it."""

    code = serializers.CharField(help_text="The kind of failure, for programs.")
    detail = serializers.CharField(help_text="A text for people.")

    class Meta:
        """For schemas."""

        ref_name = "PartstreamStreamError"


class RecordSerializer(EnvelopeSerializer):
    """One record of a stream: the parts that have just ended."""

    stream_error = StreamErrorSerializer(required=False)

    class Meta:
        """For schemas."""

        ref_name = "PartstreamRecord"


class ManifestPartSerializer(serializers.Serializer[Any]):
    """What the manifest says of a part. The application may add to it."""

    size = serializers.JSONField(allow_null=True, help_text="A hint of the application's.")
    dependencies = serializers.ListField(
        child=serializers.CharField(), help_text="The parts that it needs."
    )
    lazy = serializers.BooleanField(help_text="Whether it has a loader.")

    class Meta:
        """For schemas."""

        ref_name = "PartstreamManifestPart"


class ManifestMetaSerializer(serializers.Serializer[Any]):
    """The number of parts."""

    total_parts = serializers.IntegerField()

    class Meta:
        """For schemas."""

        ref_name = "PartstreamManifestMeta"


class ManifestSerializer(serializers.Serializer[Any]):
    """The parts that this user has."""

    parts = serializers.DictField(child=ManifestPartSerializer(), help_text="The parts by name.")
    meta = ManifestMetaSerializer()
    links = serializers.DictField(
        child=serializers.CharField(),
        help_text="The paths of the walk, of the parts by key, and of the stream if there is one.",
    )

    class Meta:
        """For schemas."""

        ref_name = "PartstreamManifest"


class RequestErrorSerializer(serializers.Serializer[Any]):
    """A request that was refused."""

    detail = serializers.CharField(help_text="A text for people.")
    code = serializers.CharField(help_text="The kind of refusal, for programs.")
    retry_after = serializers.IntegerField(
        required=False, help_text="Seconds to wait before the same request."
    )

    class Meta:
        """For schemas."""

        ref_name = "PartstreamRequestError"
