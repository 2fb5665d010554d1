"""The settings of tests trust a throw-away issuer, and no other settings do."""

from __future__ import annotations

import pytest
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.test import SimpleTestCase
from rest_framework.test import APIClient

from clerk_auth.conf import get_config
from clerk_auth.core.errors import TokenRejected
from clerk_auth.testing import (
    BadTokens,
    StandInClerk,
    clerk_claims,
    clerk_token,
    override_clerk_auth,
)
from clerk_auth.testing.instance import clerk_auth_settings, signer_in_force
from clerk_auth.verifier import get_verifier
from tests.conftest import ISSUER, PARTY

pytestmark = pytest.mark.integration


def is_accepted() -> bool:
    try:
        return get_verifier().check(clerk_token("user_1")).user_id == "user_1"
    except TokenRejected:
        return False


@pytest.mark.parametrize(
    "instance",
    [
        {"FRONTEND_API": "clerk.example.com"},
        {"ISSUER": ISSUER, "JWKS_URL": f"{ISSUER}/jwks"},
        {"ISSUER": [ISSUER, "https://other.example"], "JWT_KEY": "not even a key"},
        {"DEV_MODE": True, "PUBLISHABLE_KEY": "nonsense"},
        {},
    ],
)
def test_instance_is_replaced_and_the_rest_kept(settings, instance):
    kept = {
        "AUTHORIZED_PARTIES": [PARTY],
        "AUDIENCE": "api",
        "USER_RESOLVER": "clerk_auth.users.database_user",
        "REALM": "tests",
    }
    settings.CLERK_AUTH = {**instance, **kept}
    changed = clerk_auth_settings()
    assert changed.keys() == {*kept, "ISSUER", "JWT_KEY"}
    assert {key: changed[key] for key in kept} == kept
    settings.CLERK_AUTH = changed
    assert is_accepted()


def test_project_without_the_setting_can_be_tested():
    assert not hasattr(django_settings, "CLERK_AUTH")
    with override_clerk_auth():
        assert is_accepted()
    assert not hasattr(django_settings, "CLERK_AUTH")


def test_changes_go_over_the_settings_of_the_project(settings):
    settings.CLERK_AUTH = {"FRONTEND_API": "clerk.example.com", "AUDIENCE": "api", "REALM": "tests"}
    with override_clerk_auth(AUDIENCE="admin"):
        assert (get_config().audience, get_config().realm) == (("admin",), "tests")
        assert is_accepted()
    assert get_config().issuers == (ISSUER,)


@pytest.mark.parametrize(
    "key", ["DEV_MODE", "FRONTEND_API", "ISSUER", "JWKS_URL", "JWT_KEY", "PUBLISHABLE_KEY"]
)
def test_instance_itself_cannot_be_changed(key):
    with pytest.raises(TypeError, match=key):
        override_clerk_auth(**{key: "anything"})


def test_issuer_is_one_for_the_process_and_its_private_key_in_no_setting():
    first, second = clerk_auth_settings(), clerk_auth_settings()
    assert first == second
    assert first["ISSUER"] == "https://clerk-auth-testing.invalid"
    assert "PRIVATE" not in str(first)


@override_clerk_auth(REALM="decorated")
class DecoratedTest(SimpleTestCase):
    def test_class_is_decorated(self):
        assert get_config().realm == "decorated"
        assert is_accepted()

    @override_clerk_auth(REALM="method")
    def test_method_is_decorated(self):
        assert get_config().realm == "method"
        assert is_accepted()


# What tokens are worth elsewhere


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        pytest.param({}, "signature_invalid", id="as-it-is"),
        pytest.param({"iss": ISSUER}, "signature_invalid", id="under-the-real-name"),
    ],
)
def test_token_is_worth_nothing_under_the_settings_of_the_project(
    settings, local_issuer, claims, code
):
    settings.SECURE_SSL_REDIRECT = False
    settings.CLERK_AUTH = {"ISSUER": ISSUER, "JWT_KEY": local_issuer.public_pem}
    header = {"Authorization": f"Bearer {clerk_token(**claims)}"}
    answer = APIClient().get("/api/me", headers=header)
    assert (answer.status_code, answer.data["code"]) == (401, code)
    with override_clerk_auth():
        assert APIClient().get("/api/me", headers=header).status_code == (401 if claims else 200)


@pytest.mark.parametrize("issuer", [None, "real"])
def test_token_is_worth_nothing_where_keys_are_fetched(configured, issuer):
    claims = {"iss": configured.issuer} if issuer else {}
    header = {"Authorization": f"Bearer {clerk_token(**claims)}"}
    answer = APIClient().get("/api/me", headers=header)
    assert (answer.status_code, answer.data["code"]) == (401, "key_not_found")


# Keys over HTTP


def test_keys_of_a_server_are_fetched_and_its_newest_key_signs():
    with StandInClerk() as server, override_clerk_auth(server):
        assert get_config().jwks_url == server.jwks_url
        assert server.fetches == 0
        assert is_accepted()
        assert server.fetches == 1
        server.rotate()
        assert is_accepted()
        assert server.fetches == 2


def test_overrides_nest_and_the_innermost_one_signs():
    with StandInClerk() as one, StandInClerk() as other, override_clerk_auth():
        for server in (one, other):
            with override_clerk_auth(server):
                assert is_accepted()
                with override_clerk_auth():
                    assert is_accepted()
                assert is_accepted()
        assert is_accepted()
    assert (one.fetches, other.fetches) == (1, 1)


# Several instances


STAFF = {"FRONTEND_API": "clerk.staff.example.com", "AUDIENCE": "staff"}


@pytest.fixture
def several(settings):
    """A project with instances whose aliases differ in their case only, and in every way."""
    settings.CLERK_AUTH = {
        "FRONTEND_API": "clerk.example.com",
        "LEEWAY_SECONDS": 7,
        "INSTANCES": {
            "staff": STAFF,
            "partners": {"PUBLISHABLE_KEY": "pk_test_Y2xlcmsudHdvLmV4YW1wbGUuY29tJA"},
            "_long_alias_of_32_characters_abc": {
                "ISSUER": "https://three.example",
                "JWKS_URL": "https://three.example/keys",
            },
        },
    }
    return settings


def test_no_instance_of_a_test_fetches_from_clerk(several):
    """What guards against the network is that no instance has a URL."""
    aliases = ["default", *several.CLERK_AUTH["INSTANCES"]]
    assert all(get_config(alias).jwks_url for alias in aliases)
    with override_clerk_auth():
        configs = [get_config(alias) for alias in aliases]
        for alias in aliases:
            assert get_verifier(alias).check(clerk_token(instance=alias)).instance == alias
    assert [config.jwks_url for config in configs] == [None] * 4
    assert [config.leeway_seconds for config in configs] == [7] * 4
    assert len({config.issuers for config in configs}) == 4
    assert len({config.jwt_keys[0].thumbprint for config in configs}) == 4


def test_changes_and_server_are_those_of_the_named_instance(several):
    with StandInClerk() as server:
        with override_clerk_auth(server, instance="staff", REALM="x", AUDIENCE="tests"):
            staff, default = get_config("staff"), get_config()
            assert (staff.realm, staff.audience, staff.jwks_url) == (
                "x",
                ("tests",),
                server.jwks_url,
            )
            assert (default.realm, default.audience, default.jwks_url) == ("api", (), None)
            assert get_verifier("staff").check(clerk_token(instance="staff"))
            assert is_accepted()
        assert server.fetches == 1


def test_overrides_of_several_instances_add_up(several):
    with (
        StandInClerk() as one,
        StandInClerk() as other,
        override_clerk_auth(one),
        override_clerk_auth(other, instance="staff"),
        override_clerk_auth(instance="partners", REALM="x"),
    ):
        urls = [get_config(alias).jwks_url for alias in ("default", "staff", "partners")]
        assert urls == [one.jwks_url, other.jwks_url, None]
        with override_clerk_auth():
            urls = [get_config(alias).jwks_url for alias in ("default", "staff", "partners")]
            assert urls == [None, other.jwks_url, None]


def test_instances_may_be_a_change_too(several):
    with override_clerk_auth(INSTANCES={"new": STAFF}):
        assert get_verifier("new").check(clerk_token(instance="new")).user_key == "new:user_test"
        with pytest.raises(ImproperlyConfigured, match="no instance 'staff'"):
            clerk_token(instance="staff")


def test_instance_that_is_not_there_is_an_error_where_it_is_named(several):
    several.CLERK_AUTH = {**several.CLERK_AUTH, "INSTANCES": {"staff": STAFF}}
    for make in (override_clerk_auth, clerk_token, clerk_claims, BadTokens):
        with pytest.raises(ImproperlyConfigured, match=r"'stuff'\. It has: default, staff"):
            make(instance="stuff")


@pytest.mark.parametrize(
    ("instances", "named"),
    [
        ({"staff": "clerk.example.com"}, "INSTANCES.staff"),
        ({"staff": {**STAFF, "DEV_MODE": True}}, "INSTANCES.staff.DEV_MODE"),
        ({"api_key": STAFF}, "INSTANCES.api_key"),
        ([STAFF], "INSTANCES"),
    ],
)
def test_what_is_wrong_with_instances_is_not_hidden(settings, instances, named):
    settings.CLERK_AUTH = {"INSTANCES": instances}
    with override_clerk_auth(), pytest.raises(ImproperlyConfigured) as caught:
        get_config()
    assert f"CLERK_AUTH['{named}']" in str(caught.value)


def test_claims_are_of_the_instance(several):
    claims = clerk_claims("user_1", instance="staff")
    assert (claims.instance, claims.user_key, claims.get("aud")) == (
        "staff",
        "staff:user_1",
        "staff",
    )
    assert clerk_claims("user_1").user_key == "user_1"


@pytest.mark.parametrize(("alias", "other"), [("default", "staff"), ("staff", "partners")])
def test_token_of_one_instance_is_worth_nothing_at_another(several, alias, other):
    with override_clerk_auth():
        token = clerk_token(instance=alias, iss=signer_in_force(other).issuer, aud="staff")
        for instance, code in ((other, "signature_invalid"), (alias, "issuer_not_allowed")):
            with pytest.raises(TokenRejected) as caught:
                get_verifier(instance).check(token)
            assert caught.value.code == code
