"""REST framework and plain views under ASGI: the same answers, whichever way a view is written."""

from __future__ import annotations

import asyncio

import pytest
from asgiref.sync import sync_to_async
from django.http import JsonResponse
from django.test import AsyncClient
from django.urls import path
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response
from rest_framework.views import APIView

from clerk_auth.authentication import ClerkAuthentication
from clerk_auth.core.credential import read_bearer_token
from clerk_auth.exceptions import KeysUnavailable, TokenRejected
from clerk_auth.users import ClerkUser, aresolve_user
from clerk_auth.verifier import get_verifier
from tests.conftest import PARTY

pytestmark = pytest.mark.integration

try:
    from adrf.views import APIView as AsyncAPIView
except ImportError:  # its tests say that they are not run
    AsyncAPIView = None


class Me(APIView):
    authentication_classes = (ClerkAuthentication,)
    permission_classes = (IsAuthenticated,)

    def get(self, request):
        return Response({"user": request.user.pk, "session": request.auth.session_id})


class AsyncMe(AsyncAPIView or APIView):
    authentication_classes = (ClerkAuthentication,)
    permission_classes = (IsAuthenticated,)

    async def get(self, request):
        await asyncio.sleep(0)
        return Response({"user": request.user.pk, "session": request.auth.session_id})


async def plain_me(request):
    token = read_bearer_token(request.META.get("HTTP_AUTHORIZATION"))
    if token is None:
        return JsonResponse({"detail": "no token"}, status=401)
    try:
        claims = await get_verifier().averify(token)
        user = await aresolve_user(claims)
    except TokenRejected as error:
        return JsonResponse({"code": error.code}, status=401)
    except KeysUnavailable as error:
        headers = {"Retry-After": str(error.retry_after)}
        return JsonResponse({"code": error.code}, status=503, headers=headers)
    return JsonResponse({"user": user.pk, "session": claims.session_id})


urlpatterns = [
    path("rest", Me.as_view()),
    path("adrf", AsyncMe.as_view()),
    path("plain", plain_me),
]


@pytest.fixture(params=["rest", "adrf", "plain"])
def ask(request, configured, settings):
    """Ask a view under ASGI for what it says of a token."""
    if request.param == "adrf" and AsyncAPIView is None:
        pytest.skip("adrf is not installed")
    settings.ROOT_URLCONF = __name__

    def send(token=None):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return asyncio.run(AsyncClient().get(f"/{request.param}", headers=headers))

    return send


def test_caller_is_let_in(ask, configured):
    response = ask(configured.signer.token("user_1", azp=PARTY))
    assert (response.status_code, response.json()["user"]) == (200, "user_1")
    assert configured.fetches == 1


def test_nobody_and_a_forger_are_refused(ask, configured, other_issuer):
    assert ask().status_code == 401
    forged = other_issuer.acting_as(configured.issuer, kid=configured.signer.kid).token(azp=PARTY)
    response = ask(forged)
    assert (response.status_code, response.json()["code"]) == (401, "signature_invalid")


def test_outage_is_503(ask, configured):
    token = configured.signer.token(azp=PARTY)
    configured.stop()
    response = ask(token)
    assert (response.status_code, response.json()["code"]) == (503, "keys_unavailable")
    assert float(response["Retry-After"]) >= 1


async def resolve_later(claims):
    await asyncio.sleep(0)
    return ClerkUser(claims)


async def resolve_nobody(claims):
    return None


def resolve_in_a_thread(claims):
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    return ClerkUser(claims)


hop = sync_to_async(ClerkUser)


@pytest.mark.parametrize("name", ["resolve_later", "resolve_in_a_thread", "hop"])
def test_resolver_of_either_kind_finds_the_user(ask, configured, settings, name):
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "USER_RESOLVER": f"{__name__}.{name}"}
    response = ask(configured.signer.token("user_1", azp=PARTY))
    assert (response.status_code, response.json()["user"]) == (200, "user_1")


def test_resolver_that_finds_nobody_refuses(ask, configured, settings):
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "USER_RESOLVER": f"{__name__}.resolve_nobody"}
    response = ask(configured.signer.token("user_1", azp=PARTY))
    assert (response.status_code, response.json()["code"]) == (401, "user_inactive")
