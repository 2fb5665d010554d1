"""The REST framework class: what a client sends, and what it gets back."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.test import RequestFactory
from rest_framework.authentication import BasicAuthentication, SessionAuthentication
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.throttling import UserRateThrottle
from rest_framework.views import APIView

from clerk_auth import metrics
from clerk_auth.authentication import ClerkAuthentication, claims_of
from clerk_auth.core.claims import Claims
from clerk_auth.core.errors import (
    CODES,
    REJECTIONS,
    ClaimInvalid,
    UserInactive,
    UserUnknown,
)
from clerk_auth.exceptions import InvalidToken
from clerk_auth.users import ClerkUser
from clerk_auth.verifier import get_verifier
from tests.conftest import ISSUER, PARTY
from tests.issuer_server import hang

factory = APIRequestFactory()


class WhoAmI(APIView):
    authentication_classes = [ClerkAuthentication]
    permission_classes = [IsAuthenticated]

    def get(self, request):
        return Response({"user": request.user.pk, "session": request.auth.session_id})

    post = get


class Public(WhoAmI):
    permission_classes = [AllowAny]

    def get(self, request):
        return Response({"user": str(request.user)})


def call(view, authorization=None, *, method="get", **extra):
    if authorization is not None:
        extra["HTTP_AUTHORIZATION"] = authorization
    response = view.as_view()(getattr(factory, method)("/", **extra))
    return response.render()


@pytest.fixture
def token(configured) -> str:
    return configured.signer.token("user_1", azp=PARTY)


# Carriage


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "bEaReR ", "Bearer   "])
def test_scheme_is_compared_without_case_and_spaces_may_follow(token, scheme):
    response = call(WhoAmI, scheme + token)
    assert response.status_code == 200
    assert response.data == {"user": "user_1", "session": "sess_local"}


@pytest.mark.parametrize(
    "value",
    [
        "Bearer abc",
        "Bearer {token}\t",
        "Bearer \t{token}",
        "Bearer {token},",
        "Bearer {token}, Bearer {token}",
        'Bearer "{token}"',
        "Bearer {token}é",
        "Bearer {token}\x00",
        "Bearer {token}\n",
        "Bearer " + "a" * 20_000,
        "Bearer " + "." * 10_000,
        "Bearer ..",
        "Bearer \ud800",
        "Bearer " + "€" * 9,
    ],
)
@pytest.mark.parametrize("view", [WhoAmI, Public])
def test_hostile_header_is_401_on_private_and_public_views(token, value, view):
    response = call(view, value.replace("{token}", token))
    assert response.status_code == 401
    assert response.data["code"] == "token_malformed"
    assert token not in str(response.data)


@pytest.mark.parametrize(
    "extra",
    [
        {"QUERY_STRING": "token={token}&access_token={token}"},
        {"HTTP_X_AUTHORIZATION": "Bearer {token}"},
        {"HTTP_COOKIE": "__session={token}"},
        {"REMOTE_USER": "user_1"},
    ],
)
def test_token_is_read_from_nowhere_else(token, extra):
    response = call(
        WhoAmI, **{name: value.replace("{token}", token) for name, value in extra.items()}
    )
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == 'Bearer realm="api"'


# Answers


def test_no_credential_is_rest_frameworks_own_answer_without_an_error(configured):
    response = call(WhoAmI)
    assert response.status_code == 401
    assert response.data == {"detail": "Authentication credentials were not provided."}
    assert response["WWW-Authenticate"] == 'Bearer realm="api"'


def test_no_credential_is_anonymous_on_a_public_view(configured):
    assert call(Public).data == {"user": "AnonymousUser"}


def test_refused_token_is_401_with_detail_code_and_challenge(configured):
    response = call(WhoAmI, "Bearer " + configured.signer.token(expires_in=-60, azp=PARTY))
    assert response.status_code == 401
    assert response.data == {"detail": "The token has expired.", "code": "token_expired"}
    assert response["WWW-Authenticate"] == (
        'Bearer realm="api", error="invalid_token", error_description="The token has expired."'
    )


def test_realm_is_a_setting(configured, settings):
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "REALM": "uploads"}
    assert call(WhoAmI)["WWW-Authenticate"] == 'Bearer realm="uploads"'


@pytest.mark.parametrize("error", REJECTIONS, ids=lambda error: error.code)
def test_sentence_of_each_code_fits_in_a_header(error):
    assert error.detail.isascii()
    assert not set(error.detail) & set('"\\')


def test_body_is_the_same_whatever_the_method(configured):
    header = "Bearer " + configured.signer.token(expires_in=-60, azp=PARTY)
    bodies = [call(WhoAmI, header, method=method).data for method in ("get", "post", "head")]
    assert bodies[0] == bodies[1] == bodies[2]


def test_cold_process_without_an_issuer_is_503_with_retry_after(token, configured):
    configured.stop()
    response = call(WhoAmI, "Bearer " + token)
    assert response.status_code == 503
    assert response.data == {
        "detail": "Authentication is temporarily unavailable.",
        "code": "keys_unavailable",
    }
    assert 1 <= int(response["Retry-After"]) <= 30
    assert "WWW-Authenticate" not in response


def test_503_is_answered_on_public_views_too(token, configured):
    configured.stop()
    assert call(Public, "Bearer " + token).status_code == 503


@pytest.mark.integration
def test_silent_issuer_holds_a_cold_request_for_three_seconds_at_most(token, configured):
    import time

    configured.script = hang()
    started_at = time.monotonic()
    assert call(WhoAmI, "Bearer " + token).status_code == 503
    assert 2.5 < time.monotonic() - started_at < 6


def test_misconfiguration_is_raised_and_never_a_401(settings):
    settings.CLERK_AUTH = {}
    with pytest.raises(ImproperlyConfigured):
        call(WhoAmI, "Bearer abc.def.ghi")


def test_code_of_every_refusal_is_known():
    assert len(CODES) == len(set(CODES)) == 16


def test_refusal_of_a_header_is_counted_and_logged(configured, caplog):
    call(WhoAmI, "Bearer a b")
    assert metrics.totals()["jwt_verifications_failure", "token_malformed", "enforce"] == 1
    assert "token_rejected code=token_malformed" in caplog.text


# Neighbours


@pytest.mark.parametrize(
    ("classes", "challenge"),
    [
        ([ClerkAuthentication, SessionAuthentication], 'Bearer realm="api"'),
        ([ClerkAuthentication, BasicAuthentication], 'Bearer realm="api"'),
        ([BasicAuthentication, ClerkAuthentication], 'Basic realm="api"'),
    ],
)
def test_first_authenticator_challenges(configured, classes, challenge):
    view = type("View", (WhoAmI,), {"authentication_classes": classes})
    assert call(view)["WWW-Authenticate"] == challenge


def test_authenticator_after_ours_gets_its_own_scheme(configured):
    class Fixed(BasicAuthentication):
        def authenticate_credentials(self, userid, password, request=None):
            return type("User", (), {"pk": userid, "is_authenticated": True}), _Session

    view = type("View", (WhoAmI,), {"authentication_classes": [ClerkAuthentication, Fixed]})
    assert call(view, "Basic dXNlcjpwYXNz").data["user"] == "user"


class _Session:
    session_id = "none"


# Users


def refused_user(claims):
    raise refused_user.error


def broken_user(claims):
    raise AttributeError("a defect in the project's resolver")


@pytest.mark.parametrize(
    "error",
    [
        UserInactive("inactive"),
        UserUnknown("no_row"),
        ClaimInvalid("missing", claim="legacy_id"),
    ],
    ids=lambda error: error.code,
)
def test_refusal_by_a_resolver_is_401_and_counted(error, configured, settings, token):
    refused_user.error = error
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "USER_RESOLVER": f"{__name__}.refused_user"}
    response = call(WhoAmI, "Bearer " + token)
    assert response.status_code == 401
    assert response.data == {"detail": error.detail, "code": error.code}
    assert metrics.totals()["jwt_verifications_failure", error.code, "enforce"] == 1


def test_defect_in_a_resolver_is_no_verdict(configured, settings, token):
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "USER_RESOLVER": f"{__name__}.broken_user"}
    with pytest.raises(Exception, match="defect"):
        call(WhoAmI, "Bearer " + token)


def test_user_throttle_tells_clerk_users_apart(configured):
    class Once(UserRateThrottle):
        rate = "1/day"

    view = type("View", (WhoAmI,), {"throttle_classes": [Once]})
    statuses = [
        call(view, "Bearer " + configured.signer.token(user, azp=PARTY)).status_code
        for user in ("user_1", "user_1", "user_2")
    ]
    assert statuses == [200, 429, 200]


def test_spellings_of_one_issuer_are_one_user(key_configured, local_issuer):
    class Once(UserRateThrottle):
        rate = "1/day"

    issuers = (ISSUER, "https://clerk.satellite.example")
    key_configured.CLERK_AUTH = {**key_configured.CLERK_AUTH, "ISSUER": list(issuers)}
    tokens = [local_issuer.acting_as(issuer).token("user_1", azp=PARTY) for issuer in issuers]
    claims = [get_verifier().verify(token) for token in tokens]
    assert [one.issuer for one in claims] == list(issuers)
    first, second = map(ClerkUser, claims)
    assert first == second
    assert hash(first) == hash(second)
    assert len({first, second}) == 1
    view = type("View", (WhoAmI,), {"throttle_classes": [Once]})
    assert [call(view, "Bearer " + token).status_code for token in tokens] == [200, 429]


# Cost


def test_known_key_costs_no_query_no_cache_call_and_no_fetch(configured, token, monkeypatch):
    call(WhoAmI, "Bearer " + token)
    # Without the django_db mark, a query fails the test.
    calls = []
    for method in ("get", "set", "add", "delete", "get_many", "incr", "touch"):
        monkeypatch.setattr(type(cache._connections[cache._alias]), method, calls.append)
    assert call(WhoAmI, "Bearer " + token).status_code == 200
    assert calls == []
    assert configured.fetches == 1
    assert get_verifier().source.status().state == "fresh"


def test_plain_django_request_is_served_too(configured, token):
    request = RequestFactory().get("/", headers={"Authorization": f"Bearer {token}"})
    user, claims = ClerkAuthentication().authenticate(request)
    assert user.pk == claims.user_id == "user_1"


# The caller's claims


def claims_of_a_view(request, *authenticators):
    found = []

    class View(APIView):
        authentication_classes = authenticators or [ClerkAuthentication]
        permission_classes = [AllowAny]

        def get(self, request):
            # REST framework's request, and Django's under it.
            found.extend([claims_of(request), claims_of(request._request)])
            return Response()

    assert View.as_view()(request).status_code == 200
    return found


def test_claims_of_a_clerk_user(configured, token):
    request = factory.get("/", HTTP_AUTHORIZATION=f"Bearer {token}")
    of_drf, of_django = claims_of_a_view(request)
    assert isinstance(of_drf, Claims)
    assert of_drf is of_django
    assert of_drf.user_id == "user_1"


class ByOtherToken(BasicAuthentication):
    def authenticate(self, request):
        return User(username="other"), {"sub": "user_1"}


@pytest.mark.parametrize(
    "authenticators",
    [(), (SessionAuthentication,), (ByOtherToken,), (ByOtherToken, ClerkAuthentication)],
)
def test_claims_of_everybody_else_are_none(configured, authenticators):
    request = factory.get("/")
    request.user = User(username="by-session")
    assert claims_of_a_view(request, *authenticators) == [None, None]


@pytest.mark.parametrize(
    ("user", "auth"),
    [(AnonymousUser(), "claims"), (None, "claims"), (User(), "text"), (User(), None)],
)
def test_claims_are_those_of_an_authenticated_user(claims_of_user, user, auth):
    request = RequestFactory().get("/")
    assert claims_of(request) is None
    request.user, request.auth = user, claims_of_user if auth == "claims" else auth
    assert claims_of(request) is None
    request.user, request.auth = User(), claims_of_user
    assert claims_of(request) is claims_of_user


def test_claims_of_a_request_that_is_refused(configured):
    request = APIView().initialize_request(factory.get("/", HTTP_AUTHORIZATION="Bearer x"))
    request.authenticators = [ClerkAuthentication()]
    with pytest.raises(InvalidToken):
        claims_of(request)


@pytest.fixture
def claims_of_user(configured, token):
    return get_verifier().verify(token)
