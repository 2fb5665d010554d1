"""A project's code against the public names, for mypy alone: nothing imports it, nothing runs it.

A signature that changes for users changes here, in the same commit. ``docs/public.md`` has the
names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, assert_type

from django.contrib.auth.models import AbstractBaseUser
from django.http import HttpRequest, JsonResponse
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from clerk_auth import exceptions, health, metrics
from clerk_auth.authentication import ClerkAuthentication, claims_of, read_bearer_token
from clerk_auth.core.claims import Claims, Organization
from clerk_auth.core.errors import KeysUnavailable, TokenRejected
from clerk_auth.permissions import ClerkPermission, HasPermission, HasRole, IsOrganizationMember
from clerk_auth.signals import token_rejected
from clerk_auth.users import ClerkUser, LinkRefused, UserResolver, link, stateless_user
from clerk_auth.verifier import Verifier, get_verifier


def read_claims(request: Request | HttpRequest) -> str | None:
    claims = claims_of(request)
    assert_type(claims, Claims | None)
    if claims is None or claims.organization is None:
        return None
    assert_type(claims.organization, Organization)
    assert_type(claims.organization.permissions, tuple[str, ...])
    assert_type(claims.expires_at, float)
    assert_type(claims.factor_ages, tuple[float, float] | None)
    assert_type(claims.payload, Mapping[str, Any])
    assert_type(claims.has(role="org:admin", reverification="strict"), bool)
    return claims.organization.role


def verify(header: str) -> Claims | float:
    token = read_bearer_token(header)
    if token is None:
        return 0.0
    try:
        assert_type(get_verifier(), Verifier)
        return get_verifier().verify(token)
    except TokenRejected as error:
        assert_type(error.code, str)
        assert_type(error.claim, str | None)
        raise exceptions.InvalidToken(error) from None
    except KeysUnavailable as error:
        return error.retry_after


def resolve(claims: Claims) -> ClerkUser:
    return stateless_user(claims)


resolver: UserResolver = resolve


def connect(user: AbstractBaseUser, claims: Claims) -> bool:
    try:
        link(user, claims)
    except LinkRefused:
        return False
    return True


class IsBeta(ClerkPermission):
    def allows(self, claims: Claims) -> bool:
        return claims.has(feature="user:beta")


class Reports(APIView):
    authentication_classes = [ClerkAuthentication]
    permission_classes = [HasRole("org:admin") | (HasPermission("org:reports:read") & ~IsBeta)]

    def get_permissions(self) -> list[Any]:
        return [IsOrganizationMember()]


class StatsD:
    def increment(self, name: str, by: int, labels: Mapping[str, str]) -> None: ...
    def set(self, name: str, value: float) -> None: ...


sink: metrics.Sink = StatsD()
probe: Callable[[HttpRequest], JsonResponse] = health.live
permission: type[BasePermission] = IsOrganizationMember
token_rejected.connect(verify)
assert_type(metrics.totals()[metrics.REFUSED, "token_expired", "enforce"], float)
