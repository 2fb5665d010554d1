"""What the API answers, as JSON."""

from __future__ import annotations

from typing import get_args

from rest_framework import serializers

from project.models import Upload
from project.uploads.column_type import ColumnType


class ColumnSerializer(serializers.Serializer):
    name = serializers.CharField()
    type = serializers.ChoiceField(get_args(ColumnType))
    nullable = serializers.BooleanField()


class UploadSummarySerializer(serializers.ModelSerializer):
    columns = ColumnSerializer(many=True, read_only=True)

    class Meta:
        model = Upload
        fields = ("id", "name", "columns", "row_count", "created_at")
        read_only_fields = fields


class UploadSerializer(UploadSummarySerializer):
    class Meta(UploadSummarySerializer.Meta):
        fields = (*UploadSummarySerializer.Meta.fields, "text")
        read_only_fields = fields


class UploadErrorSerializer(serializers.Serializer):
    detail = serializers.CharField()
    code = serializers.CharField()
    line = serializers.IntegerField(allow_null=True)


class ErrorSerializer(serializers.Serializer):
    detail = serializers.CharField()


class OrganizationSerializer(serializers.Serializer):
    id = serializers.CharField()
    slug = serializers.CharField(allow_null=True)
    role = serializers.CharField(allow_null=True)
    permissions = serializers.ListField(child=serializers.CharField())


class CallerSerializer(serializers.Serializer):
    user_id = serializers.CharField()
    session_id = serializers.CharField()
    issuer = serializers.CharField()
    authorized_party = serializers.CharField(allow_null=True)
    issued_at = serializers.FloatField(allow_null=True)
    expires_at = serializers.FloatField()
    organization = OrganizationSerializer(allow_null=True)


class UsageSerializer(serializers.Serializer):
    uploads = serializers.IntegerField()
    rows = serializers.IntegerField()
