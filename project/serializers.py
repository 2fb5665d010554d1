"""Uploads as JSON."""

from __future__ import annotations

from rest_framework import serializers

from project.models import Upload


class UploadSummarySerializer(serializers.ModelSerializer):
    class Meta:
        model = Upload
        fields = ("id", "name", "columns", "row_count", "created_at")
        read_only_fields = fields


class UploadSerializer(UploadSummarySerializer):
    class Meta(UploadSummarySerializer.Meta):
        fields = (*UploadSummarySerializer.Meta.fields, "text")
        read_only_fields = fields
