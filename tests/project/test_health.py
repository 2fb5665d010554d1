"""Probes: alive whatever happens, ready unless nobody can get in."""

from __future__ import annotations

import pytest
from django.test import Client

from clerk_auth.core.errors import KeysUnavailable
from clerk_auth.standin import Answer, StandInClerk
from clerk_auth.verifier import get_verifier
from project.health import read_state

pytestmark = pytest.mark.integration


@pytest.fixture
def clerk(settings):
    with StandInClerk() as clerk:
        settings.CLERK_AUTH = {"ISSUER": clerk.issuer, "JWKS_URL": clerk.jwks_url}
        settings.CACHES = {
            "default": {
                "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
                "LOCATION": clerk.issuer,
            }
        }
        yield clerk


def ready(client=None):
    answer = (client or Client()).get("/health/ready")
    return answer.status_code, answer.json()


def load_keys(clerk):
    get_verifier().verify(clerk.signer.token())


def test_live_needs_nothing(settings):
    settings.CLERK_AUTH = {}
    answer = Client().get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "live"})


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_probes_are_not_redirected_authenticated_or_cached(path, clerk):
    answer = Client(headers={"Authorization": "Bearer nonsense"}).get(path)
    assert answer.status_code == 200
    assert "no-store" in answer.headers["Cache-Control"]
    assert Client().head(path).status_code == 200
    assert Client().post(path).status_code == 405


def test_process_that_never_tried_is_ready_and_does_not_try(clerk):
    assert ready() == (200, {"status": "cold"})
    assert clerk.fetches == 0


def test_process_with_keys(clerk):
    load_keys(clerk)
    assert ready() == (200, {"status": "fresh"})
    assert clerk.fetches == 1


def test_configured_keys(configured):
    assert ready() == (200, {"status": "static"})


def test_failed_fetch_makes_unready_until_the_next_try_may_start(clerk):
    clerk.respond = lambda path: Answer(status=503)
    with pytest.raises(KeysUnavailable):
        load_keys(clerk)
    assert ready() == (503, {"status": "no_keys"})
    until = get_verifier().source.status().failure.until
    assert read_state(now=until - 0.001) == "no_keys"
    assert read_state(now=until) == "cold"
    assert read_state(now=until + 0.001) == "cold"
    assert clerk.fetches == 1


def test_misconfigured(settings, caplog):
    settings.CLERK_AUTH = {"FRONTEND_APY": "clerk.example.com"}
    assert ready() == (503, {"status": "misconfigured"})
    assert "FRONTEND_APY" in caplog.text
