"""Tokens for tests are judged by the real verifier, and say what their arguments say."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.views import APIView

from clerk_auth.core.claims import Claims
from clerk_auth.core.errors import TokenRejected
from clerk_auth.issuer.bad_tokens import BAD_TOKENS
from clerk_auth.permissions import (
    HasPermission,
    HasPlan,
    HasRole,
    IsNotImpersonated,
    IsOwner,
    RequiresReverification,
)
from clerk_auth.testing import (
    ABSENT,
    BadTokens,
    StandInClerk,
    clerk_claims,
    clerk_token,
    override_clerk_auth,
)
from clerk_auth.testing.instance import clerk_auth_settings
from clerk_auth.users import ClerkUser
from clerk_auth.verifier import get_verifier
from tests.conftest import PARTY

pytestmark = pytest.mark.integration

KINDS = [name.replace("-", "_") for name in BAD_TOKENS]


@pytest.fixture(autouse=True)
def strict(settings):
    """Settings that refuse every kind that needs no fetched keys to be refused."""
    settings.CLERK_AUTH = {"AUTHORIZED_PARTIES": [PARTY], "AUDIENCE": ["api", "admin"]}
    settings.CLERK_AUTH = clerk_auth_settings()
    return settings


def verify(*arguments, **claims) -> Claims:
    return get_verifier().verify(clerk_token(*arguments, **claims))


def refusal(token: str) -> str:
    with pytest.raises(TokenRejected) as caught:
        get_verifier().verify(token)
    return caught.value.code


def test_default_is_a_token_that_the_settings_accept():
    claims = verify()
    assert (claims.user_id, claims.version, claims.organization) == ("user_test", 2, None)
    assert (claims.authorized_party, claims.get("aud")) == (PARTY, "api")
    assert claims.expires_at - claims.issued_at == 60
    assert claims.factor_ages is None


@pytest.mark.parametrize("version", [1, 2])
def test_arguments_are_claims_of_either_version(version):
    claims = verify(
        "user_alice",
        org="org_acme",
        org_slug="acme",
        role="admin",
        permissions=["reports:read", "org:billing:manage"],
        fva=(0, -1),
        expires_in=600,
        version=version,
        act={"sub": "user_support"},
        email="alice@example.com",
    )
    assert (claims.user_id, claims.version) == ("user_alice", version)
    organization = claims.organization
    assert (organization.id, organization.slug, organization.role) == (
        "org_acme",
        "acme",
        "org:admin",
    )
    assert organization.permissions == ("org:reports:read", "org:billing:manage")
    assert claims.factor_ages == (0, -1)
    assert claims.expires_at - claims.issued_at == 600
    assert claims.actor["sub"] == "user_support"
    assert claims.get("email") == "alice@example.com"


def test_plan_and_features_are_those_of_the_token():
    claims = verify(org="org_acme", plan="pro", features=["reports", "u:beta"])
    assert (claims.plans, claims.features) == (("o:pro",), ("o:reports", "u:beta"))
    claims = verify(plan=["free"], features="beta")
    assert (claims.plans, claims.features) == (("u:free",), ("u:beta",))


def test_claims_go_over_defaults_and_can_be_left_out():
    assert verify(aud=["other", "admin"]).get("aud") == ("other", "admin")
    assert refusal(clerk_token(azp="https://evil.example")) == "party_not_allowed"
    assert refusal(clerk_token(azp=ABSENT)) == "party_not_allowed"
    assert refusal(clerk_token(aud=None)) == "audience_not_allowed"


@pytest.mark.parametrize(
    ("expires_in", "accepted"), [(-5, False), (-60, False), (0, True), (1, True)]
)
def test_expiry_is_judged_by_the_clock_and_the_leeway(settings, expires_in, accepted):
    settings.CLERK_AUTH = settings.CLERK_AUTH | {"LEEWAY_SECONDS": 4}
    token = clerk_token(expires_in=expires_in)
    if accepted:
        get_verifier().verify(token)
    else:
        assert refusal(token) == "token_expired"


@pytest.mark.parametrize("fva", [(-1, -1), (0, 0), (10.5, 3)])
def test_factor_ages_are_those_given(fva):
    assert verify(fva=fva).factor_ages == fva


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"role": "admin"}, "organization"),
        ({"org": "org_1", "permissions": "reports"}, "reports:read"),
        ({"version": 1, "features": "beta"}, "version 2"),
        ({"version": 3}, "3"),
        ({"fva": (1,)}, "fva"),
        ({"fva": (1, 2, 3)}, "fva"),
        ({"fva": (-2, 0)}, "fva"),
        ({"fva": (0, -0.5)}, "fva"),
        ({"fva": (True, 0)}, "fva"),
        ({"fva": ("1", "2")}, "fva"),
        ({"org": "org_1", "permission": "reports:read"}, "permissions"),
        ({"feature": "beta"}, "features"),
        ({"plans": "pro"}, "plan"),
        ({"org": "org_1", "o": {"id": "org_2"}}, "o is set by"),
        ({"plan": "pro", "pla": "u:free"}, "pla is set by"),
        ({"version": 1, "org": "org_1", "org_id": "org_2"}, "org_id is set by"),
    ],
)
def test_arguments_that_would_be_silently_wrong_are_refused(arguments, named):
    with pytest.raises(ValueError, match=named):
        clerk_token(**arguments)
    with pytest.raises(ValueError, match=named):
        BadTokens(**arguments)


def test_malformed_claims_are_written_as_they_are():
    assert verify(o={"id": 7}, fea="no colon").organization is None


def test_settings_that_are_wrong_are_named(settings):
    settings.CLERK_AUTH = settings.CLERK_AUTH | {"AUDIENSE": "api"}
    with pytest.raises(ImproperlyConfigured, match="AUDIENSE"):
        clerk_token()


# Bad tokens


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "unknown_kid"])
def test_bad_token_is_refused_with_its_code(kind):
    bad = getattr(BadTokens(user_id="user_alice", org="org_acme", role="admin"), kind)
    assert (bad.name, refusal(bad.token)) == (kind, bad.code)
    assert bad.headers == {"Authorization": f"Bearer {bad.token}"}


def test_unknown_key_id_is_refused_where_keys_are_fetched():
    with StandInClerk() as server, override_clerk_auth(server):
        bad_tokens = BadTokens()
        assert {bad.name for bad in bad_tokens} == set(KINDS)
        assert refusal(bad_tokens.unknown_kid.token) == "key_not_found"


def test_all_that_the_settings_refuse_are_listed(settings):
    assert [bad.name for bad in BadTokens()] == [kind for kind in KINDS if kind != "unknown_kid"]
    settings.CLERK_AUTH = {"ACCEPT_PENDING": True}
    settings.CLERK_AUTH = clerk_auth_settings()
    lax = [bad.name for bad in BadTokens()]
    good = {"wrong_party", "no_party", "wrong_audience", "pending", "unknown_kid"}
    assert set(KINDS) - set(lax) == good
    for kind in good:
        with pytest.raises(ValueError, match=kind):
            getattr(BadTokens(), kind)


def test_bad_token_is_made_from_the_claims_asked_for():
    bad = BadTokens(user_id="user_alice", email="alice@example.com").pending
    with override_clerk_auth(ACCEPT_PENDING=True):
        claims = get_verifier().verify(bad.token)
    assert (claims.user_id, claims.get("email")) == ("user_alice", "alice@example.com")
    assert claims.status == "pending"


def test_kinds_are_attributes_and_nothing_else_is():
    bad_tokens = BadTokens()
    assert set(KINDS) <= set(dir(bad_tokens))
    with pytest.raises(AttributeError, match=r"'expird' is not a kind .*: expired"):
        _ = bad_tokens.expird


# Claims without a token


def test_claims_are_those_of_the_token():
    arguments = {"org": "org_1", "role": "admin", "fva": (1, 2), "email": "alice@example.com"}
    made, verified = clerk_claims("user_1", **arguments), verify("user_1", **arguments)
    for name in ("user_id", "session_id", "organization", "factor_ages", "authorized_party"):
        assert getattr(made, name) == getattr(verified, name), name
    assert made.get("email") == "alice@example.com"


@pytest.mark.parametrize("instance", [{"FRONTEND_API": "clerk.example.com"}, {"DEV_MODE": True}])
def test_claims_need_no_settings_but_the_projects_own(settings, instance):
    settings.DEBUG = True
    settings.CLERK_AUTH = {**instance, "AUTHORIZED_PARTIES": [PARTY]}
    assert clerk_claims("user_1", org="org_1").organization.id == "org_1"


@pytest.mark.parametrize("name", ["expired", "wrong_party", "no_subject", "pending"])
def test_claims_that_the_settings_refuse_are_not_made(name):
    changes = {
        "expired": {"expires_in": -60},
        "wrong_party": {"azp": "https://evil.example"},
        "no_subject": {"sub": ABSENT},
        "pending": {"sts": "pending"},
    }
    with pytest.raises(TokenRejected):
        clerk_claims(**changes[name])


@pytest.mark.parametrize(
    ("permission", "arguments"),
    [
        (HasRole("admin"), {"org": "org_1", "role": "admin"}),
        (HasPermission("reports:read"), {"org": "org_1", "permissions": "reports:read"}),
        (HasPlan("pro"), {"plan": "pro"}),
        (~HasPlan("pro"), {}),
        (IsOwner("username"), {}),
        (RequiresReverification("strict"), {"fva": (0, -1)}),
        (~IsNotImpersonated, {"act": {"sub": "user_support"}}),
    ],
)
def test_permissions_work_with_forced_authentication(permission, arguments):
    class View(APIView):
        permission_classes = [permission]

        def get(self, request):
            self.check_object_permissions(request, User(username="user_1"))
            return Response()

    claims = clerk_claims("user_1", **arguments)
    for user in (ClerkUser(claims), User(username="row")):
        request = APIRequestFactory().get("/")
        force_authenticate(request, user=user, token=claims)
        assert View.as_view()(request).status_code == 200
        # The user alone is somebody whom Clerk did not authenticate.
        request = APIRequestFactory().get("/")
        force_authenticate(request, user=user)
        assert View.as_view()(request).status_code == 403
