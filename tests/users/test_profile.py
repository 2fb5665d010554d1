"""Claims become columns of a user's row where they fit, and otherwise change nothing."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test.utils import CaptureQueriesContext

from clerk_auth.core.errors import UserInactive
from clerk_auth.users import database_user, existing_user
from clerk_auth.users.profile import (
    _note_taken,
    find_problems,
    get_profile_fields,
    read_profile,
    write_profile,
)
from tests.accounts.models import Member

pytestmark = pytest.mark.integration

CLERK_AUTH = {
    "FRONTEND_API": "clerk.example.com",
    "USER_RESOLVER": "clerk_auth.users.database_user",
    "USER_ID_FIELD": "clerk_id",
}
FIELDS = {
    "email": "email",
    "name": "full_name",
    "title": "title",
    "about": "about",
    "newsletter": "newsletter",
    "age": "age",
    "score": "score",
}


def use_fields(settings, fields):
    settings.AUTH_USER_MODEL = "accounts.Member"
    settings.CLERK_AUTH = {**CLERK_AUTH, "USER_FIELDS": fields}


@pytest.fixture
def member_fields(settings):
    use_fields(settings, FIELDS)


# What a claim may be


@pytest.mark.parametrize(
    ("claim", "value", "column"),
    [
        ("full_name", "Alice", "name"),
        ("full_name", "", "name"),
        ("full_name", "a" * 20, "name"),
        ("full_name", "Zoë 李", "name"),
        pytest.param("full_name", "می\u200cخواهم", "name", id="joiner-that-a-script-needs"),
        ("email", "alice@example.com", "email"),
        ("title", "dr", "title"),
        ("about", "a" * 2000, "about"),
        ("newsletter", True, "newsletter"),
        ("newsletter", False, "newsletter"),
        ("age", 0, "age"),
        ("age", 2**63 - 1, "age"),
        ("score", 1, "score"),
        ("score", 1.5, "score"),
    ],
)
@pytest.mark.usefixtures("member_fields")
def test_claim_that_fits_is_read(claim, value, column, claims_of):
    assert read_profile(claims_of("user_alice", **{claim: value})) == {column: value}


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        pytest.param("name", "Alice", id="column-that-no-claim-is-named-after"),
        *[("full_name", value) for value in (None, 1, True, ["Alice"], {"en": "Alice"})],
        pytest.param("full_name", "a" * 21, id="one-too-long"),
        *[("full_name", f"Al{c}ice") for c in "\0\n\r\x1b\x7f\x85\u2028\u2029\u202e\u2066\ud800"],
        *[("about", f"Al{c}ice") for c in "\0\n"],
        *[("email", value) for value in ("alice", "alice@", "alice@example.com\n", [1])],
        *[("title", value) for value in ("mr", "Dr")],
        *[("newsletter", value) for value in (None, 1, 0, "true", "on", [])],
        *[("age", value) for value in (None, True, "7", 7.0, -1, 2**63, 10**4000, [7])],
        *[("score", value) for value in (None, True, "1.5", 10**400, [1.5])],
    ],
)
@pytest.mark.usefixtures("member_fields")
def test_claim_that_does_not_fit_is_left_out(claim, value, claims_of):
    claims = {"title": "dr", "about": "Doctor"}
    read = read_profile(claims_of("user_alice", **claims | {claim: value}))
    claims.pop(claim, None)
    assert read == claims


@pytest.mark.usefixtures("member_fields")
def test_no_text_is_null_where_it_can_be(claims_of):
    """A unique column holds it many times."""
    assert read_profile(claims_of("user_alice", email="", full_name="")) == {
        "email": None,
        "name": "",
    }


def test_nothing_is_read_unless_it_is_mapped(settings, claims_of):
    use_fields(settings, {})
    assert read_profile(claims_of("user_alice", email="alice@example.com", name="Alice")) == {}


# What may be mapped


@pytest.mark.parametrize(
    ("field", "check_id"),
    [
        *[(field, None) for field in ("email", "name", "age", "newsletter", "username")],
        pytest.param("no_such", "clerk_auth.E010", id="missing"),
        pytest.param("joined", "clerk_auth.E010", id="date"),
        pytest.param("mentor", "clerk_auth.E010", id="foreign-key"),
        pytest.param("mentor_id", "clerk_auth.E010", id="column-of-a-foreign-key"),
        pytest.param("member", "clerk_auth.E010", id="reverse-relation"),
        pytest.param("code", "clerk_auth.E010", id="unique-and-not-null"),
        pytest.param("id", "clerk_auth.E011", id="primary-key"),
        pytest.param("clerk_id", "clerk_auth.E011", id="user-id-field"),
        *[
            (field, "clerk_auth.E011")
            for field in (
                *("pk", "password", "is_active", "is_staff", "is_superuser", "last_login"),
                *("groups", "user_permissions"),
            )
        ],
    ],
)
def test_only_plain_columns_that_grant_nothing(field, check_id, settings):
    use_fields(settings, {field: "claim"})
    problems = find_problems("default")
    assert [problem.id for problem in problems] == ([check_id] if check_id else [])
    assert all(f"accounts.Member.{field}" in problem.msg for problem in problems)


def test_user_name_that_holds_the_id_is_refused(settings):
    use_fields(settings, {"id": "claim"})
    settings.AUTH_USER_MODEL = "accounts.KeyedMember"
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "USER_ID_FIELD": "id"}
    assert [problem.id for problem in find_problems("default")] == ["clerk_auth.E011"]


def test_refused_mapping_maps_nothing(settings, claims_of):
    """The checks may be silenced, and no server runs them."""
    use_fields(settings, {"name": "full_name", "is_active": "active", "no_such": "email"})
    with pytest.raises(ImproperlyConfigured, match=r"is_active[\s\S]*no_such"):
        get_profile_fields("default")
    with pytest.raises(ImproperlyConfigured):
        database_user(claims_of("user_alice", active=True))


# What is written


@pytest.fixture
def members(member_fields, db):
    """Rows to write to; the log names each clash anew."""
    _note_taken.cache_clear()


ALICE = {"email": "alice@example.com", "full_name": "Alice", "newsletter": True}


def sql_of(asked, verb: str) -> list[str]:
    return [query["sql"] for query in asked.captured_queries if query["sql"].startswith(verb)]


@pytest.mark.usefixtures("members")
def test_first_request_writes_the_profile_with_the_row(claims_of):
    with CaptureQueriesContext(connection) as asked:
        user = database_user(claims_of("user_alice", **ALICE))
    assert sql_of(asked, "UPDATE") == []
    user.refresh_from_db()
    assert (user.email, user.name, user.newsletter) == ("alice@example.com", "Alice", True)
    assert user.age is None


@pytest.mark.usefixtures("members")
def test_claims_that_say_the_same_cost_no_query(claims_of, django_assert_num_queries):
    database_user(claims_of("user_alice", **ALICE))
    with django_assert_num_queries(1):
        database_user(claims_of("user_alice", **ALICE))


@pytest.mark.usefixtures("members")
@pytest.mark.parametrize("claims", [{}, {"email": "alice", "full_name": None, "newsletter": "no"}])
def test_claims_that_are_missing_or_malformed_change_nothing(
    claims, claims_of, django_assert_num_queries
):
    database_user(claims_of("user_alice", **ALICE))
    with django_assert_num_queries(1):
        user = database_user(claims_of("user_alice", **claims))
    assert (user.email, user.name, user.newsletter) == ("alice@example.com", "Alice", True)


@pytest.mark.usefixtures("members")
def test_claims_that_have_changed_cost_one_update_of_their_columns(claims_of):
    database_user(claims_of("user_alice", **ALICE))
    with CaptureQueriesContext(connection) as asked:
        user = database_user(claims_of("user_alice", **ALICE | {"full_name": "Alice B."}, age=7))
    (update,) = sql_of(asked, "UPDATE")
    assert [name for name in ("email", "name", "age", "newsletter") if f'"{name}" =' in update] == [
        "name",
        "age",
    ]
    assert len(sql_of(asked, "SELECT")) == 1
    user.refresh_from_db()
    assert (user.email, user.name, user.age) == ("alice@example.com", "Alice B.", 7)


@pytest.mark.usefixtures("members")
def test_inactive_user_is_not_written_to(claims_of):
    database_user(claims_of("user_alice", **ALICE))
    Member.objects.update(is_active=False)
    with pytest.raises(UserInactive):
        database_user(claims_of("user_alice", full_name="Mallory"))
    assert Member.objects.get().name == "Alice"


@pytest.mark.usefixtures("members")
def test_finding_alone_writes_nothing(claims_of, django_assert_num_queries):
    database_user(claims_of("user_alice", **ALICE))
    with django_assert_num_queries(1):
        user = existing_user(claims_of("user_alice", full_name="Alice B."))
    assert user.name == "Alice"


# What another row has


def clashes(caplog) -> list[tuple[str, str]]:
    return [
        (record.user, record.field)
        for record in caplog.records
        if record.name == "clerk_auth" and record.event == "profile_field_taken"
    ]


# The second one is refused by a constraint that the field knows nothing of.
ADDRESSES = pytest.mark.parametrize("address", ["alice@example.com", "ALICE@example.com"])


@ADDRESSES
@pytest.mark.usefixtures("members")
def test_address_of_another_row_neither_links_nor_locks_out(address, claims_of, caplog):
    other = Member.objects.create(username="alice", email=address)
    user = database_user(claims_of("user_alice", **ALICE))
    assert user != other
    for row in (user, Member.objects.get(clerk_id="user_alice")):
        assert (row.email, row.name, row.newsletter) == (None, "Alice", True)
    other.refresh_from_db()
    assert (other.email, other.clerk_id, other.name) == (address, None, "")
    assert clashes(caplog) == [("user_alice", "email")]


@ADDRESSES
@pytest.mark.usefixtures("members")
def test_address_that_changes_to_that_of_another_row_stays(address, claims_of, caplog):
    database_user(claims_of("user_alice", **ALICE | {"email": "alice@old.example"}))
    Member.objects.create(username="alice", email=address)
    for _ in range(3):
        user = database_user(claims_of("user_alice", **ALICE | {"full_name": "Alice B."}))
        assert (user.email, user.name) == ("alice@old.example", "Alice B.")
        user.refresh_from_db()
        assert (user.email, user.name) == ("alice@old.example", "Alice B.")
    assert clashes(caplog) == [("user_alice", "email")]


@pytest.mark.usefixtures("members")
def test_address_is_written_when_it_is_free_again(claims_of):
    other = Member.objects.create(username="alice", email="alice@example.com")
    assert database_user(claims_of("user_alice", **ALICE)).email is None
    other.delete()
    assert database_user(claims_of("user_alice", **ALICE)).email == "alice@example.com"


@pytest.mark.usefixtures("members")
def test_clash_is_logged_without_the_value(claims_of, caplog):
    Member.objects.create(username="alice", email="alice@example.com")
    database_user(claims_of("user_alice", **ALICE))
    assert "profile_field_taken user=user_alice field=email" in caplog.text
    assert "@example.com" not in caplog.text


def test_user_name_of_another_row_is_not_taken(settings, db, claims_of):
    use_fields(settings, {"username": "username"})
    other = Member.objects.create(username="alice")
    user = database_user(claims_of("user_alice", username="alice"))
    assert user != other
    assert user.username == "user_alice"
    assert database_user(claims_of("user_bob", username="bob")).username == "bob"


@pytest.mark.usefixtures("members")
def test_update_is_of_what_differs_alone(django_assert_num_queries):
    member = Member.objects.create(username="alice", name="Alice")
    with django_assert_num_queries(0):
        write_profile(member, {"name": "Alice"}, "default")
