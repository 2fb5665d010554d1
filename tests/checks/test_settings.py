"""The checks of the setting: each in the case it is for, and silent in the case next to it."""

from __future__ import annotations

import pytest
from django.conf import settings as django_settings
from django.core.checks import Tags, run_checks

from tests.checks.conftest import SECURE, found
from tests.conftest import PARTY

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        pytest.param({}, ["E001"], id="nothing"),
        pytest.param({"ISSUER": "https://a.example"}, ["E001"], id="no-keys"),
        pytest.param({**SECURE, "TYPO": 1}, ["E002"], id="unknown"),
        pytest.param({**SECURE, "LEEWAY_SECONDS": 61}, ["E003"], id="out-of-range"),
        pytest.param({**SECURE, "FRONTEND_API": "https://a.example"}, ["E003"], id="malformed"),
        pytest.param({**SECURE, "FRONTEND_API": "["}, ["E003"], id="malformed-for-url-parsers"),
        pytest.param({**SECURE, "DEV_MODE": True}, ["E004"], id="dev-without-debug"),
        pytest.param({**SECURE, "JWKS_URL": "http://a.example/"}, ["E005"], id="plain-http"),
        pytest.param({**SECURE, "JWKS_URL": "http://localhost/"}, [], id="http-on-loopback"),
        pytest.param(
            {"TYPO": 1, "LEEWAY_SECONDS": -1, "ISSUER": "http://a.example"},
            ["E002", "E003", "E005"],
            id="several",
        ),
        pytest.param(None, ["E003"], id="none"),
        pytest.param([SECURE], ["E003"], id="list"),
    ],
)
def test_what_is_wrong_with_the_setting_is_an_error(values, ids, secure):
    secure.CLERK_AUTH = values
    assert found(deploy=True) == ids


def test_missing_setting_is_a_warning_that_stops_no_migration(secure):
    del secure.CLERK_AUTH
    assert found(deploy=True) == ["W001"]
    (warning,) = (m for m in run_checks(tags=[Tags.security]) if m.id == "clerk_auth.W001")
    assert not warning.is_serious()


def test_development_mode_is_fine_with_debug_and_reminded_of_under_deploy(secure):
    secure.DEBUG = True
    secure.CLERK_AUTH = {**SECURE, "DEV_MODE": True}
    assert (found(), found(deploy=True)) == ([], ["W017"])
    secure.CLERK_AUTH = {**SECURE, "DEV_MODE": False}
    assert found(deploy=True) == []


def test_development_mode_is_judged_by_debug_at_start_up(secure, monkeypatch):
    """Assigned later, as Django's test runner does, DEBUG does not count."""
    monkeypatch.setattr(django_settings, "DEBUG", True)
    secure.CLERK_AUTH = {**SECURE, "DEV_MODE": True}
    assert found() == ["E004"]


# Parties and instance


@pytest.mark.parametrize(
    ("parties", "ids"), [([], ["W002"]), ([PARTY], []), ([PARTY, "https://b.example"], [])]
)
def test_no_authorized_parties_warn_under_deploy_alone(parties, ids, secure):
    secure.CLERK_AUTH = {**SECURE, "AUTHORIZED_PARTIES": parties}
    assert found(deploy=True) == ids
    assert found() == []


PK_TEST = "pk_test_Y2xlcmsuZXhhbXBsZS5jb20k"


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        ({"PUBLISHABLE_KEY": PK_TEST}, ["W003"]),
        ({"PUBLISHABLE_KEY": PK_TEST.replace("test", "live")}, []),
        ({"FRONTEND_API": "adapted-tern-12.clerk.accounts.dev"}, ["W003"]),
        ({"FRONTEND_API": "clerk.accounts.dev.example.com"}, []),
        (
            {"ISSUER": ["https://a.example", "https://b.clerk.accounts.dev"], **SECURE},
            ["W003"],
        ),
    ],
)
def test_development_instance_warns_without_debug(values, ids, secure):
    secure.CLERK_AUTH = {"AUTHORIZED_PARTIES": [PARTY], **values}
    assert found() == ids
    secure.DEBUG = True
    assert found() == []
