"""The test client sends what a front end sends."""

from __future__ import annotations

import pytest

from clerk_auth.testing import BadTokens, ClerkAPIClient, clerk_token, override_clerk_auth
from tests.conftest import PARTY

pytestmark = pytest.mark.integration


@pytest.fixture
def client(settings):
    settings.SECURE_SSL_REDIRECT = False
    with override_clerk_auth():
        yield ClerkAPIClient()


def user_of(client, **extra) -> str | None:
    answer = client.get("/api/me", **extra)
    assert answer.status_code == (200 if "user_id" in answer.data else 401)
    return answer.data.get("user_id")


def test_client_is_anonymous_until_it_signs_in_and_after_it_signs_out(client):
    assert user_of(client) is None
    client.sign_in()
    assert user_of(client) == "user_test"
    client.sign_in("user_alice")
    assert user_of(client) == "user_alice"
    client.sign_out()
    assert user_of(client) is None


def test_arguments_are_those_of_clerk_token(client):
    client.sign_in("user_alice", org="org_acme", role="admin")
    request = client.get("/api/me").renderer_context["request"]
    assert request.auth.organization.role == "org:admin"


def test_wrong_arguments_fail_when_signing_in(client):
    client.sign_in("user_alice")
    with pytest.raises(ValueError, match="organization"):
        client.sign_in("user_bob", role="admin")
    assert user_of(client) == "user_alice"


def test_every_request_has_a_token_of_its_own(client):
    """One that was made when signing in would name another party."""
    client.sign_in("user_alice")
    with override_clerk_auth(AUTHORIZED_PARTIES=[PARTY]):
        assert user_of(client) == "user_alice"


def test_header_of_a_request_goes_before_the_signed_in_user(client):
    client.sign_in("user_alice")
    other = {"Authorization": f"Bearer {clerk_token('user_bob')}"}
    assert user_of(client, headers=other) == "user_bob"
    assert user_of(client, headers=BadTokens().expired.headers) is None
    assert user_of(client) == "user_alice"


def test_credentials_go_before_until_the_next_signing_in(client):
    client.credentials(HTTP_AUTHORIZATION="Bearer nonsense", HTTP_X_TENANT="acme")
    assert user_of(client) is None
    client.sign_in("user_alice")
    assert user_of(client) == "user_alice"
    assert client.get("/api/me").wsgi_request.META["HTTP_X_TENANT"] == "acme"
    client.credentials(HTTP_AUTHORIZATION="Bearer nonsense")
    client.sign_out()
    answer = client.get("/api/me")
    assert "code" not in answer.data


def test_logout_signs_out_too(client, settings):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    client.sign_in("user_alice")
    client.logout()
    assert user_of(client) is None
