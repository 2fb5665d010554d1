"""The checks of the resolver and of the user model's columns."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.core.checks import Tags, run_checks

from clerk_auth.checks import TAG
from clerk_auth.users import ClerkUser, columns
from tests.checks.conftest import SECURE, found, messages_of

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        pytest.param({"USER_RESOLVER": "no_such_module.resolve"}, ["E006"], id="no-module"),
        pytest.param({"USER_RESOLVER": "clerk_auth.users.no_such"}, ["E006"], id="no-function"),
        pytest.param({"USER_RESOLVER": "clerk_auth.conf.OBSERVE"}, ["E006"], id="no-callable"),
        pytest.param({"USER_RESOLVER": "tests.users.test_resolvers.later"}, [], id="coroutine"),
        pytest.param(
            {"USER_RESOLVER": "tests.users.test_resolvers.one_by_one"}, ["E006"], id="generator"
        ),
        pytest.param({"METRICS": ["no_such_module.Sink"]}, ["E006"], id="no-sink"),
        pytest.param({"METRICS": ["clerk_auth.metrics.Sink"]}, [], id="sink"),
        pytest.param({"USER_RESOLVER": "clerk_auth.users.stateless_user"}, [], id="stateless"),
        pytest.param({"USER_ID_FIELD": "email"}, [], id="field-that-nobody-uses"),
        pytest.param({"USER_RESOLVER": "clerk_auth.users.database_user"}, ["W009"], id="username"),
        pytest.param(
            {"USER_RESOLVER": "clerk_auth.users.database_user", "USER_ID_FIELD": "username"},
            ["W009"],
            id="username-by-name",
        ),
        pytest.param(
            {"USER_RESOLVER": "clerk_auth.users.database_user", "USER_ID_FIELD": "email"},
            ["E007"],
            id="field-not-unique",
        ),
        pytest.param(
            {"USER_RESOLVER": "clerk_auth.users.database_user", "USER_ID_FIELD": "no_such"},
            ["E007"],
            id="field-missing",
        ),
        pytest.param(
            {"USER_RESOLVER": "clerk_auth.users.existing_user", "USER_ID_FIELD": "email"},
            ["E007"],
            id="existing-user",
        ),
        pytest.param(
            {"USER_RESOLVER": "clerk_auth.users.database_user", "USER_ID_FIELD": "id"},
            ["E012"],
            id="unique-field-of-another-type",
        ),
    ],
)
def test_users_and_sinks(values, ids, secure):
    secure.CLERK_AUTH = {**SECURE, **values}
    assert found(deploy=True) == ids


COLUMNS = {**SECURE, "USER_RESOLVER": "clerk_auth.users.database_user", "USER_ID_FIELD": "clerk_id"}
EXISTING = {"USER_RESOLVER": "clerk_auth.users.existing_user"}


@pytest.mark.parametrize(
    ("model", "values", "ids"),
    [
        ("Member", {}, []),
        ("Member", {"USER_ID_FIELD": "username"}, ["W009"]),
        ("ConstraintMember", {}, []),
        ("HalfUniqueMember", {}, ["E007"]),
        ("HalfUniqueMember", EXISTING, ["E007"]),
        ("ProxyMember", {}, []),
        ("CleaningNeedsTitle", {}, []),
        ("ShortIdMember", {}, ["E012"]),
        ("ShortIdMember", EXISTING, ["E012"]),
        ("UuidMember", EXISTING, ["E012"]),
        ("NumberMember", {}, ["E012", "E013"]),
        ("NumberMember", EXISTING, ["E012"]),
        ("ShortNameMember", {}, ["E013"]),
        ("ShortNameMember", {"USER_ID_FIELD": "username"}, ["E012", "W009"]),
        ("ShortNameMember", EXISTING, []),
        ("NumberNameMember", {}, ["E013"]),
        ("NumberNameMember", {"USER_FIELDS": {"username": "number"}}, ["W014"]),
        ("ShortPasswordMember", {}, ["E013"]),
        ("PasswordlessMember", {}, []),
        ("PlainMember", {}, []),
        ("LegacyMember", {}, []),
        ("AddressMember", {}, []),
        ("AddressMember", {"USER_ID_FIELD": "email"}, ["E012", "W009"]),
        ("ContactMember", {}, ["W015"]),
        ("TenantMember", {}, ["W015"]),
        ("TenantMember", EXISTING, []),
        ("SelfFillingMember", {}, ["W015"]),
    ],
)
def test_columns_of_the_user_model(model, values, ids, secure):
    secure.AUTH_USER_MODEL = f"accounts.{model}"
    secure.CLERK_AUTH = {**COLUMNS, **values}
    assert found(deploy=True) == ids


@pytest.mark.parametrize(
    ("model", "labels"),
    [
        ("ShortIdMember", ["ShortIdMember.clerk_id"]),
        ("ShortNameMember", ["ShortNameMember.username"]),
        ("ContactMember", ["ContactMember.email"]),
        ("TenantMember", ["TenantMember.tenant", "TenantMember.joined", "TenantMember.email"]),
    ],
)
def test_columns_are_named_with_a_remedy(model, labels, secure):
    secure.AUTH_USER_MODEL = f"accounts.{model}"
    secure.CLERK_AUTH = COLUMNS
    (message,) = (m for m in run_checks(tags=[Tags.security]) if m.id.startswith("clerk_auth."))
    assert [word.strip(",.") for word in message.msg.split() if word.startswith("accounts.")] == [
        f"accounts.{label}" for label in labels
    ]
    assert ("USER_FIELDS" in message.hint) == (model != "ShortIdMember")


def test_remedy_for_a_unique_column_is_none_that_another_check_refuses(secure):
    """E010 refuses a claim for a unique column that cannot be null."""
    secure.AUTH_USER_MODEL = "accounts.ContactMember"
    secure.CLERK_AUTH = COLUMNS
    (message,) = (m for m in run_checks(tags=[TAG]) if m.id == "clerk_auth.W015")
    assert "if it is not unique, a default or a claim in USER_FIELDS" in message.hint
    secure.CLERK_AUTH = {**COLUMNS, "USER_FIELDS": {"email": "email"}}
    assert "E010" in found(deploy=True)


def test_sample_is_as_long_as_clerks_ids():
    assert len(columns._SAMPLE_ID) == 32


def test_model_and_field_are_named(secure):
    secure.CLERK_AUTH = {
        **SECURE,
        "USER_RESOLVER": "clerk_auth.users.database_user",
        "USER_ID_FIELD": "first_name",
    }
    (error,) = (m for m in run_checks(tags=[Tags.security]) if m.id == "clerk_auth.E007")
    assert f"{User._meta.label}.first_name" in error.msg


@pytest.mark.parametrize(
    ("fields", "ids"),
    [
        pytest.param({"email": "email", "first_name": "name"}, [], id="columns-of-text"),
        pytest.param({"no_such": "email"}, ["E010"], id="field-missing"),
        pytest.param({"date_joined": "iat"}, ["E010"], id="date"),
        pytest.param({"groups": "roles", "pk": "sub"}, ["E011", "E011"], id="groups-and-pk"),
        pytest.param({"username": "username"}, ["E011"], id="holds-the-user-id"),
    ],
)
@pytest.mark.parametrize(
    "resolver", ["clerk_auth.users.database_user", f"{__name__}.refuse_claims"]
)
def test_profile_fields(fields, ids, resolver, secure):
    """Whichever resolver: one of the project's own may call ours."""
    secure.CLERK_AUTH = {**SECURE, "USER_RESOLVER": resolver, "USER_FIELDS": fields}
    assert [check_id for check_id in found() if check_id.startswith("E")] == ids


def test_profile_field_by_which_others_find_users(secure):
    secure.CLERK_AUTH = {**SECURE, "USER_ID_FIELD": "email", "USER_FIELDS": {"username": "name"}}
    assert found() == ["W014"]


def test_checks_resolve_no_user(secure):
    secure.CLERK_AUTH = {**SECURE, "USER_RESOLVER": f"{__name__}.refuse_claims"}
    assert found(deploy=True) == []


def refuse_claims(claims) -> ClerkUser:
    raise AssertionError("a check resolved a user")


# Several instances

DATABASE = "clerk_auth.users.database_user"
BY_CLERK_ID = {"USER_RESOLVER": DATABASE, "USER_ID_FIELD": "clerk_id"}


def of_both(default, staff):
    instance = {**SECURE, "FRONTEND_API": "clerk.staff.example.com"}
    return {**SECURE, **default, "INSTANCES": {"staff": {**instance, **staff}}}


def reported(*ids: str) -> list[tuple[str, str]]:
    """Return ids and the setting that each message begins with."""
    messages = messages_of(TAG)
    found = [(m.id.removeprefix("clerk_auth."), m.msg.split("'")[1], m.obj) for m in messages]
    assert all(obj in (None, key) for _, key, obj in found)
    return [(check_id, key) for check_id, key, _ in found if check_id in ids]


ALL = ("E006", "E007", "E010", "E011", "E012", "E013", "E014", "E015", "W009", "W014", "W015")


@pytest.mark.parametrize(
    ("model", "default", "staff", "messages"),
    [
        ("Member", BY_CLERK_ID, BY_CLERK_ID, []),
        # Each instance with a mistake of its own
        ("Member", BY_CLERK_ID, {"USER_RESOLVER": DATABASE}, [("W009", "staff.USER_ID_FIELD")]),
        (
            "Member",
            BY_CLERK_ID,
            {"USER_RESOLVER": f"{__name__}.COLUMNS"},
            [("E006", "staff.USER_RESOLVER")],
        ),
        (
            "Member",
            {**BY_CLERK_ID, "USER_FIELDS": {"password": "a"}},
            {**BY_CLERK_ID, "USER_FIELDS": {"no_such": "a", "username": "b"}},
            [
                ("E010", "staff.USER_FIELDS"),
                ("E011", "USER_FIELDS"),
                ("W014", "staff.USER_FIELDS"),
            ],
        ),
        # The same one, said once
        ("HalfUniqueMember", BY_CLERK_ID, BY_CLERK_ID, [("E007", "USER_ID_FIELD")]),
        ("HalfUniqueMember", {}, BY_CLERK_ID, [("E007", "staff.USER_ID_FIELD")]),
        ("TenantMember", BY_CLERK_ID, BY_CLERK_ID, [("W015", "USER_RESOLVER")]),
        # An alias needs room, which the ids of the default do not
        ("ShortIdMember", {}, BY_CLERK_ID, [("E012", "staff.USER_ID_FIELD")]),
        (
            "NumberMember",
            {**BY_CLERK_ID, "USER_ID_CLAIM": "external_id"},
            {**BY_CLERK_ID, "USER_ID_CLAIM": "external_id"},
            [("E012", "staff.USER_ID_FIELD"), ("E013", "staff.USER_RESOLVER")],
        ),
        (
            "AddressMember",
            {"USER_RESOLVER": DATABASE, "USER_ID_CLAIM": "external_id"},
            {"USER_RESOLVER": DATABASE, "USER_ID_CLAIM": "external_id"},
            [("E012", "staff.USER_ID_FIELD"), ("W009", "USER_ID_FIELD")],
        ),
        ("ShortNameMember", {}, BY_CLERK_ID, [("E013", "staff.USER_RESOLVER")]),
        # What one instance writes, and another finds users by
        (
            "Member",
            {**BY_CLERK_ID, "USER_FIELDS": {"username": "name"}},
            {"USER_RESOLVER": DATABASE},
            [
                ("E011", "USER_FIELDS"),
                ("W009", "staff.USER_ID_FIELD"),
                ("W014", "USER_FIELDS"),
            ],
        ),
        (
            "Member",
            {**BY_CLERK_ID, "USER_FIELDS": {"username": "name"}},
            {},
            [("W014", "USER_FIELDS")],
        ),
    ],
)
def test_each_instance_is_checked_and_named(model, default, staff, messages, secure):
    secure.AUTH_USER_MODEL = f"accounts.{model}"
    secure.CLERK_AUTH = of_both(default, staff)
    assert reported(*ALL) == [
        (check_id, key.replace("staff.", "INSTANCES.staff.")) for check_id, key in messages
    ]


def test_column_without_room_for_an_alias_is_named_with_an_example(secure):
    secure.AUTH_USER_MODEL = "accounts.ShortIdMember"
    secure.CLERK_AUTH = of_both({}, BY_CLERK_ID)
    (message,) = (m for m in messages_of(TAG) if m.id == "clerk_auth.E012")
    assert message.msg == (
        "CLERK_AUTH['INSTANCES.staff.USER_ID_FIELD'] names accounts.ShortIdMember.clerk_id for ids "
        f"such as staff:{columns._SAMPLE_ID}, but it holds 30 characters, and a row needs 38."
    )


def test_key_that_the_database_numbers_is_an_error_of_the_default_alone(secure):
    """An id with an alias is no number at all."""
    numbered = {"USER_RESOLVER": DATABASE, "USER_ID_FIELD": "id", "USER_ID_CLAIM": "external_id"}
    secure.CLERK_AUTH = of_both(numbered, numbered)
    assert reported(*ALL) == [
        ("E012", "INSTANCES.staff.USER_ID_FIELD"),
        ("E014", "USER_ID_FIELD"),
    ]
