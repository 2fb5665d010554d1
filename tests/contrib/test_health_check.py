"""The check of django-health-check, through the library's own view."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import path
from health_check.views import HealthCheckView

from clerk_auth.core.errors import KeysUnavailable
from clerk_auth.verifier import get_verifier
from tests.conftest import PARTY
from tests.issuer_server import answer
from tests.tenants import serve_staff

pytestmark = [pytest.mark.integration, pytest.mark.urls(__name__)]

CHECK = "clerk_auth.contrib.health_check.ClerkKeys"
urlpatterns = [path("health", HealthCheckView.as_view(checks=[CHECK]))]


def ask():
    response = Client().get("/health", {"format": "json"})
    (item,) = response.json().items()
    return response.status_code, *item


def test_healthy_with_keys_and_before_the_first_try(configured):
    assert ask() == (200, "ClerkKeys()", "OK")
    get_verifier().verify(configured.signer.token(azp=PARTY))
    assert ask() == (200, "ClerkKeys()", "OK")
    assert configured.fetches == 1


def test_healthy_while_clerk_is_down_and_keys_are_held(configured):
    get_verifier().verify(configured.signer.token(azp=PARTY))
    configured.script = answer(b"", status="500 Internal Server Error")
    get_verifier().source.refresh()
    assert ask() == (200, "ClerkKeys()", "OK")


def test_unhealthy_while_nobody_can_be_let_in(configured):
    configured.script = answer(b"", status="500 Internal Server Error")
    with pytest.raises(KeysUnavailable):
        get_verifier().verify(configured.signer.token(azp=PARTY))
    assert ask() == (500, "ClerkKeys()", "Unavailable: no_keys")


def test_unhealthy_while_misconfigured(settings):
    settings.SECURE_SSL_REDIRECT = False
    settings.CLERK_AUTH = {}
    assert ask() == (500, "ClerkKeys()", "Unavailable: misconfigured")


def test_unhealthy_only_once_no_instance_has_keys(configured, settings):
    with serve_staff(settings) as staff:
        staff.script = answer(b"", status="500 Internal Server Error")
        for alias in ("default", "staff"):
            get_verifier(alias).source.refresh()
        assert ask() == (200, "ClerkKeys()", "OK")
    configured.script = answer(b"", status="500 Internal Server Error")
    with serve_staff(settings) as staff:
        staff.script = answer(b"", status="500 Internal Server Error")
        cache.clear()
        for alias in ("default", "staff"):
            get_verifier(alias).source.refresh()
        assert ask() == (500, "ClerkKeys()", "Unavailable: no_keys")
