"""Each public name as a project uses it: only the type checker reads this module."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, assert_type

from django.contrib.auth.models import User
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import TestCase
from django.urls import include, path
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from clerk_auth import exceptions, metrics, signals
from clerk_auth.authentication import ClerkAuthentication, claims_of, read_bearer_token
from clerk_auth.contrib.emf import LOGGER, EMFSink
from clerk_auth.contrib.health_check import ClerkKeys
from clerk_auth.contrib.opentelemetry import OpenTelemetrySink
from clerk_auth.contrib.prometheus import PrometheusSink
from clerk_auth.contrib.spectacular import document_refusals
from clerk_auth.core import errors
from clerk_auth.core.claims import Claims, Organization
from clerk_auth.health import Readiness, app_name, live, read_readiness, ready
from clerk_auth.logs import WithoutKeysBusy
from clerk_auth.middleware import ResponseCounter
from clerk_auth.permissions import (
    ClerkPermission,
    HasFeature,
    HasPermission,
    HasPlan,
    HasRole,
    IsNotImpersonated,
    IsOrganizationMember,
    IsOwner,
    RequiresReverification,
)
from clerk_auth.testing import (
    ABSENT,
    Answer,
    BadTokens,
    ClerkAPIClient,
    StandInClerk,
    clerk_claims,
    clerk_token,
    override_clerk_auth,
)
from clerk_auth.users import (
    ClerkUser,
    LinkRefused,
    UserResolver,
    aresolve_user,
    database_user,
    existing_user,
    link,
    stateless_user,
)
from clerk_auth.verifier import Verifier, get_verifier

# Authentication, claims and permissions


class OnSundays(ClerkPermission):
    code = "not_on_weekdays"

    def allows(self, claims: Claims) -> bool:
        return claims.has(role="org:admin") and time.gmtime().tm_wday == 6


class ReportView(APIView):
    authentication_classes = [ClerkAuthentication]
    permission_classes = [
        IsAuthenticated,
        IsNotImpersonated & (HasRole("org:admin") | HasPermission("org:reports:read")),
        ~HasPlan("free") & HasFeature("reports"),
        IsOrganizationMember | OnSundays,
        IsOwner("owner_id") & RequiresReverification("strict"),
        RequiresReverification({"level": "second_factor", "afterMinutes": 10}),
    ]

    def get(self, request: Request) -> Response:
        claims = claims_of(request)
        if claims is None:
            return Response(status=204)
        assert_type(claims, Claims)
        assert_type(claims.user_id, str)
        assert_type(claims.session_id, str)
        assert_type(claims.authorized_party, str | None)
        assert_type(claims.issued_at, float | None)
        assert_type(claims.expires_at, float)
        assert_type(claims.payload, Mapping[str, Any])
        assert_type(claims.features, tuple[str, ...])
        assert_type(claims.plans, tuple[str, ...])
        assert_type(claims.factor_ages, tuple[float, float] | None)
        assert_type(claims.actor, Mapping[str, Any] | None)
        return Response({"organization": name_of(claims.organization), "beta": claims.get("beta")})

    def delete(self, request: Request) -> Response:
        raise exceptions.ReverificationRequired("strict_mfa")


def name_of(organization: Organization | None) -> str | None:
    if organization is None:
        return None
    assert_type(organization.id, str)
    assert_type(organization.role, str | None)
    assert_type(organization.permissions, tuple[str, ...])
    return organization.slug


class StaffAuthentication(ClerkAuthentication):
    def authenticate(self, request: Request) -> tuple[Any, Claims] | None:
        found = super().authenticate(request)
        if found is not None and found[1].organization is None:
            raise exceptions.InvalidToken(errors.UserUnknown())
        return found


def plain_view(request: HttpRequest) -> HttpResponse:
    """A view without Django REST framework."""
    try:
        token = read_bearer_token(request.headers.get("Authorization"))
        if token is None:
            return HttpResponse(status=401)
        claims = get_verifier().verify(token)
    except errors.TokenRejected as error:
        return JsonResponse({"code": error.code, "detail": error.detail}, status=401)
    except errors.KeysUnavailable as error:
        return HttpResponse(status=503, headers={"Retry-After": str(error.retry_after)})
    return JsonResponse({"user": claims.user_id})


async def user_of(token: str) -> object:
    claims: Claims = await get_verifier().averify(token)
    return await aresolve_user(claims)


def describe(error: errors.ClerkAuthError) -> tuple[str, str, str]:
    if isinstance(error, errors.TokenRejected):
        assert_type(error.claim, str | None)
        assert_type(error.found, str | None)
    return error.code, error.detail, error.reason


VERIFIER: Verifier = get_verifier()
REFUSALS: list[type[errors.TokenRejected]] = [
    errors.TokenMalformed,
    errors.AlgorithmNotAllowed,
    errors.TokenClassNotAccepted,
    errors.KeyNotFound,
    errors.SignatureInvalid,
    errors.TokenExpired,
    errors.TokenNotYetValid,
    errors.IssuerNotAllowed,
    errors.PartyNotAllowed,
    errors.AudienceNotAllowed,
    errors.ClaimInvalid,
    errors.SessionPending,
    errors.UserInactive,
    errors.UserUnknown,
]
OUTAGES: list[type[errors.KeysUnavailable]] = [
    errors.KeysUnavailable,
    errors.KeysBusy,
]


def is_shown_as_unavailable(error: Exception) -> bool:
    return isinstance(error, exceptions.AuthenticationUnavailable)


# Users


async def resolve_later(claims: Claims) -> ClerkUser:
    return stateless_user(claims)


RESOLVERS: list[UserResolver] = [stateless_user, database_user, existing_user, resolve_later]


def resolve_user(claims: Claims) -> ClerkUser | User:
    """What USER_RESOLVER may name."""
    if claims.organization is None:
        return stateless_user(claims)
    user: User = existing_user(claims)
    if not user.is_active:
        raise errors.UserInactive("no member any more")
    return user


def join(user: User, claims: Claims) -> bool:
    try:
        link(user, claims)
    except LinkRefused:
        return False
    return True


# Operation


@receiver(signals.token_verified)
def note_verified(*, claims: Claims, **_: object) -> None: ...


@receiver(signals.token_rejected)
def note_rejected(*, error: errors.ClerkAuthError, **_: object) -> None: ...


for signal in (signals.keys_refreshed, signals.keys_refresh_failed):
    signal.connect(note_rejected)

urlpatterns = [
    path("health/", include("clerk_auth.health")),
    path("live", live, name=f"{app_name}-live"),
    path("ready", ready),
]


def describe_readiness() -> str:
    readiness: Readiness = read_readiness(now=time.time())
    assert_type(readiness.is_ready, bool)
    return readiness.status


class LogSink:
    """What METRICS may name."""

    def increment(self, name: str, by: int, labels: Mapping[str, str]) -> None:
        logging.getLogger(LOGGER).info("count", extra={"metric": name, "by": by, **labels})

    def set(self, name: str, value: float, labels: Mapping[str, str]) -> None: ...


class FastEMFSink(EMFSink):
    namespace = "uploads"
    interval_seconds = 10.0


class PushSink:
    """What METRICS may name, too."""

    reads_totals = True

    def close(self) -> None:
        push(metrics.totals())


def push(totals: Mapping[metrics.Series, float]) -> None: ...


SINKS: list[metrics.Sink] = [LogSink(), FastEMFSink(), PrometheusSink()]
READERS: list[PushSink | OpenTelemetrySink] = [PushSink(), OpenTelemetrySink()]


def sum_refusals() -> float:
    totals: dict[metrics.Series, float] = metrics.totals()
    return sum(total for (name, *_), total in totals.items() if name == metrics.REFUSED)


DESCRIBED: list[str] = [metrics.DESCRIPTIONS[name] for name in (*metrics.COUNTERS, *metrics.GAUGES)]
FILTER: logging.Filter = WithoutKeysBusy()
MIDDLEWARE = [ResponseCounter]
HOOKS = [document_refusals]
CHECKS = [ClerkKeys]

# Tests of a project


class ReportTests(TestCase):
    client: ClerkAPIClient
    client_class = ClerkAPIClient

    @override_clerk_auth(AUDIENCE="api")
    def test_reports(self) -> None:
        self.client.sign_in("user_alice", org="org_1", role="admin", permissions="reports:read")
        assert self.client.get("/reports").status_code == 200
        self.client.sign_in("user_bob", instance="staff")
        self.client.sign_out()
        for bad in BadTokens():
            assert self.client.get("/reports", headers=bad.headers).data["code"] == bad.code
        token: str = clerk_token(azp=ABSENT, fva=(0, -1), expires_in=60)
        claims: Claims = clerk_claims("user_alice", plan=["o:pro"])
        staff: Claims = clerk_claims("user_alice", instance="staff")
        assert_type(staff.user_key, str)
        assert clerk_token(instance="staff")
        assert list(BadTokens(instance="staff"))
        # The stubs know nothing but rows and REST framework's own tokens.
        self.client.force_authenticate(ClerkUser(claims), claims)  # type: ignore[arg-type]
        assert token

    def test_outage(self) -> None:
        with StandInClerk() as server, override_clerk_auth(server):
            server.fail()
            server.recover()
            server.rotate()
            server.respond = lambda path: Answer(b"{}", content_type="application/json")
            assert server.fetches == 0
        with StandInClerk() as server, override_clerk_auth(server, instance="staff", REALM="x"):
            server.fail()
