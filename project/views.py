"""The API. Every view here is closed to everybody without a verified Clerk session."""

from __future__ import annotations

from dataclasses import asdict

from django.db.models import QuerySet
from rest_framework import status
from rest_framework.decorators import api_view
from rest_framework.generics import ListAPIView, RetrieveAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from project.csv_records import CSVRejected
from project.csv_table import parse_csv
from project.models import Upload
from project.serializers import UploadSerializer, UploadSummarySerializer
from project.upload_body import (
    CSVBodyParser,
    UploadMultiPartParser,
    UploadRejected,
    read_upload,
)


@api_view(["GET"])
def me(request: Request) -> Response:
    """Say who is asking, from the claims alone; times are Unix seconds."""
    claims = request.auth
    return Response(
        {
            "user_id": claims.user_id,
            "session_id": claims.session_id,
            "issuer": claims.issuer,
            "authorized_party": claims.authorized_party,
            "issued_at": claims.issued_at,
            "expires_at": claims.expires_at,
            "organization": asdict(claims.organization) if claims.organization else None,
        }
    )


class OwnUploads:
    """Another person's upload does not exist for the one who asks: 404, not 403."""

    request: Request

    def get_queryset(self) -> QuerySet[Upload]:
        return Upload.objects.filter(owner_id=self.request.user.pk)


class UploadList(OwnUploads, ListAPIView):
    parser_classes = (UploadMultiPartParser, CSVBodyParser)
    serializer_class = UploadSummarySerializer

    def get_queryset(self) -> QuerySet[Upload]:
        return super().get_queryset().defer("text")

    def post(self, request: Request) -> Response:
        name, data = read_upload(request)
        try:
            table = parse_csv(data)
        except CSVRejected as error:
            raise UploadRejected(error.code, error.detail, error.line) from error
        upload = Upload.objects.create(
            owner_id=request.user.pk,
            name=name,
            columns=[asdict(column) for column in table.columns],
            row_count=table.row_count,
            text=table.text,
        )
        return Response(UploadSummarySerializer(upload).data, status=status.HTTP_201_CREATED)


class UploadDetail(OwnUploads, RetrieveAPIView):
    serializer_class = UploadSerializer
