"""First requests of one new user at once: one row, and no error, on each kind of database.

``python -m tests.postgres`` runs the same tests on PostgreSQL.
"""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings

from tests.test_docs import blocks, read
from tests.user_race import THREADS, USER_ID, run_race

pytestmark = pytest.mark.integration

MEMBER = {"user_model": "accounts.Member", "clerk_auth": {"USER_ID_FIELD": "clerk_id"}}
PROFILE = {
    "user_model": "accounts.Member",
    "clerk_auth": {"USER_ID_FIELD": "clerk_id", "USER_FIELDS": {"email": "email", "name": "name"}},
    "claims": {"email": "alice@example.com", "name": "Alice"},
}
SQLITE = "django.db.backends.sqlite3"


@pytest.fixture
def database(tmp_path):
    """The kind of database that this run is on; SQLite is a file."""
    ours = settings.DATABASES["default"]
    if ours["ENGINE"] == SQLITE:
        return {"ENGINE": SQLITE, "TEST": {"NAME": str(tmp_path / "db.sqlite3")}}
    names = ("ENGINE", "USER", "HOST")
    return {name: ours[name] for name in names} | {"NAME": "postgres", "TEST": {"NAME": "race"}}


def test_user_found_by_user_name(database):
    outcome = run_race(database)
    assert outcome.statuses == {"200": THREADS}
    (row,) = outcome.rows
    assert row["username"] == USER_ID
    assert row["password"].startswith("!")


def test_user_found_by_a_field_of_its_own(database):
    outcome = run_race(database, **MEMBER)
    assert outcome.statuses == {"200": THREADS}
    (row,) = outcome.rows
    assert (row["clerk_id"], row["username"]) == (USER_ID, USER_ID)


def test_user_whose_primary_key_is_clerks_id(database):
    outcome = run_race(database, user_model="accounts.KeyedMember")
    assert outcome.statuses == {"200": THREADS}
    assert [row["id"] for row in outcome.rows] == [USER_ID]


def test_user_whose_name_somebody_else_has(database):
    outcome = run_race(database, **MEMBER, rows=[{"username": USER_ID}])
    assert outcome.statuses == {"200": THREADS}
    squatter, row = sorted(outcome.rows, key=lambda row: row["id"])
    assert (squatter["clerk_id"], squatter["username"]) == (None, USER_ID)
    assert row["clerk_id"] == USER_ID
    assert row["username"].startswith(f"{USER_ID}-")


def test_user_whose_address_somebody_else_has(database):
    rows = [{"username": "alice", "email": "Alice@example.com"}]
    outcome = run_race(database, **PROFILE, rows=rows)
    assert outcome.statuses == {"200": THREADS}
    other, row = sorted(outcome.rows, key=lambda row: row["id"])
    assert (other["clerk_id"], other["email"]) == (None, "Alice@example.com")
    assert (row["clerk_id"], row["email"], row["name"]) == (USER_ID, None, "Alice")


def test_users_of_two_instances_with_one_id(database):
    outcome = run_race(database, **MEMBER, aliases=("staff",))
    assert (outcome.statuses, outcome.errors) == ({"200": THREADS}, {})
    rows = sorted((row["clerk_id"], row["username"]) for row in outcome.rows)
    assert rows == [(f"staff:{USER_ID}",) * 2, (USER_ID,) * 2]


# A model that validates itself hears of the other row before the database does, or after

CLEANING = {**PROFILE, "user_model": "accounts.CleaningMember"}
AT_ONCE = pytest.mark.parametrize("all_insert", [True, False])


@AT_ONCE
def test_user_of_a_model_that_validates_itself(all_insert, database):
    outcome = run_race(database, **CLEANING, all_insert=all_insert)
    assert (outcome.statuses, outcome.errors) == ({"200": THREADS}, {})
    assert [(row["clerk_id"], row["name"]) for row in outcome.rows] == [(USER_ID, "Alice")]


def test_user_of_such_a_model_whose_name_and_address_somebody_else_has(database):
    rows = [{"username": USER_ID, "email": "alice@example.com", "password": "!"}]
    outcome = run_race(database, **CLEANING, rows=rows, all_insert=False)
    assert (outcome.statuses, outcome.errors) == ({"200": THREADS}, {})
    _other, row = sorted(outcome.rows, key=lambda row: row["id"])
    assert (row["clerk_id"], row["email"], row["name"]) == (USER_ID, None, "Alice")


def test_user_found_by_the_name_of_such_a_model(database):
    outcome = run_race(database, user_model="accounts.CleaningMember", all_insert=False)
    assert (outcome.statuses, outcome.errors) == ({"200": THREADS}, {})
    assert [row["username"] for row in outcome.rows] == [USER_ID]


# One transaction a request


@pytest.fixture
def atomic(database):
    """``ATOMIC_REQUESTS``, on SQLite with the options of docs/users.md."""
    (block,) = (block for block in blocks(read("users.md"), "python") if "ATOMIC" in block)
    documented: dict[str, Any] = {}
    exec(block, documented)
    options = documented["DATABASES"]["default"]["OPTIONS"]
    is_sqlite = database["ENGINE"] == SQLITE
    return database | {"ATOMIC_REQUESTS": True, "OPTIONS": options if is_sqlite else {}}


def test_atomic_requests(atomic):
    outcome = run_race(atomic, **MEMBER, all_insert=atomic["ENGINE"] != SQLITE)
    assert (outcome.statuses, outcome.errors) == ({"200": THREADS}, {})
    assert [row["clerk_id"] for row in outcome.rows] == [USER_ID]


def test_atomic_requests_whose_address_somebody_else_has(atomic):
    """A transaction of PostgreSQL that has failed takes no further query."""
    rows = [{"username": "alice", "email": "Alice@example.com"}]
    # Whoever is first keeps the others out until its answer is there: they cannot meet once more.
    outcome = run_race(atomic, **PROFILE, rows=rows, all_insert=False)
    assert (outcome.statuses, outcome.errors) == ({"200": THREADS}, {})
    assert sorted((row["clerk_id"] or "", row["name"]) for row in outcome.rows) == [
        ("", ""),
        (USER_ID, "Alice"),
    ]


@pytest.mark.skipif(settings.DATABASES["default"]["ENGINE"] != SQLITE, reason="of SQLite alone")
@pytest.mark.parametrize("options", [{}, {"timeout": 20}])
def test_atomic_requests_of_sqlite_fail_without_immediate_transactions(options, atomic):
    outcome = run_race(atomic | {"OPTIONS": options}, **MEMBER)
    assert outcome.errors == {"OperationalError('database is locked')": THREADS - 1}
    assert outcome.statuses == {"200": 1, "500": THREADS - 1}
