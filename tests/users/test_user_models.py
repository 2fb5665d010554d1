"""Rows of user models as projects have them: found, made, written to, or refused with a reason.

``python -m tests.postgres`` runs the same tests on PostgreSQL.
"""

from __future__ import annotations

import secrets
import uuid

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import validate_email
from django.db import connection, transaction
from django.db.models import Model
from django.test.utils import CaptureQueriesContext

from clerk_auth.core.errors import TokenRejected
from clerk_auth.users import LinkRefused, database_user, existing_user, link
from clerk_auth.users.profile import _note_taken

pytestmark = [pytest.mark.integration, pytest.mark.django_db]

# As Clerk makes them: 32 characters, and letters of both cases.
ALICE = "user_2aLiCeDeFgHiJkLmNoPqRsTuVwX"
ALICE_IN_SMALL_LETTERS = ALICE.lower()


@pytest.fixture
def use(settings):
    """Configure a model of ``tests.accounts``, and return it."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    _note_taken.cache_clear()

    def configure(model: str, **clerk_auth: object) -> type[Model]:
        settings.AUTH_USER_MODEL = f"accounts.{model}"
        settings.CLERK_AUTH = {
            "FRONTEND_API": "clerk.example.com",
            "USER_RESOLVER": "clerk_auth.users.database_user",
            "USER_ID_FIELD": "clerk_id",
            **clerk_auth,
        }
        return get_user_model()

    return configure


def refusal(claims, resolve=database_user) -> str | None:
    """Return the code of the 401; inside a transaction, as ATOMIC_REQUESTS has it."""
    try:
        with transaction.atomic():
            resolve(claims)
    except TokenRejected as error:
        return error.code
    return None


def is_inactive(claims, resolve=database_user) -> bool:
    return refusal(claims, resolve) == "user_inactive"


def is_unknown(claims, resolve=database_user) -> bool:
    return refusal(claims, resolve) == "user_unknown"


def misfits(caplog) -> list[tuple[str, str]]:
    """Return columns and reasons that the log names, as errors."""
    return [
        (record.field, record.reason)
        for record in caplog.records
        if getattr(record, "event", "") == "user_column_unfit" and record.levelname == "ERROR"
    ]


def add(model: type[Model], **values: object) -> Model:
    """Make a row as the project's own sign-up does."""
    return model._base_manager.create(password=make_password("local"), **values)


def verbs(asked: CaptureQueriesContext) -> list[str]:
    return [query["sql"].split()[0] for query in asked.captured_queries]


# A database that takes one id for another


@pytest.mark.parametrize("id_field", ["clerk_id", "username"])
def test_row_of_an_id_in_other_letters_is_not_the_callers(id_field, use, claims_of, caplog):
    model = use("FoldingMember", USER_ID_FIELD=id_field)
    other = database_user(claims_of(ALICE_IN_SMALL_LETTERS))
    for _ in range(3):
        assert is_inactive(claims_of(ALICE))
        assert is_inactive(claims_of(ALICE), existing_user)
    assert database_user(claims_of(ALICE_IN_SMALL_LETTERS)) == other
    assert model.objects.count() == 1
    assert misfits(caplog) == [(f"accounts.FoldingMember.{id_field}", "id_differs")]


def test_link_takes_no_id_for_another(use, claims_of, caplog):
    model = use("FoldingMember")
    row = model.objects.create(username="alice")
    link(row, claims_of(ALICE_IN_SMALL_LETTERS))
    with pytest.raises(LinkRefused, match="belongs to another"):
        link(row, claims_of(ALICE))
    with pytest.raises(LinkRefused, match="has another account"):
        link(model.objects.create(username="second"), claims_of(ALICE))
    link(row, claims_of(ALICE_IN_SMALL_LETTERS))
    assert model.objects.get(pk=row.pk).clerk_id == ALICE_IN_SMALL_LETTERS
    assert misfits(caplog) == [("accounts.FoldingMember.clerk_id", "id_differs")]


def test_user_name_in_other_letters_is_only_a_name(use, claims_of):
    model = use("FoldingMember")
    other = model.objects.create(username=ALICE_IN_SMALL_LETTERS)
    user = database_user(claims_of(ALICE))
    assert user != other
    assert user.username.startswith(f"{ALICE}-")


def test_model_that_changes_the_id_keeps_no_row(use, claims_of, caplog):
    model = use("SmallNameMember", USER_ID_FIELD="username")
    for _ in range(3):
        assert is_inactive(claims_of(ALICE))
    assert not model.objects.exists()
    assert misfits(caplog) == [("accounts.SmallNameMember.username", "id_differs")]
    assert database_user(claims_of(ALICE_IN_SMALL_LETTERS)).username == ALICE_IN_SMALL_LETTERS


# An id that may name two rows


@pytest.mark.parametrize(
    ("model", "field"),
    [("HalfUniqueMember", "clerk_id"), ("Member", "name"), ("Member", "no_such"), ("Member", "pk")],
)
def test_id_that_may_name_two_rows_stops_everything(model, field, use, claims_of):
    """Servers run no checks."""
    rows = use(model, USER_ID_FIELD=field)
    row = rows.objects.create(username="alice")
    for call in (database_user, existing_user, lambda claims: link(row, claims)):
        with pytest.raises(ImproperlyConfigured, match=f"accounts.{model}.{field}"):
            call(claims_of(ALICE))
    assert rows.objects.count() == 1


def test_id_may_be_unique_by_a_constraint(use, claims_of):
    use("ConstraintMember")
    assert database_user(claims_of(ALICE)) == existing_user(claims_of(ALICE))


def test_proxy_and_child_are_judged_by_the_model_of_the_column(use, claims_of):
    for model in ("ProxyMember", "CleaningNeedsTitle"):
        rows = use(model, USER_FIELDS={"title": "title"})
        row = add(rows, username=model, clerk_id=ALICE, title="dr")
        assert database_user(claims_of(ALICE, title="dr")) == row


# What a password can open


@pytest.mark.parametrize("password", ["", None, "!", "!" + "a" * 40])
def test_row_that_no_password_opens_is_the_callers(password, use, claims_of):
    """``get_or_create(username=sub)`` leaves the first; Django calls it and the second usable."""
    model = use("NullPasswordMember", USER_ID_FIELD="username")
    row = model.objects.create(username=ALICE, password=password)
    assert database_user(claims_of(ALICE)) == existing_user(claims_of(ALICE)) == row
    assert password is None or not row.check_password(password)


@pytest.mark.parametrize(
    "password",
    ["secret", "", " ", "0", "unheard_of$1$salt$hash", "5f4dcc3b5aa765d61d8327deb882cf99"],
)
def test_row_that_a_password_may_open_is_somebodys(password, use, claims_of):
    model = use("Member", USER_ID_FIELD="username")
    hashed = make_password(password) if password in ("secret", "") else password
    model.objects.create(username=ALICE, password=hashed)
    assert is_inactive(claims_of(ALICE))
    assert is_inactive(claims_of(ALICE), existing_user)


def test_model_that_checks_passwords_itself_is_not_second_guessed(use, claims_of):
    model = use("LegacyMember", USER_ID_FIELD="username")
    row = model.objects.create(username=ALICE, password="", legacy="of the attacker")
    assert is_inactive(claims_of(ALICE))
    row.set_unusable_password()
    row.save()
    assert database_user(claims_of(ALICE)) == row


@pytest.mark.parametrize("model", ["PasswordlessMember", "PlainMember"])
@pytest.mark.parametrize("id_field", ["clerk_id", "username"])
def test_model_without_passwords(id_field, model, use, claims_of, django_assert_num_queries):
    use(model, USER_ID_FIELD=id_field)
    row = database_user(claims_of(ALICE))
    assert row.username == ALICE
    with django_assert_num_queries(1):
        assert database_user(claims_of(ALICE)) == row


# A model that validates itself


PROFILE = {"USER_FIELDS": {"email": "email", "name": "name"}}


def test_first_and_next_requests(use, claims_of, django_assert_num_queries):
    use("CleaningMember", **PROFILE)
    claims = claims_of(ALICE, email="alice@example.com", name="Alice")
    user = database_user(claims)
    assert (user.username, user.email, user.name) == (ALICE, "alice@example.com", "Alice")
    with django_assert_num_queries(1):
        assert database_user(claims) == user


def test_taken_address_neither_links_nor_locks_out(use, claims_of):
    model = use("CleaningMember", **PROFILE)
    other = add(model, username="alice", email="alice@example.com")
    claims = claims_of(ALICE, email="alice@example.com", name="Alice")
    with CaptureQueriesContext(connection) as asked:
        user = database_user(claims)
    # The first try got no further than the model's own validation.
    assert verbs(asked).count("INSERT") == 1
    assert user != other
    for _ in range(3):
        row = database_user(claims)
        assert (row, row.email, row.name) == (user, None, "Alice")


def test_address_that_changes_to_a_taken_one_stays(use, claims_of):
    model = use("CleaningMember", **PROFILE)
    database_user(claims_of(ALICE, email="old@example.com"))
    add(model, username="alice", email="alice@example.com")
    row = database_user(claims_of(ALICE, email="alice@example.com", name="Alice"))
    row.refresh_from_db()
    assert (row.email, row.name) == ("old@example.com", "Alice")


def test_value_that_clean_refuses_stays_away(use, claims_of):
    use("CleaningMember", **PROFILE)
    for _ in range(2):
        row = database_user(claims_of(ALICE, email="alice@example.com", name="Mallory"))
        row.refresh_from_db()
        assert (row.email, row.name) == ("alice@example.com", "")


def test_row_that_is_invalid_already_is_still_the_callers(use, claims_of):
    """Nothing is written to it, and nobody is shut out for it."""
    model = use("CleaningMember", **PROFILE)
    model.objects.bulk_create([model(username="an invalid name", clerk_id=ALICE, email="none")])
    row = database_user(claims_of(ALICE, name="Alice"))
    assert (row.email, row.name) == ("none", "")


def test_user_name_that_somebody_has(use, claims_of):
    model = use("CleaningMember", **PROFILE)
    squatter = add(model, username=ALICE)
    user = database_user(claims_of(ALICE, email="alice@example.com"))
    assert user != squatter
    assert user.username.startswith(f"{ALICE}-")
    assert user.email == "alice@example.com"
    assert database_user(claims_of(ALICE)) == user


def test_hidden_row_is_inactive(use, claims_of):
    use("CleaningMember")
    database_user(claims_of(ALICE))
    get_user_model().objects.update(is_active=False)
    assert is_inactive(claims_of(ALICE))


def test_rule_of_the_project_is_its_own_error(use, claims_of):
    """As a constraint's; it is no fault of the caller."""
    use("CleaningMember")
    with pytest.raises(ValidationError):
        database_user(claims_of("user_refused"))


def test_column_that_validation_asks_for(use, claims_of, caplog):
    model = use("CleaningNeedsTitle", USER_FIELDS={"title": "title", "email": "email"})
    assert is_unknown(claims_of(ALICE))
    assert misfits(caplog) == [("accounts.CleaningNeedsTitle.title", "row_does_not_fit")]
    add(model, username="other", title="dr", email="alice@example.com")
    row = database_user(claims_of(ALICE, title="dr", email="alice@example.com"))
    assert (row.title, row.email) == ("dr", None)


# Columns that cannot hold what is written


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ("ShortIdMember", "clerk_id"),
        ("UuidMember", "clerk_id"),
        ("NumberMember", "clerk_id"),
        ("ShortNameMember", "username"),
        ("NumberNameMember", "username"),
        ("AddressMember", "email"),
        ("Member", "id"),
    ],
)
def test_id_that_its_column_cannot_hold(model, field, use, claims_of, caplog):
    rows = use(model, USER_ID_FIELD=field)
    for _ in range(2):
        assert is_unknown(claims_of(ALICE))
    assert not rows._base_manager.exists()
    assert misfits(caplog) == [(f"accounts.{model}.{field}", "id_does_not_fit")]


@pytest.mark.parametrize("model", ["ShortIdMember", "UuidMember", "NumberMember"])
def test_id_that_its_column_cannot_hold_is_not_linked(model, use, claims_of, caplog):
    row = use(model).objects.create(username=7)
    with pytest.raises(LinkRefused, match="cannot be linked"):
        link(row, claims_of(ALICE))
    row.refresh_from_db()
    assert row.clerk_id is None
    assert misfits(caplog) == [(f"accounts.{model}.clerk_id", "id_does_not_fit")]


@pytest.mark.parametrize("user_id", ["042", "+42", "4_2", "\u0664\u0662", "42.0", "4" * 200])
def test_number_in_another_spelling_is_another_id(user_id, use, claims_of):
    """``int`` reads more than digits."""
    model = use("NumberMember")
    model.objects.create(username=1, clerk_id=42)
    assert is_unknown(claims_of(user_id), existing_user)
    assert existing_user(claims_of("42")).username == 1


def test_uuid_in_another_spelling_is_another_id(use, claims_of):
    own = uuid.UUID("6e1c5a3e-8f0b-4f57-9d1c-1c2d3e4f5a6b")
    use("UuidMember").objects.create(username="alice", clerk_id=own)
    assert existing_user(claims_of(str(own))).username == "alice"
    for spelling in (own.hex, str(own).upper(), f"{{{own}}}", f"urn:uuid:{own}"):
        assert is_unknown(claims_of(spelling), existing_user)


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("NumberNameMember", "username"),
        ("TenantMember", "tenant,joined"),
    ],
)
def test_new_row_that_cannot_be(model, fields, use, claims_of, caplog):
    rows = use(model)
    for _ in range(2):
        assert is_unknown(claims_of(ALICE))
    assert not rows.objects.exists()
    named = ",".join(f"accounts.{model}.{field}" for field in fields.split(","))
    ((found, reason),) = misfits(caplog)
    assert found.startswith(named)
    assert reason == "row_does_not_fit"


@pytest.mark.parametrize(
    ("model", "field"), [("ShortNameMember", "username"), ("ShortPasswordMember", "password")]
)
def test_value_that_is_too_long_for_its_column(model, field, use, claims_of, caplog):
    """SQLite does not count characters."""
    use(model)
    if connection.vendor == "sqlite":
        assert database_user(claims_of(ALICE)).clerk_id == ALICE
    else:
        assert is_unknown(claims_of(ALICE))
        assert misfits(caplog) == [(f"accounts.{model}.{field}", "row_does_not_fit")]


def test_user_id_that_is_longer_than_clerks(use, claims_of, caplog):
    use("Member")
    long = "user_" + "a" * 200
    if connection.vendor == "sqlite":
        assert database_user(claims_of(long)).clerk_id == long
    else:
        assert is_unknown(claims_of(long))
        assert misfits(caplog) == [("accounts.Member.username", "row_does_not_fit")]
    use("Member", USER_ID_FIELD="username")
    assert is_unknown(claims_of(long + "b"))


def test_row_that_is_there_needs_no_column_to_fit(use, claims_of):
    rows = use("TenantMember")
    row = rows.objects.create(
        username="a", clerk_id=ALICE, tenant=1, joined="2026-01-01", email="a@b.example"
    )
    assert database_user(claims_of(ALICE)) == existing_user(claims_of(ALICE)) == row


def test_second_row_that_would_share_the_empty_string(use, claims_of, caplog):
    model = use("ContactMember")
    assert database_user(claims_of("user_first")).email == ""
    assert is_unknown(claims_of(ALICE))
    assert model.objects.count() == 1
    assert misfits(caplog) == [("accounts.ContactMember.email", "row_does_not_fit")]


def test_model_that_fills_its_columns_itself(use, claims_of, django_assert_num_queries):
    use("SelfFillingMember")
    row = database_user(claims_of(ALICE))
    with django_assert_num_queries(1):
        assert database_user(claims_of(ALICE)) == row


def test_value_that_an_index_cannot_hold_is_left_out(use, claims_of):
    """Nobody else's, and not too long for its column."""
    use("ConstraintMember", USER_FIELDS={"site": "site", "nick": "nick"})
    long = secrets.token_urlsafe(6000)
    for _ in range(2):
        row = database_user(claims_of(ALICE, site=long, nick="8"))
        row.refresh_from_db()
        assert (row.site, row.nick) == (long if connection.vendor == "sqlite" else None, "8")


@pytest.mark.parametrize("nick", ["8", "6", "six", "\u0668"])
def test_validator_may_refuse_in_its_own_way(nick, use, claims_of):
    use("ConstraintMember", USER_FIELDS={"nick": "nick"})
    row = database_user(claims_of(ALICE, nick=nick))
    assert row.nick == (nick if nick in ("8", "\u0668") else "")


# An address as user name


def test_address_of_a_new_row_cannot_exist(use, claims_of):
    use("AddressMember")
    user = database_user(claims_of(ALICE))
    assert user.email == f"{ALICE}@clerk.invalid"
    user.full_clean()
    assert database_user(claims_of(ALICE)) == user


def test_address_of_a_new_row_is_valid_whatever_the_id(use, claims_of):
    use("AddressMember")
    for user_id in ("user_<script>", "user_é", "user.@", "user_" + "a" * 200):
        validate_email(database_user(claims_of(user_id)).email)


def test_address_that_somebody_has_is_theirs(use, claims_of):
    model = use("AddressMember", USER_FIELDS={"email": "email"})
    other = model.objects.create(email="alice@example.com")
    squatter = model.objects.create(email=f"{ALICE}@clerk.invalid")
    user = database_user(claims_of(ALICE, email="alice@example.com"))
    assert user not in (other, squatter)
    assert user.email.startswith(f"{ALICE}-")
    assert user.email.endswith("@clerk.invalid")
    other.delete()
    assert database_user(claims_of(ALICE, email="alice@example.com")).email == "alice@example.com"


# What came to nothing is not tried by each request


@pytest.mark.parametrize("model", ["Member", "CleaningMember"])
def test_taken_address_costs_next_requests_nothing(model, use, claims_of, caplog):
    rows = use(model, **PROFILE)
    add(rows, username="alice", email="alice@example.com")
    claims = claims_of(ALICE, email="alice@example.com", name="Alice")
    database_user(claims)
    for _ in range(3):
        with CaptureQueriesContext(connection) as asked:
            assert database_user(claims).email is None
        assert verbs(asked) == ["SELECT"]
    taken = [r for r in caplog.records if getattr(r, "event", "") == "profile_field_taken"]
    assert len(taken) == 1


def test_other_values_are_written_all_the_same(use, claims_of):
    rows = use("Member", **PROFILE)
    add(rows, username="alice", email="alice@example.com")
    database_user(claims_of(ALICE, email="alice@example.com", name="Alice"))
    with CaptureQueriesContext(connection) as asked:
        row = database_user(claims_of(ALICE, email="alice@example.com", name="Alice B."))
    assert verbs(asked) == ["SELECT", "SAVEPOINT", "UPDATE", "RELEASE"]
    assert row.name == "Alice B."


def test_model_that_stores_small_letters_is_written_once(use, claims_of):
    use("SmallLettersMember", **PROFILE)
    claims = claims_of(ALICE, email="Alice@Example.com", name="Alice")
    with CaptureQueriesContext(connection) as asked:
        database_user(claims)
    assert "UPDATE" not in verbs(asked)
    # The instance did not say what the field stores: it is learned here.
    database_user(claims)
    for _ in range(3):
        with CaptureQueriesContext(connection) as asked:
            row = database_user(claims)
        assert verbs(asked) == ["SELECT"]
        assert (row.email, row.name) == ("alice@example.com", "alice")


def test_row_that_others_change_follows_its_claims_again(use, claims_of):
    model = use("SmallLettersMember", **PROFILE)
    claims = claims_of(ALICE, email="Alice@Example.com")
    for _ in range(3):
        database_user(claims)
    for edited in ("edited@example.com", "again@example.com"):
        model.objects.update(email=edited)
        assert database_user(claims).email == "alice@example.com"
    changed = claims_of(ALICE, email="Bob@example.com")
    assert database_user(changed).email == "bob@example.com"
    assert database_user(claims).email == "alice@example.com"
