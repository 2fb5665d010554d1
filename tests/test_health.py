"""Probes: alive whatever happens, ready unless nobody can get in, and silent to strangers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client, RequestFactory
from django.utils.functional import SimpleLazyObject

from clerk_auth import health
from clerk_auth.core.errors import KeysUnavailable
from clerk_auth.health import read_readiness
from clerk_auth.verifier import get_verifier
from tests.conftest import PARTY
from tests.issuer_server import IssuerServer, answer
from tests.tenants import STAFF_PARTY, change_staff, serve_staff

SESSIONS = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
BOTH = pytest.mark.parametrize("path", ["/health/live", "/health/ready"])


def ready(client=None):
    response = (client or Client()).get("/health/ready")
    return response.status_code, response.json()


def load_keys(issuer_server):
    get_verifier().verify(issuer_server.signer.token(azp=PARTY))


def fail_to_load_keys(issuer_server):
    issuer_server.script = answer(b"", status="500 Internal Server Error")
    with pytest.raises(KeysUnavailable):
        load_keys(issuer_server)


def test_live_needs_no_settings(settings):
    settings.CLERK_AUTH = {}
    response = Client().get("/health/live")
    assert (response.status_code, response.json()) == (200, {"status": "live"})


@BOTH
def test_probes_are_not_authenticated_or_cached(path, configured):
    response = Client(headers={"Authorization": "Bearer nonsense"}).get(path)
    assert response.status_code == 200
    assert "no-store" in response.headers["Cache-Control"]
    assert Client().head(path).status_code == 200


@BOTH
def test_probes_only_answer_reading_methods(path, configured):
    response = Client().post(path)
    assert response.status_code == 405
    assert "no-store" in response.headers["Cache-Control"]


@BOTH
def test_demo_exempts_probes_from_the_redirect_to_https(path, configured, settings):
    settings.SECURE_SSL_REDIRECT = True
    assert Client().get(path).status_code == 200
    assert Client().get("/api/me").status_code == 301


@BOTH
def test_probes_pass_where_every_view_requires_a_login(path, configured, settings):
    required = "django.contrib.auth.middleware.LoginRequiredMiddleware"
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, *SESSIONS, required]
    assert Client().get(path).status_code == 200


@BOTH
def test_probes_open_no_transaction(path, configured, monkeypatch):
    # Without the mark django_db, a connection would fail this test.
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    assert Client().get(path).status_code == 200


def test_process_that_never_tried_is_ready_and_does_not_try(configured):
    assert ready() == (200, {"status": "cold"})
    assert configured.fetches == 0


def test_process_with_keys(configured):
    load_keys(configured)
    assert ready() == (200, {"status": "fresh"})
    assert configured.fetches == 1


def test_process_with_keys_stays_ready_while_clerk_is_down(configured):
    load_keys(configured)
    configured.script = answer(b"", status="500 Internal Server Error")
    get_verifier().source.refresh()
    assert ready() == (200, {"status": "degraded"})


def test_configured_keys(settings, local_issuer):
    settings.SECURE_SSL_REDIRECT = False
    settings.CLERK_AUTH = {"ISSUER": local_issuer.issuer, "JWT_KEY": local_issuer.public_pem}
    assert ready() == (200, {"status": "static"})


def test_failed_fetch_makes_unready_until_the_next_try_may_start(configured):
    fail_to_load_keys(configured)
    assert ready() == (503, {"status": "no_keys"})
    until = get_verifier().source.status().failure.until
    assert read_readiness(now=until - 0.001).status == "no_keys"
    assert read_readiness(now=until).status == "cold"
    assert read_readiness(now=until + 0.001).status == "cold"
    assert configured.fetches == 1


@pytest.mark.parametrize(
    ("setting", "fact"),
    [
        pytest.param(
            {"FRONTEND_APY": "clerk.example.com", "LEEWAY_SECONDS": -1},
            "settings=FRONTEND_APY, LEEWAY_SECONDS checks=clerk_auth.E002, clerk_auth.E003",
            id="problems",
        ),
        pytest.param(
            {"FRONTEND_API": "clerk.example.com", "METRICS": ["no.such.Sink"]},
            "ModuleNotFoundError",
            id="error-of-others",
        ),
    ],
)
def test_misconfigured(setting, fact, settings, caplog):
    settings.SECURE_SSL_REDIRECT = False
    settings.CLERK_AUTH = setting | {"HEALTH_DETAILS": True}
    assert ready() == ready() == (503, {"status": "misconfigured"})
    assert caplog.text.count("clerk_auth.misconfigured") == 1
    assert fact in caplog.text


@pytest.mark.parametrize("status", ["no_keys", "misconfigured"])
def test_process_that_observes_is_ready_whatever_its_status(status, configured, settings):
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "MODE": "observe"}
    if status == "no_keys":
        configured.script = answer(b"", status="500 Internal Server Error")
        get_verifier().source.refresh()
    else:
        settings.CLERK_AUTH = {**settings.CLERK_AUTH, "LEEWAY_SECONDS": -1}
    assert ready() == (200, {"status": status})


def test_details_on_request_of_the_settings(configured, settings):
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "HEALTH_DETAILS": True}
    fail_to_load_keys(configured)
    status, body = ready()
    assert (status, body["status"], body["age_seconds"]) == (503, "no_keys", None)
    assert body["source"]["failure"]["reason"] == "status"


@pytest.mark.integration
def test_staff_signed_in_by_session_sees_details_and_others_do_not(configured, settings, db):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, *SESSIONS]
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    settings.SESSION_COOKIE_SECURE = False
    load_keys(configured)
    for is_staff in (True, False):
        client = Client()
        user = get_user_model().objects.create(username=str(is_staff), is_staff=is_staff)
        client.force_login(user, "django.contrib.auth.backends.ModelBackend")
        status, body = ready(client)
        assert (status, body["status"]) == (200, "fresh")
        assert ("source" in body) == is_staff
        if is_staff:
            assert body["age_seconds"] in (0, 1)
            thumbprint = configured.signer.verifying_key.thumbprint
            assert [key["thumbprint"] for key in body["source"]["keys"]] == [thumbprint]
            assert body["source"]["is_cache_avoided"] is False


@pytest.mark.parametrize(
    "user",
    [
        pytest.param(SimpleNamespace(is_active=False, is_staff=True), id="inactive"),
        # Without the mark django_db, a query fails, as it does while the database is down.
        pytest.param(
            SimpleLazyObject(lambda: get_user_model().objects.get(pk=1)), id="database-down"
        ),
    ],
)
def test_who_cannot_be_recognised_gets_the_status_alone(user, configured):
    request = RequestFactory().get("/")
    request.user = user
    response = health.ready(request)
    assert (response.status_code, json.loads(response.content)) == (200, {"status": "cold"})


# Several instances

DOWN = answer(b"", status="500 Internal Server Error")


@pytest.fixture
def staff(configured, settings) -> Iterator[IssuerServer]:
    with serve_staff(settings) as server:
        yield server


def refresh(*aliases: str) -> None:
    for alias in aliases:
        get_verifier(alias).source.refresh()


def body_of(status: str, **instances: str) -> dict[str, object]:
    return {"status": status, "instances": instances}


def test_instances_that_never_tried_are_cold_and_do_not_try(configured, staff):
    assert ready() == (200, body_of("cold", default="cold", staff="cold"))
    assert (configured.fetches, staff.fetches) == (0, 0)


def test_word_that_all_share_is_that_of_the_process(staff):
    refresh("default", "staff")
    assert ready() == (200, body_of("fresh", default="fresh", staff="fresh"))


@pytest.mark.parametrize("broken", ["default", "staff"])
def test_instance_without_keys_takes_no_requests_from_another_with_keys(broken, configured, staff):
    servers = {"default": configured, "staff": staff}
    servers.pop(broken).script = DOWN
    refresh("default", "staff")
    words = {broken: "no_keys", **dict.fromkeys(servers, "fresh")}
    assert ready() == (200, body_of("partial", **words))
    assert get_verifier("default").source is not get_verifier("staff").source
    (other,) = servers
    token = servers[other].signer.token(azp=PARTY if other == "default" else STAFF_PARTY)
    assert get_verifier(other).verify(token)


def test_instance_without_keys_takes_none_from_another_that_may_still_get_them(staff):
    staff.script = DOWN
    refresh("staff")
    assert ready() == (200, body_of("partial", default="cold", staff="no_keys"))


def test_process_is_unready_once_no_instance_has_keys(configured, staff):
    configured.script = staff.script = DOWN
    refresh("default", "staff")
    assert ready() == (503, body_of("no_keys", default="no_keys", staff="no_keys"))
    until = min(get_verifier(a).source.status().failure.until for a in ("default", "staff"))
    assert read_readiness(now=until - 0.001).is_ready is False
    assert read_readiness(now=until).is_ready is True


@pytest.mark.parametrize(
    ("staff_is", "worst"), [("cold", "cold"), ("static", "static"), ("degraded", "degraded")]
)
def test_worst_state_of_those_with_keys_is_that_of_the_process(
    staff_is, worst, staff, settings, local_issuer
):
    if staff_is == "static":
        change_staff(settings, JWKS_URL=None, JWT_KEY=local_issuer.public_pem)
    refresh("default")
    if staff_is == "degraded":
        refresh("staff")
        staff.script = DOWN
        refresh("staff")
    assert ready() == (200, body_of(worst, default="fresh", staff=staff_is))


def test_instance_that_cannot_be_made_is_told_apart_and_named_once(staff, settings, caplog):
    change_staff(settings, CACHE_ALIAS="gone")
    refresh("default")
    for _ in range(2):
        assert ready() == (200, body_of("partial", default="fresh", staff="misconfigured"))
    assert caplog.text.count("clerk_auth.misconfigured") == 1
    assert "instance=staff" in caplog.text


def test_wrong_settings_stop_every_instance_and_are_said_once(staff, settings, caplog):
    change_staff(settings, LEEWAY_SECONDS=-1)
    expected = body_of("misconfigured", default="misconfigured", staff="misconfigured")
    assert ready() == ready() == (503, expected)
    assert caplog.text.count("clerk_auth.misconfigured") == 1
    assert "settings=INSTANCES.staff.LEEWAY_SECONDS" in caplog.text
    assert "instance=" not in caplog.text


def test_instance_that_observes_is_ready_whatever_its_status(configured, staff, settings):
    change_staff(settings, MODE="observe")
    configured.script = staff.script = DOWN
    refresh("default", "staff")
    assert ready() == (200, body_of("no_keys", default="no_keys", staff="no_keys"))


def test_details_are_those_of_each_instance_that_has_a_source(configured, staff, settings):
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "HEALTH_DETAILS": True}
    staff.script = DOWN
    refresh("default", "staff")
    status, body = ready()
    assert (status, body["status"], set(body)) == (
        200,
        "partial",
        {"status", "instances", "details"},
    )
    (key,) = body["details"]["default"]["source"]["keys"]
    assert key["thumbprint"] == configured.signer.verifying_key.thumbprint
    assert body["details"]["default"]["age_seconds"] in (0, 1)
    assert body["details"]["staff"]["age_seconds"] is None
    assert body["details"]["staff"]["source"]["failure"]["reason"] == "status"
    change_staff(settings, CACHE_ALIAS="gone")
    assert set(ready()[1]["details"]) == {"default"}


def test_strangers_see_one_word_for_each_instance(staff):
    refresh("default", "staff")
    _, body = ready()
    assert set(body) == {"status", "instances"}
