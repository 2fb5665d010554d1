"""What is written into a token is what its claims say, in both versions; the rest is refused."""

from __future__ import annotations

import pytest

from clerk_auth.conf import get_config
from clerk_auth.core.claims import Organization
from clerk_auth.issuer.local import ABSENT
from clerk_auth.issuer.payloads import authorization_claims, recipient_claims
from clerk_auth.jwks.source import StaticKeySource
from clerk_auth.verifier import Verifier
from tests.conftest import NOW, PARTY

pytestmark = pytest.mark.integration


@pytest.fixture
def read(local_issuer, policy):
    """Write claims into a token, and return what a view sees."""

    def read(version: int = 2, **arguments):
        written = authorization_claims(version=version, **arguments)
        marker = {} if version == 2 else {"v": ABSENT}
        token = local_issuer.token(now=NOW, azp=PARTY, **marker, **written)
        source = StaticKeySource((local_issuer.verifying_key,))
        return Verifier(source, policy, now=lambda: NOW).check(token)

    return read


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("arguments", "organization"),
    [
        ({}, None),
        ({"org": "org_1"}, Organization("org_1")),
        (
            {"org": "org_1", "org_slug": "acme", "role": "admin"},
            Organization("org_1", "acme", "org:admin"),
        ),
        ({"org": "org_1", "role": "org:admin"}, Organization("org_1", None, "org:admin")),
        (
            {"org": "org_1", "permissions": "org:reports:read"},
            Organization("org_1", permissions=("org:reports:read",)),
        ),
        (
            {"org": "org_1", "permissions": ("a:read", "a:write", "b:write")},
            Organization("org_1", permissions=("org:a:read", "org:a:write", "org:b:write")),
        ),
    ],
)
def test_organization_is_the_same_in_both_versions(read, version, arguments, organization):
    claims = read(version, **arguments)
    assert (claims.version, claims.organization) == (version, organization)


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        ({}, {}),
        ({"features": "beta", "plans": "free"}, {"fea": "u:beta", "pla": "u:free"}),
        (
            {"org": "org_1", "features": ["beta", "user:gold"], "plans": "org:pro"},
            {"o": {"id": "org_1"}, "fea": "o:beta,u:gold", "pla": "o:pro"},
        ),
        ({"features": "ou:beta"}, {"fea": "uo:beta"}),
        (
            {"features": ["beta", "u:beta"], "plans": ("free", "free")},
            {"fea": "u:beta", "pla": "u:free"},
        ),
        (
            {
                "org": "org_1",
                "features": ["u:gold", "repos"],
                "permissions": ["repos:read", "ci:run"],
            },
            {
                "o": {"id": "org_1", "per": "read,run", "fpm": "0,1,2"},
                "fea": "u:gold,o:repos,o:ci",
            },
        ),
        (
            {"org": "org_1", "features": "u:repos", "permissions": "repos:read"},
            {"o": {"id": "org_1", "per": "read", "fpm": "0,1"}, "fea": "u:repos,o:repos"},
        ),
    ],
)
def test_version_two_is_written_as_clerk_writes_it(arguments, written):
    assert authorization_claims(**arguments) == written


def test_version_one_is_flat():
    assert authorization_claims(
        version=1, org="org_1", org_slug="acme", role="admin", permissions="reports:read"
    ) == {
        "org_id": "org_1",
        "org_slug": "acme",
        "org_role": "org:admin",
        "org_permissions": ["org:reports:read"],
    }


def test_more_permissions_than_bits_in_a_word_survive(read):
    permissions = [f"reports:p{number}" for number in range(70)]
    claims = read(org="org_1", permissions=permissions)
    assert claims.organization.permissions == tuple(f"org:{name}" for name in permissions)


IN_ORG = {"org": "org_1"}


@pytest.mark.parametrize(
    "arguments",
    [
        {"role": "admin"},
        {"org_slug": "acme"},
        {"permissions": "reports:read"},
        {"org": ""},
        {"org": "org 1"},
        {**IN_ORG, "org_slug": ""},
        {**IN_ORG, "role": ""},
        {**IN_ORG, "role": "org:"},
        {**IN_ORG, "role": "org:admin:x"},
        {**IN_ORG, "permissions": ""},
        {**IN_ORG, "permissions": "reports"},
        {**IN_ORG, "permissions": ":read"},
        {**IN_ORG, "permissions": "reports:"},
        {**IN_ORG, "permissions": "org:reports"},
        {**IN_ORG, "permissions": "reports:read:all"},
        {**IN_ORG, "permissions": "reports:read,reports:write"},
        {**IN_ORG, "permissions": ["reports:read", "reports: write"]},
        {**IN_ORG, "permissions": "org:sys_memberships:read"},
        {**IN_ORG, "features": ""},
        {**IN_ORG, "features": "x:reports"},
        {**IN_ORG, "features": ":reports"},
        {**IN_ORG, "features": "o:"},
        {**IN_ORG, "features": "reports,exports"},
        {**IN_ORG, "features": "o:reports:read"},
        {"features": "o:reports"},
        {"plans": "organization:pro"},
        {**IN_ORG, "plans": "pro plan"},
        {"version": 0},
        {"version": 3},
        {"version": "2"},
        {"version": 1, "features": "beta"},
        {"version": 1, "plans": "free"},
    ],
)
def test_what_clerk_would_not_make_is_refused(arguments):
    with pytest.raises(ValueError, match=r"."):
        authorization_claims(**arguments)


def test_recipient_is_the_first_that_the_settings_allow(settings):
    settings.CLERK_AUTH = {
        "FRONTEND_API": "clerk.example.com",
        "AUTHORIZED_PARTIES": [PARTY, "https://admin.example.com"],
        "AUDIENCE": ["api", "admin"],
    }
    assert recipient_claims(get_config()) == {"azp": PARTY, "aud": "api"}
    settings.CLERK_AUTH = {"FRONTEND_API": "clerk.example.com"}
    assert recipient_claims(get_config()) == {}
