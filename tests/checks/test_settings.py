"""The checks of the setting: each in the case it is for, and silent in the case next to it."""

from __future__ import annotations

import pytest
from django.conf import settings as django_settings
from django.core.checks import Tags, run_checks

from clerk_auth.checks import TAG
from tests.checks.conftest import SECURE, STAFF, found, messages_of, subjects
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


# Several instances


PARTNERS = {"FRONTEND_API": "clerk.partners.example.com", "AUTHORIZED_PARTIES": [PARTY]}
KEY = "UNCATEGORIZED_TOKEN_MAX_SECONDS"


def several(top=None, **instances):
    return {**SECURE, **(top or {}), "INSTANCES": instances}


@pytest.mark.parametrize(
    ("values", "about"),
    [
        pytest.param(several(staff=STAFF, partners=PARTNERS), [], id="clean"),
        pytest.param(several({"AUTHORIZED_PARTIES": []}, staff=STAFF), [("W002", "")], id="top"),
        pytest.param(
            several(staff={**STAFF, "AUTHORIZED_PARTIES": []}, partners=PARTNERS),
            [("W002", "INSTANCES.staff.")],
            id="another",
        ),
        pytest.param(
            several(
                staff={"FRONTEND_API": "clerk.staff.example.com"},
                partners={"FRONTEND_API": "clerk.partners.example.com"},
            ),
            [("W002", "INSTANCES.partners."), ("W002", "INSTANCES.staff.")],
            id="not-inherited",
        ),
    ],
)
def test_parties_are_those_of_each_instance(values, about, secure):
    secure.CLERK_AUTH = values
    assert subjects(deploy=True) == [(i, f"{path}AUTHORIZED_PARTIES") for i, path in about]


@pytest.mark.parametrize(
    ("top", "staff", "about"),
    [
        ({}, {"FRONTEND_API": "a-1.clerk.accounts.dev"}, ["INSTANCES.staff.FRONTEND_API"]),
        (
            {},
            {"PUBLISHABLE_KEY": PK_TEST.replace("Y2xlcms", "Y2xlcmt")},
            ["INSTANCES.staff.PUBLISHABLE_KEY"],
        ),
        (
            {},
            {"ISSUER": ["https://a.clerk.accounts.dev"], "JWKS_URL": "https://b.example/keys"},
            ["INSTANCES.staff.ISSUER"],
        ),
        ({"FRONTEND_API": "a-1.clerk.accounts.dev"}, STAFF, ["FRONTEND_API"]),
        (
            {"FRONTEND_API": None, "PUBLISHABLE_KEY": PK_TEST},
            {"FRONTEND_API": "a-1.clerk.accounts.dev"},
            ["INSTANCES.staff.FRONTEND_API", "PUBLISHABLE_KEY"],
        ),
    ],
)
def test_development_instance_beside_a_live_one_is_named(top, staff, about, secure):
    secure.CLERK_AUTH = several(top, staff={"AUTHORIZED_PARTIES": [PARTY], **staff})
    assert [key for check_id, key in subjects() if check_id == "W003"] == about
    secure.DEBUG = True
    assert "W003" not in found()


def test_observing_instances_are_named_under_deploy(secure):
    secure.CLERK_AUTH = several(staff={**STAFF, "MODE": "observe"}, partners=PARTNERS)
    assert (subjects(), subjects(deploy=True)) == ([], [("W013", "INSTANCES.staff.MODE")])
    secure.CLERK_AUTH = several({"MODE": "observe"}, staff=STAFF)
    assert ("W013", "MODE") in subjects(deploy=True)


@pytest.mark.parametrize(
    ("top", "staff", "partners", "named"),
    [
        ({KEY: 60}, {}, {}, "staff, partners"),
        ({KEY: 60}, {}, {KEY: 3600}, "staff"),
        ({KEY: 0}, {KEY: 0}, {}, "partners"),
        ({KEY: 60}, {KEY: 3600}, {KEY: 60}, None),
        # The default, written out.
        ({KEY: 3600}, {}, {}, None),
        ({}, {KEY: 60}, {}, None),
    ],
)
def test_bound_on_long_lived_tokens_is_not_inherited(top, staff, partners, named, secure):
    secure.CLERK_AUTH = several(top, staff={**STAFF, **staff}, partners={**PARTNERS, **partners})
    assert subjects() == ([("W019", KEY)] if named else [])
    assert [f"for {named} it is the default, 3600." in m.msg for m in messages_of(TAG)] in (
        [True],
        [],
    )


def test_paths_are_those_of_each_instance(secure):
    wrong = {"USER_RESOLVER": "no_such_module.resolve"}
    secure.CLERK_AUTH = several(staff={**STAFF, **wrong})
    ours = [found for found in messages_of(TAG) if found.id == "clerk_auth.E006"]
    assert ("E006", "INSTANCES.staff.USER_RESOLVER") in subjects()
    assert all("no_such_module" not in message.msg for message in ours)
    secure.CLERK_AUTH = several({"METRICS": ["no_such_module.Sink"]}, staff=STAFF)
    assert [key for check_id, key in subjects() if check_id == "E006"] == ["METRICS"]


def test_problem_of_one_instance_is_reported_with_its_path(secure):
    secure.CLERK_AUTH = several(staff={**STAFF, "LEEWAY_SECONDS": 61}, partners={})
    assert subjects(deploy=True) == [("E003", "INSTANCES.staff.LEEWAY_SECONDS")]
    secure.CLERK_AUTH = several(staff=STAFF, partners={})
    assert subjects(deploy=True) == [("E001", "INSTANCES.partners.FRONTEND_API")]


def test_development_mode_is_the_processs_and_reminded_of_once(secure):
    secure.CLERK_AUTH = several({"DEV_MODE": True}, staff=STAFF)
    assert found(deploy=True) == ["E004"]
    secure.DEBUG = True
    assert found(deploy=True) == ["W017"]


# With one instance a message is what it was: alarms and silencing scripts may read it.
ONE = {
    "W002": "CLERK_AUTH['AUTHORIZED_PARTIES'] is empty: a token made for any origin is accepted.",
    "W003": "Tokens of a Clerk development instance are accepted, with DEBUG = False.",
    "W013": "CLERK_AUTH['MODE'] is 'observe': tokens are verified, and no caller is refused.",
}


@pytest.mark.parametrize("instances", [{}, {"INSTANCES": {}}])
def test_messages_of_one_instance_name_none(instances, secure):
    secure.CLERK_AUTH = {"PUBLISHABLE_KEY": PK_TEST, "MODE": "observe", **instances}
    messages = {m.id.removeprefix("clerk_auth."): m for m in messages_of(TAG, deploy=True)}
    assert {check_id: messages[check_id].msg for check_id in ONE} == ONE
    assert {message.obj for message in messages.values()} == {None}
