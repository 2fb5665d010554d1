"""The operator's look at the shared keys, and the fetch for the whole fleet."""

from __future__ import annotations

import io
import json

from django.core.management import call_command

from clerk_auth.verifier import get_verifier
from tests.conftest import PARTY
from tests.issuer_server import answer


def run(*arguments: str) -> tuple[int, str]:
    out, status = io.StringIO(), 0
    try:
        call_command("clerk_keys", "--no-color", *arguments, stdout=out)
    except SystemExit as end:
        status = end.code
    return status, out.getvalue()


def test_status_without_shared_keys_fails_and_names_the_remedy(configured):
    status, out = run("status")
    assert status == 1
    assert "state       cold" in out
    assert "clerk_keys refresh" in out
    assert configured.fetches == 0


def test_refresh_shares_the_keys_with_every_process(configured):
    assert run("refresh")[0] == 0
    assert get_verifier().verify(configured.signer.token(azp=PARTY))
    assert configured.fetches == 1


def test_status_shows_what_the_fleet_shares_without_a_fetch(configured):
    run("refresh")
    status, out = run("status")
    assert status == 0
    assert "state       fresh" in out
    assert f"kid {configured.signer.kid}" in out
    assert configured.signer.verifying_key.thumbprint in out
    assert "expires     in 24 h 0 min" in out or "expires     in 23 h 59 min" in out
    assert configured.fetches == 1


def test_refresh_takes_a_rotated_key_past_the_cooldown(configured):
    verifier = get_verifier()
    verifier.verify(configured.signer.token(azp=PARTY))
    for kid in ("ins_first", "ins_second"):
        configured.rotate(kid)
        assert run("refresh")[0] == 0
    assert run("status")[1].count("ins_second") == 1
    assert configured.fetches == 3


def test_refresh_that_fails_leaves_the_keys_and_says_why(configured):
    run("refresh")
    configured.script = answer(b"", status="503 Service Unavailable")
    status, out = run("refresh")
    assert status == 1
    assert "state       degraded" in out
    assert "failing     status, 1 in a row" in out
    assert configured.signer.kid in out
    status, out = run("status")
    assert status == 0
    assert "failing     status" in out


def test_refresh_goes_past_the_pause_after_failures(configured):
    configured.script = answer(b"", status="503 Service Unavailable")
    for _ in range(3):
        assert run("refresh")[0] == 1
    assert configured.fetches == 3
    configured.script = None
    assert run("refresh")[0] == 0
    assert "failing" not in run("status")[1]


def test_json_is_one_document(configured):
    run("refresh")
    status, out = run("status", "--json")
    document = json.loads(out)
    assert status == 0
    assert document["schema_version"] == 1
    assert document["state"] == "fresh"
    assert document["failure"] is None
    assert document["expires_at"] - document["fetched_at"] == 86400
    (key,) = document["keys"]
    assert key["kid"] == configured.signer.kid
    assert "n" not in key


def test_configured_key_is_shown_and_not_fetched(settings, local_issuer):
    settings.CLERK_AUTH = {"ISSUER": local_issuer.issuer, "JWT_KEY": local_issuer.public_pem}
    status, out = run("status")
    assert (status, "state       static" in out) == (0, True)
    assert local_issuer.verifying_key.thumbprint in out
    assert run("refresh") == (2, "")


def test_wrong_settings_stop_it(settings):
    settings.CLERK_AUTH = {}
    status, out = run("status", "--json")
    assert (status, "FRONTEND_API" in json.loads(out)["error"]) == (2, True)


def test_cache_that_cannot_be_used_is_told(configured, settings):
    settings.CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": "redis://127.0.0.1:1/0",
            "OPTIONS": {"SOCKET_CONNECT_TIMEOUT": 0.2, "SOCKET_TIMEOUT": 0.2},
        }
    }
    status, out = run("refresh")
    assert status == 0
    assert "cache       cannot be used" in out
