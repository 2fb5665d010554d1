"""The API. Every view here is closed to everybody without a verified Clerk session."""

from __future__ import annotations

from dataclasses import asdict

from django.db.models import Count, Q, QuerySet, Sum
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.decorators import api_view, permission_classes
from rest_framework.exceptions import PermissionDenied
from rest_framework.generics import ListAPIView, RetrieveDestroyAPIView
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from clerk_auth.authentication import claims_of
from clerk_auth.core.claims import Claims
from clerk_auth.permissions import (
    HasFeature,
    HasPermission,
    HasPlan,
    HasRole,
    IsNotImpersonated,
    IsOrganizationMember,
    IsOwner,
    RequiresReverification,
)
from project.models import Upload
from project.serializers import (
    CallerSerializer,
    ErrorSerializer,
    OrganizationSerializer,
    UploadErrorSerializer,
    UploadSerializer,
    UploadSummarySerializer,
    UsageSerializer,
)
from project.uploads.body import (
    CSVBodyParser,
    UploadMultiPartParser,
    UploadRejected,
    read_upload,
)
from project.uploads.records import CSVRejected
from project.uploads.table import parse_csv

# For the schema: a serializer cannot say that a body is one file, in a form or by itself.
_UPLOAD_BODIES = {
    "multipart/form-data": {
        "type": "object",
        "properties": {"file": {"type": "string", "format": "binary"}},
        "required": ["file"],
    },
    "text/csv": OpenApiTypes.BINARY,
}


@extend_schema(responses=CallerSerializer)
@api_view(["GET"])
def me(request: Request) -> Response:
    """Say who is asking, from the claims only; times are Unix seconds."""
    claims = get_claims(request)
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


# Made once, here: a wrong name fails at start-up, and no request pays for a class.
READS_FOR_ALL = HasRole("org:admin") | HasPermission("org:uploads:read")
READS = IsOwner("owner_id") | READS_FOR_ALL
DELETES = IsOwner("owner_id") & IsNotImpersonated & RequiresReverification("strict")


@extend_schema(responses=OrganizationSerializer)
@api_view(["GET"])
@permission_classes([IsOrganizationMember])
def organization(request: Request) -> Response:
    """Show the active organization, and what the caller is in it."""
    return Response(asdict(get_claims(request).organization))


@extend_schema(responses=UsageSerializer)
@api_view(["GET"])
@permission_classes([IsOrganizationMember & HasPlan("org:pro") & HasFeature("org:usage")])
def usage(request: Request) -> Response:
    """Count what the organization has stored; for those who pay for it."""
    uploads = Upload.objects.filter(organization_id=get_organization_id(request))
    return Response(uploads.aggregate(uploads=Count("id"), rows=Sum("row_count", default=0)))


@extend_schema_view(
    get=extend_schema(responses={200: UploadSummarySerializer(many=True), 404: ErrorSerializer}),
    post=extend_schema(
        request=_UPLOAD_BODIES, responses={201: UploadSummarySerializer, 400: UploadErrorSerializer}
    ),
)
class UploadList(ListAPIView):
    """The caller's own uploads."""

    parser_classes = (UploadMultiPartParser, CSVBodyParser)
    serializer_class = UploadSummarySerializer

    def get_queryset(self) -> QuerySet[Upload]:
        return Upload.objects.filter(owner_id=self.request.user.pk).defer("text")

    def post(self, request: Request) -> Response:
        """Take one CSV file of up to 5 MiB whose first line names the columns."""
        name, data = read_upload(request)
        try:
            table = parse_csv(data)
        except CSVRejected as error:
            raise UploadRejected(error.code, error.detail, error.line) from error
        upload = Upload.objects.create(
            owner_id=request.user.pk,
            organization_id=get_organization_id(request),
            name=name,
            columns=[asdict(column) for column in table.columns],
            row_count=table.row_count,
            text=table.text,
        )
        return Response(UploadSummarySerializer(upload).data, status=status.HTTP_201_CREATED)


@extend_schema_view(
    get=extend_schema(responses={200: UploadSummarySerializer(many=True), 404: ErrorSerializer})
)
class OrganizationUploads(ListAPIView):
    """All uploads of the active organization."""

    permission_classes = (READS_FOR_ALL,)
    serializer_class = UploadSummarySerializer

    def get_queryset(self) -> QuerySet[Upload]:
        organization_id = get_organization_id(self.request)
        return Upload.objects.filter(organization_id=organization_id).defer("text")


@extend_schema_view(
    get=extend_schema(responses={200: UploadSerializer, 404: ErrorSerializer}),
    delete=extend_schema(responses={204: None, 404: ErrorSerializer}),
)
class UploadDetail(RetrieveDestroyAPIView):
    """One upload. To those outside its organization it does not exist: 404, not 403."""

    serializer_class = UploadSerializer

    def get_permissions(self) -> list[BasePermission]:
        return [DELETES() if self.request.method == "DELETE" else READS()]

    def get_queryset(self) -> QuerySet[Upload]:
        within_reach = Q(owner_id=self.request.user.pk)
        if organization_id := get_organization_id(self.request):
            within_reach |= Q(organization_id=organization_id)
        return Upload.objects.filter(within_reach)


def get_claims(request: Request) -> Claims:
    """Return the caller's claims; 403 for a caller without a Clerk session."""
    claims = claims_of(request)
    if claims is None:
        raise PermissionDenied
    return claims


def get_organization_id(request: Request) -> str:
    """Return the active organization's id; empty outside one."""
    organization = get_claims(request).organization
    return organization.id if organization else ""
