"""Who the caller is to Django: the row that the user id alone names."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError

from clerk_auth.core.claims import Claims
from clerk_auth.core.errors import TokenRejected
from clerk_auth.users import (
    LinkRefused,
    UserResolver,
    database_user,
    existing_user,
    get_user_resolver,
    link,
    stateless_user,
)
from tests.accounts.models import KeyedMember, Member

pytestmark = pytest.mark.integration

CLERK_AUTH = {"FRONTEND_API": "clerk.example.com"}


@pytest.fixture
def database(settings, db):
    settings.CLERK_AUTH = {**CLERK_AUTH, "USER_RESOLVER": "clerk_auth.users.database_user"}
    # Passwords of these tests are hashed quickly.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    return settings


def refusal(claims: Claims, resolve: UserResolver = database_user) -> str:
    with pytest.raises(TokenRejected) as caught:
        resolve(claims)
    return caught.value.code


@pytest.mark.usefixtures("database")
def test_first_request_creates_the_row(claims_of):
    user = database_user(claims_of("user_alice"))
    assert list(User.objects.all()) == [user]
    assert user.username == "user_alice"
    assert not user.has_usable_password()
    assert user.is_active
    assert not user.is_staff
    assert not user.is_superuser


@pytest.mark.usefixtures("database")
def test_next_requests_cost_one_query(claims_of, django_assert_num_queries):
    created = database_user(claims_of("user_alice"))
    with django_assert_num_queries(1):
        assert database_user(claims_of("user_alice", sid="sess_another")) == created
    assert User.objects.count() == 1


@pytest.mark.usefixtures("database")
def test_every_clerk_id_has_a_row_of_its_own(claims_of):
    assert database_user(claims_of("user_alice")) != database_user(claims_of("user_Alice"))
    assert User.objects.count() == 2


@pytest.mark.usefixtures("database")
def test_email_is_neither_linked_nor_stored(claims_of):
    existing = User.objects.create_user("alice", email="alice@example.com", password="local")
    claims = claims_of("user_alice", email="alice@example.com", username="alice")
    user = database_user(claims)
    assert user != existing
    assert user.email == ""
    existing.refresh_from_db()
    assert existing.email == "alice@example.com"


@pytest.mark.usefixtures("database")
def test_claims_make_nobody_staff(claims_of):
    user = database_user(claims_of("user_alice", is_staff=True, is_superuser=True, role="admin"))
    assert not user.is_staff
    assert not user.is_superuser


@pytest.mark.usefixtures("database")
def test_inactive_user_is_refused(claims_of):
    User.objects.filter(pk=database_user(claims_of("user_alice")).pk).update(is_active=False)
    assert refusal(claims_of("user_alice")) == "user_inactive"


@pytest.mark.usefixtures("database")
def test_row_with_a_password_found_by_user_name_is_refused(claims_of):
    """Somebody may have signed up locally under the id of the victim."""
    User.objects.create_user("user_alice", password="of the attacker")
    assert refusal(claims_of("user_alice")) == "user_inactive"
    assert User.objects.count() == 1


@pytest.mark.usefixtures("database")
def test_row_without_a_password_found_by_user_name_is_taken(claims_of):
    existing = User.objects.create_user("user_alice")
    assert database_user(claims_of("user_alice")) == existing


@pytest.mark.usefixtures("members")
def test_dedicated_field_holds_the_id(claims_of, django_assert_num_queries):
    user = database_user(claims_of("user_alice"))
    assert user.clerk_id == "user_alice"
    assert not user.has_usable_password()
    with django_assert_num_queries(1):
        assert database_user(claims_of("user_alice")) == user


@pytest.mark.usefixtures("members")
def test_row_found_by_the_dedicated_field_may_have_a_password(claims_of):
    existing = Member(username="alice", clerk_id="user_alice")
    existing.set_password("local")
    existing.save()
    assert database_user(claims_of("user_alice")) == existing
    existing.is_active = False
    existing.save()
    assert refusal(claims_of("user_alice")) == "user_inactive"


@pytest.mark.usefixtures("members")
def test_local_user_of_that_name_is_never_taken_for_the_caller(claims_of):
    """Whoever signs up locally under a Clerk id neither becomes its owner nor locks them out."""
    squatter = Member(username="user_alice")
    squatter.set_password("of the attacker")
    squatter.save()
    user = database_user(claims_of("user_alice"))
    assert user != squatter
    assert user.clerk_id == "user_alice"
    assert not user.has_usable_password()
    assert database_user(claims_of("user_alice")) == user
    squatter.refresh_from_db()
    assert squatter.clerk_id is None


def test_resolver_of_the_settings_is_used(settings):
    settings.CLERK_AUTH = CLERK_AUTH
    assert get_user_resolver() is stateless_user
    settings.CLERK_AUTH = {**CLERK_AUTH, "USER_RESOLVER": "clerk_auth.users.database_user"}
    assert get_user_resolver() is database_user


# Models of other projects


@pytest.fixture
def members(database):
    """A field for Clerk's id alone, unique."""
    database.AUTH_USER_MODEL = "accounts.Member"
    database.CLERK_AUTH = {**database.CLERK_AUTH, "USER_ID_FIELD": "clerk_id"}


@pytest.fixture
def keyed(database):
    """Clerk's id is the primary key and the user name; the manager hides inactive rows."""
    database.AUTH_USER_MODEL = "accounts.KeyedMember"


@pytest.mark.usefixtures("keyed")
def test_clerks_id_may_be_the_primary_key(claims_of, django_assert_num_queries):
    user = database_user(claims_of("user_alice"))
    assert (user.pk, user.get_username()) == ("user_alice", "user_alice")
    with django_assert_num_queries(1):
        assert database_user(claims_of("user_alice")) == user


@pytest.mark.usefixtures("keyed")
@pytest.mark.parametrize("resolve", [database_user, existing_user])
def test_row_that_the_manager_hides_is_refused(resolve, claims_of):
    database_user(claims_of("user_alice"))
    KeyedMember._base_manager.update(is_active=False)
    assert refusal(claims_of("user_alice"), resolve) == "user_inactive"
    assert KeyedMember._base_manager.count() == 1


@pytest.mark.usefixtures("members")
def test_constraint_that_refuses_every_row_is_an_error(claims_of):
    """It is no fault of the caller."""
    with pytest.raises(IntegrityError):
        database_user(claims_of("user_refused"))


# Rows that are there already


@pytest.mark.usefixtures("members")
def test_existing_user_is_found_and_none_is_created(claims_of, django_assert_num_queries):
    assert refusal(claims_of("user_alice"), existing_user) == "user_unknown"
    assert not Member.objects.exists()
    member = Member.objects.create(username="alice", clerk_id="user_alice")
    with django_assert_num_queries(1):
        assert existing_user(claims_of("user_alice")) == member
    Member.objects.update(is_active=False)
    assert refusal(claims_of("user_alice"), existing_user) == "user_inactive"


@pytest.mark.usefixtures("database")
def test_existing_user_found_by_user_name_has_no_password(claims_of):
    User.objects.create_user("user_alice", password="of the attacker")
    assert refusal(claims_of("user_alice"), existing_user) == "user_inactive"


@pytest.mark.usefixtures("members")
@pytest.mark.parametrize("none", [None, ""])
def test_link_makes_one_user_of_two_identities(none, claims_of):
    member = Member.objects.create(username="alice", clerk_id=none)
    link(member, claims_of("user_alice"))
    assert member.clerk_id == "user_alice"
    assert (
        database_user(claims_of("user_alice")) == existing_user(claims_of("user_alice")) == member
    )
    assert Member.objects.count() == 1


@pytest.mark.usefixtures("members")
def test_link_again_changes_nothing(claims_of):
    member = Member.objects.create(username="alice")
    link(member, claims_of("user_alice"))
    link(member, claims_of("user_alice", sid="sess_another"))
    assert Member.objects.get().clerk_id == "user_alice"


@pytest.mark.usefixtures("members")
def test_link_never_moves_a_row_to_another_clerk_user(claims_of):
    member = Member.objects.create(username="alice")
    stale = Member.objects.get()
    link(member, claims_of("user_alice"))
    for row in (member, stale):
        with pytest.raises(LinkRefused, match="belongs to another"):
            link(row, claims_of("user_mallory"))
    # Two links at once: the second one had seen the row without an id.
    assert stale.clerk_id is None
    assert Member.objects.get().clerk_id == "user_alice"


@pytest.mark.usefixtures("members")
def test_link_never_gives_a_clerk_user_two_rows(claims_of):
    first = database_user(claims_of("user_alice"))
    member = Member.objects.create(username="alice")
    with pytest.raises(LinkRefused, match="has another account"):
        link(member, claims_of("user_alice"))
    assert member.clerk_id is None
    assert database_user(claims_of("user_alice")) == first
    assert Member.objects.get(pk=member.pk).clerk_id is None


@pytest.mark.usefixtures("members")
def test_link_is_not_made_by_an_impersonator(claims_of):
    member = Member.objects.create(username="mallory")
    with pytest.raises(LinkRefused, match="is impersonated"):
        link(member, claims_of("user_alice", act={"sub": "user_mallory"}))
    assert Member.objects.get().clerk_id is None


@pytest.mark.usefixtures("members")
def test_only_a_row_can_be_linked(claims_of):
    for user in (stateless_user(claims_of("user_alice")), AnonymousUser(), None):
        with pytest.raises(TypeError):
            link(user, claims_of("user_alice"))


@pytest.mark.parametrize(
    ("model", "field"), [("auth.User", "username"), ("accounts.KeyedMember", "id")]
)
def test_link_needs_a_field_for_clerks_id_alone(model, field, database, claims_of):
    database.AUTH_USER_MODEL = model
    database.CLERK_AUTH = {**database.CLERK_AUTH, "USER_ID_FIELD": field}
    user = get_user_model()._base_manager.create(**{field: "alice"})
    with pytest.raises(ImproperlyConfigured, match="USER_ID_FIELD"):
        link(user, claims_of("user_alice"))
    user.refresh_from_db()
    assert user.get_username() == "alice"
