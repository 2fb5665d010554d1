"""The settings of tests trust a throw-away issuer, and no other settings do."""

from __future__ import annotations

import pytest
from django.conf import settings as django_settings
from django.test import SimpleTestCase
from rest_framework.test import APIClient

from clerk_auth.conf import get_config
from clerk_auth.core.errors import TokenRejected
from clerk_auth.testing import (
    StandInClerk,
    clerk_token,
    override_clerk_auth,
)
from clerk_auth.testing.instance import clerk_auth_settings
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
