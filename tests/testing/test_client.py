"""The test client sends what a front end sends."""

from __future__ import annotations

from types import ModuleType

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.urls import path
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response
from rest_framework.views import APIView

from clerk_auth.authentication import ClerkAuthentication
from clerk_auth.permissions import HasRole, IsOfInstance
from clerk_auth.testing import (
    BadTokens,
    ClerkAPIClient,
    StandInClerk,
    clerk_token,
    override_clerk_auth,
)
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


# A project with two instances


class StaffAuthentication(ClerkAuthentication):
    instance = "staff"


class EitherAuthentication(ClerkAuthentication):
    instances = ("default", "staff")


def make_view(authenticator, permission=IsAuthenticated):
    class View(APIView):
        authentication_classes = [authenticator]
        permission_classes = [permission]

        def get(self, request):
            return Response({"user": request.user.pk, "instance": request.auth.instance})

    return View.as_view()


@pytest.fixture
def two(settings):
    """A project with customers, staff and a view for both."""
    urls = ModuleType("urls")
    urls.urlpatterns = [
        path("customers", make_view(ClerkAuthentication)),
        path("staff", make_view(StaffAuthentication)),
        path("both", make_view(EitherAuthentication)),
        path("purge", make_view(EitherAuthentication, HasRole("admin") & IsOfInstance("staff"))),
    ]
    settings.ROOT_URLCONF = urls
    settings.SECURE_SSL_REDIRECT = False
    settings.CLERK_AUTH = {
        "FRONTEND_API": "clerk.example.com",
        "AUTHORIZED_PARTIES": [PARTY],
        "INSTANCES": {
            "staff": {
                "FRONTEND_API": "clerk.staff.example.com",
                "AUTHORIZED_PARTIES": ["https://staff.example.com"],
            }
        },
    }
    with override_clerk_auth():
        yield settings


def answer_of(client, url):
    answer = client.get(url)
    found = answer.data if answer.status_code == 200 else {"user": answer.data["code"]}
    return answer.status_code, found["user"], found.get("instance")


def test_each_user_gets_in_at_their_own_view_and_is_refused_at_the_others(two):
    staff, customer = ClerkAPIClient(), ClerkAPIClient()
    staff.sign_in("user_1", instance="staff", org="org_1", role="admin")
    customer.sign_in("user_1", org="org_1", role="admin")
    assert answer_of(staff, "/staff") == (200, "staff:user_1", "staff")
    assert answer_of(customer, "/customers") == (200, "user_1", "default")
    assert answer_of(staff, "/customers") == (401, "signature_invalid", None)
    assert answer_of(customer, "/staff") == (401, "signature_invalid", None)
    assert answer_of(staff, "/both") == (200, "staff:user_1", "staff")
    assert answer_of(customer, "/both") == (200, "user_1", "default")
    assert answer_of(staff, "/purge") == (200, "staff:user_1", "staff")
    assert answer_of(customer, "/purge") == (403, "instance_required", None)


@pytest.mark.parametrize(
    ("url", "instance"),
    [("/customers", "default"), ("/staff", "staff"), ("/both", "default"), ("/both", "staff")],
)
def test_bad_tokens_of_each_instance_are_refused(two, url, instance):
    client, bad_tokens = ClerkAPIClient(), list(BadTokens(instance=instance))
    assert "wrong_party" in {bad.name for bad in bad_tokens}
    for bad in bad_tokens:
        # An issuer that is none of the view's is left to its first instance, with other keys.
        is_judged_by_another = (url, instance, bad.name) == ("/both", "staff", "wrong_issuer")
        code = "signature_invalid" if is_judged_by_another else bad.code
        answer = client.get(url, headers=bad.headers)
        assert (answer.status_code, answer.data["code"]) == (401, code), bad.name


def test_one_instance_may_be_unreachable_while_another_serves(two):
    staff, customer = ClerkAPIClient(), ClerkAPIClient()
    with StandInClerk() as server, override_clerk_auth(server, instance="staff"):
        staff.sign_in(instance="staff")
        customer.sign_in()
        server.fail()
        assert answer_of(staff, "/staff")[:2] == (503, "keys_unavailable")
        assert answer_of(customer, "/customers")[0] == 200


def test_instance_that_is_not_there_cannot_be_signed_in_to(two):
    client = ClerkAPIClient()
    with pytest.raises(ImproperlyConfigured, match=r"'stuff'\. It has: default, staff"):
        client.sign_in(instance="stuff")
