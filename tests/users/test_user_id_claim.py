"""``USER_ID_CLAIM``: rows that were imported under an id of their own."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured

from clerk_auth.conf.readers import Refused, read_id_claim
from clerk_auth.core.errors import ClaimInvalid, UserUnknown
from clerk_auth.users import (
    database_user,
    existing_user,
    link,
    read_user_id,
    stateless_user,
)
from tests.accounts.models import Imported
from tests.operations import count_operations

pytestmark = [pytest.mark.integration, pytest.mark.django_db]

UUID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"


@pytest.fixture
def use(settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

    def configure(field: str | None, claim: str = "external_id", model="accounts.Imported"):
        settings.AUTH_USER_MODEL = model
        named = {"USER_ID_FIELD": field} if field else {}
        settings.CLERK_AUTH = {"FRONTEND_API": "clerk.example.com", "USER_ID_CLAIM": claim, **named}

    return configure


# The setting


@pytest.mark.parametrize(
    "name",
    [
        *("sub", "external_id", "externalId", "legacy_id", "app_user_id", "uid", "organizer_id"),
        "https://example.com/user_id",
    ],
)
def test_claims_that_a_project_put_there_are_taken(name):
    assert read_id_claim(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("unsafe_metadata", "unsafeMetadata", "user.unsafe_metadata.id", "UNSAFE-METADATA"),
        *("{{user.unsafe_metadata.id}}", "{{user.external_id}}", "unsafe metadata"),
        *("iss", "aud", "exp", "nbf", "iat", "jti", "azp", "sid", "sts", "v", "fva", "act"),
        *("o", "fea", "pla", "org_id", "orgId", "org_slug", "org_role", "org_permissions"),
        *("organization_id", "organization.external_id", "Sub", "SUB"),
        *("email", "email_address", "primaryEmailAddress", "phone_number", "username", "name"),
        *("first_name", "fullName", "preferred_username", "slug", "role"),
        *("", " ", " sub", "sub ", "external id", "external\u202eid", "a\x00", "x" * 256),
        *(None, 1, True, ["sub"], {"sub": "sub"}),
    ],
)
def test_names_of_other_claims_are_refused_and_not_repeated(name):
    with pytest.raises(Refused) as caught:
        read_id_claim(name)
    if isinstance(name, str) and len(name) > 4 and name == name.strip():
        assert name not in caught.value.message + caught.value.hint


def test_refused_name_stops_the_first_use(use, claims_of):
    use("legacy_id", "unsafe_metadata")
    with pytest.raises(ImproperlyConfigured, match="USER_ID_CLAIM"):
        existing_user(claims_of("user_alice", unsafe_metadata="1"))


# The value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("legacy_id", value) for value in ("7", "auth0|5f7c8e", "x" * 12)),
        *(("number", "7"), ("number", "0"), ("uuid", UUID), ("id", UUID)),
        ("email", "someone@example.com"),
    ],
)
def test_value_that_fits_its_column_is_taken_as_it_is(field, value, use, claims_of):
    use(field)
    assert read_user_id(claims_of("user_alice", external_id=value)) == value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("legacy_id", value) for value in ("", " ", "a b", "a\x00", "a\u202eb", "x" * 13)),
        *(("legacy_id", value) for value in (None, 7, 7.0, True, ["7"], {"id": "7"}, [], {})),
        *(("number", value) for value in ("+7", "07", "7 ", "7_0", "\u0667", "7.0", "-1", "seven")),
        *(("number", value) for value in ("9" * 19, "9" * 255, 7, "NaN", "1e3")),
        *(("uuid", value) for value in (UUID.upper(), UUID.replace("-", ""), f"{{{UUID}}}", "7")),
    ],
)
@pytest.mark.parametrize("resolve", [existing_user, database_user])
def test_malformed_value_is_the_callers_fault(resolve, field, value, use, claims_of):
    use(field)
    with pytest.raises(ClaimInvalid) as caught:
        resolve(claims_of("user_alice", external_id=value))
    assert caught.value.claim == "external_id"
    assert not Imported.objects.exists()


@pytest.mark.parametrize("resolve", [existing_user, database_user])
def test_missing_claim_does_not_fall_back_to_clerks_id(resolve, use, claims_of):
    use("legacy_id")
    Imported.objects.create(email="alice@example.com", legacy_id="user_alice")
    with pytest.raises(ClaimInvalid, match="external_id missing"):
        resolve(claims_of("user_alice"))


def test_clerks_id_costs_no_parse(settings, claims_of):
    settings.CLERK_AUTH = {"FRONTEND_API": "clerk.example.com"}
    claims = claims_of("user_alice")
    assert count_operations(lambda: read_user_id(claims)) == {}
    assert read_user_id(claims) == "user_alice"


# The row


@pytest.mark.parametrize(
    ("field", "value"), [("legacy_id", "alice-1"), ("number", "7"), ("uuid", UUID), ("id", UUID)]
)
def test_row_is_found_by_the_claim_alone(field, value, use, claims_of, django_assert_num_queries):
    use(field)
    Imported.objects.create(email="alice@example.com", **{field: value})
    alice = Imported.objects.get()
    with django_assert_num_queries(1):
        assert existing_user(claims_of("user_any", external_id=value)) == alice
    with django_assert_num_queries(1):
        assert database_user(claims_of("user_any", external_id=value)) == alice
    with pytest.raises(UserUnknown):
        existing_user(claims_of("user_any", external_id=value[:-1] + "8"))


def test_key_that_the_database_numbers_is_looked_up_and_never_inserted(use, claims_of):
    use("id", model="auth.User")
    alice = User.objects.create_user("alice", password="local")
    claims = claims_of("user_alice", external_id=str(alice.pk))
    assert existing_user(claims) == alice
    with pytest.raises(ImproperlyConfigured, match="existing_user"):
        database_user(claims)
    with pytest.raises(UserUnknown):
        existing_user(claims_of("user_alice", external_id=str(2**30)))
    assert User.objects.count() == 1


@pytest.mark.parametrize(("field", "value"), [("legacy_id", "alice-1"), ("number", "7")])
def test_new_row_has_the_claim_for_id_and_user_name(field, value, use, claims_of):
    use(field)
    claims = claims_of("user_alice", external_id=value)
    user = database_user(claims)
    assert str(getattr(user, field)) == value
    # This user name is an e-mail address.
    assert user.email == f"{value}@clerk.invalid"
    assert not user.has_usable_password()
    assert database_user(claims) == existing_user(claims) == user
    assert Imported.objects.count() == 1


def test_user_name_that_the_claim_names_opens_no_row_with_a_password(use, claims_of):
    use(None, model="auth.User")
    get_user_model().objects.create_user("alice", password="of somebody")
    with pytest.raises(Exception, match="password"):
        existing_user(claims_of("user_mallory", external_id="alice"))


@pytest.mark.parametrize(
    ("field", "value"), [("legacy_id", "a-1"), ("number", "7"), ("uuid", UUID)]
)
def test_link_writes_what_the_resolver_looks_for(field, value, use, claims_of):
    use(field)
    alice = Imported.objects.create(email="alice@example.com")
    claims = claims_of("user_alice", external_id=value)
    for _ in range(2):
        link(alice, claims)
    assert existing_user(claims) == alice
    with pytest.raises(ClaimInvalid):
        link(alice, claims_of("user_alice"))


def test_stateless_user_is_clerks_id_as_ever(use, claims_of):
    use("legacy_id")
    assert stateless_user(claims_of("user_alice", external_id="7")).pk == "user_alice"
