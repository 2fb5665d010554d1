"""Users of several Clerk instances in one user model: equal ids are never one row.

``python -m tests.postgres`` runs the same tests on PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.core.validators import validate_email
from django.db import connection
from django.db.models import Model
from rest_framework.test import APIRequestFactory

from clerk_auth.authentication import ClerkAuthentication
from clerk_auth.conf import get_config
from clerk_auth.core.claims import Claims
from clerk_auth.core.errors import ClaimInvalid, TokenRejected, UserInactive, UserUnknown
from clerk_auth.exceptions import InvalidToken
from clerk_auth.issuer.local import LocalIssuer
from clerk_auth.jwks.source import StaticKeySource
from clerk_auth.users import (
    LinkRefused,
    database_user,
    existing_user,
    link,
    read_user_id,
    resolve_user,
    stateless_user,
)
from clerk_auth.users.profile import _note_taken
from clerk_auth.verifier import Verifier
from tests.accounts.models import Imported, Member
from tests.conftest import NOW

pytestmark = [pytest.mark.integration, pytest.mark.django_db]

UUID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
OWN_ID = {"USER_ID_CLAIM": "external_id"}


@pytest.fixture
def use(settings) -> Callable[..., type[Model]]:
    """Configure instances by alias, each with its settings, of which ``None`` is none."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    _note_taken.cache_clear()

    def configure(model: str = "Member", **instances: dict[str, object]) -> type[Model]:
        settings.AUTH_USER_MODEL = model if "." in model else f"accounts.{model}"
        configured = {
            alias: {
                "FRONTEND_API": f"clerk-{number}.example.com",
                "USER_RESOLVER": "clerk_auth.users.database_user",
                "USER_ID_FIELD": "clerk_id",
                **values,
            }
            for number, (alias, values) in enumerate(instances.items())
        }
        for values in configured.values():
            for name in [name for name, value in values.items() if value is None]:
                del values[name]
        settings.CLERK_AUTH = {**configured.pop("default"), "INSTANCES": configured}
        return get_user_model()

    return configure


@pytest.fixture
def both(use) -> type[Member]:
    """Two instances that share one column."""
    return use(default={}, staff={})


@pytest.fixture
def of(private_key) -> Callable[..., Claims]:
    """Make verified claims of an instance in the settings."""

    def make(alias: str, user_id: str = "user_alice", **claims: object) -> Claims:
        config = get_config(alias)
        issuer = LocalIssuer(private_key, config.issuers[0])
        verifier = Verifier(
            StaticKeySource((issuer.verifying_key,)), config.policy, now=lambda: NOW
        )
        return verifier.check(issuer.token(user_id, now=NOW, **claims))

    return make


def misfits(caplog) -> list[tuple[str, str, str | None]]:
    return [
        (record.field, record.reason, record.instance)
        for record in caplog.records
        if getattr(record, "event", "") == "user_column_unfit"
    ]


# One id, two people


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ("auth.User", "username"),
        ("Member", "clerk_id"),
        ("KeyedMember", "id"),
        ("ConstraintMember", "clerk_id"),
        ("FoldingMember", "clerk_id"),
        ("CleaningMember", "clerk_id"),
    ],
)
def test_same_id_in_two_instances_is_two_rows(model, field, use, of, django_assert_num_queries):
    model = use(model, default={"USER_ID_FIELD": field}, staff={"USER_ID_FIELD": field})
    customer, employee = (database_user(of(alias, "user_a")) for alias in ("default", "staff"))
    assert customer != employee
    assert (getattr(customer, field), getattr(employee, field)) == ("user_a", "staff:user_a")
    assert not employee.has_usable_password()
    for resolve in (database_user, existing_user):
        for alias, row in (("default", customer), ("staff", employee)):
            with django_assert_num_queries(1):
                assert resolve(of(alias, "user_a")) == row
    assert model._base_manager.count() == 2


def test_rows_that_are_there_stay_those_of_the_default_instance(use, of, settings):
    use(default={})
    alice = database_user(of("default"))
    use(default={}, staff={})
    assert database_user(of("default")) == existing_user(of("default")) == alice
    assert Member.objects.get().clerk_id == "user_alice"
    with pytest.raises(UserUnknown, match="no_row"):
        existing_user(of("staff"))
    assert Member.objects.count() == 1


@pytest.mark.usefixtures("both")
def test_row_belongs_to_users_of_its_instance_alone(of):
    database_user(of("staff"))
    Member.objects.update(is_active=False)
    with pytest.raises(UserInactive):
        database_user(of("staff"))
    assert database_user(of("default")).is_active


def test_each_instance_has_its_field_and_claim(use, of):
    use(
        "Imported",
        default={"USER_ID_FIELD": "number", **OWN_ID},
        staff={"USER_ID_FIELD": "legacy_id", "USER_ID_CLAIM": "badge"},
    )
    customer = database_user(of("default", external_id="7", badge="8"))
    employee = database_user(of("staff", external_id="7", badge="8"))
    assert (customer.number, customer.legacy_id) == ("7", None)
    assert (employee.number, employee.legacy_id) == (None, "staff:8")
    assert Imported.objects.count() == 2


def test_rows_are_told_apart_over_http(settings, use, local_issuer, private_key):
    use(default={}, staff={})
    staffs = "https://staff.example.com"
    issuers = {"default": local_issuer, "staff": LocalIssuer.generate(staffs)}
    keys = {
        alias: {"ISSUER": issuer.issuer, "JWT_KEY": issuer.public_pem.strip()}
        for alias, issuer in issuers.items()
    }
    staff = settings.CLERK_AUTH["INSTANCES"]["staff"] | keys["staff"]
    for values in (staff, settings.CLERK_AUTH):
        values.pop("FRONTEND_API", None)
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, **keys["default"], "INSTANCES": {"staff": staff}}

    class Either(ClerkAuthentication):
        instances = ("default", "staff")

    def ask(authenticator, token):
        request = APIRequestFactory().get("/", headers={"Authorization": f"Bearer {token}"})
        return authenticator.authenticate(request)[0]

    tokens = {alias: issuer.token("user_alice") for alias, issuer in issuers.items()}
    rows = {alias: ask(Either(), token) for alias, token in tokens.items()}
    assert [rows[alias].clerk_id for alias in rows] == ["user_alice", "staff:user_alice"]
    assert ask(ClerkAuthentication(), tokens["default"]) == rows["default"]
    with pytest.raises(InvalidToken):
        ask(ClerkAuthentication(), tokens["staff"])
    for forged in (
        LocalIssuer(issuers["staff"]._private_key, local_issuer.issuer).token("user_alice"),
        LocalIssuer(private_key, staffs).token("user_alice"),
        local_issuer.token("staff:user_alice"),
    ):
        with pytest.raises(InvalidToken):
            ask(Either(), forged)
    assert Member.objects.count() == 2


# Values that a caller chose

CHOSEN = ["staff:user_alice", "staff:1", "Staff:user_alice", "staff:", ":user_alice", "a:b:c", ":"]


@pytest.mark.parametrize("value", CHOSEN)
@pytest.mark.parametrize("field", ["clerk_id", "username"])
@pytest.mark.parametrize("resolve", [database_user, existing_user, read_user_id])
def test_value_with_a_colon_is_nobodys_id(resolve, field, value, use, of):
    use(default={**OWN_ID, "USER_ID_FIELD": field}, staff={"USER_ID_FIELD": field})
    alice = database_user(of("staff"))
    for alias in ("default", "staff"):
        use(
            default={**OWN_ID, "USER_ID_FIELD": field},
            staff={**OWN_ID, "USER_ID_FIELD": field},
        )
        with pytest.raises(ClaimInvalid) as caught:
            resolve(of(alias, "user_mallory", external_id=value))
        assert (caught.value.claim, caught.value.reason) == ("external_id", "malformed")
    assert list(Member.objects.all()) == [alice]


def test_value_with_a_colon_cannot_be_linked(use, of):
    use(default=OWN_ID, staff={})
    row = Member.objects.create(username="mallory")
    with pytest.raises(ClaimInvalid):
        link(row, of("default", "user_mallory", external_id="staff:user_alice"))
    assert Member.objects.get().clerk_id is None


def test_with_one_instance_a_colon_is_a_character(use, of):
    use(default=OWN_ID)
    user = database_user(of("default", external_id="staff:user_alice"))
    assert (user.clerk_id, user.username) == ("staff:user_alice",) * 2


@pytest.mark.parametrize("value", ["staff\uff1auser_alice", "staff.user_alice", "staffuser_alice"])
def test_value_that_only_looks_like_an_id_of_another_instance_has_its_own_row(value, use, of):
    use(default=OWN_ID, staff={})
    alice = database_user(of("staff"))
    assert database_user(of("default", external_id=value)) != alice
    assert database_user(of("staff")) == alice


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite folds ASCII alone")
def test_database_that_takes_another_character_for_the_colon(use, of):
    use("FoldingMember", default=OWN_ID, staff={})
    alice = database_user(of("staff"))
    with pytest.raises(UserInactive, match="other_id"):
        database_user(of("default", external_id="staff\uff1auser_alice"))
    assert database_user(of("staff")) == alice


# Columns that cannot hold an alias


@pytest.mark.parametrize(
    ("field", "alias", "value"),
    [
        ("number", "staff", "7"),
        ("uuid", "staff", UUID),
        ("id", "staff", UUID),
        # Python reads a UUID with this in front, too.
        ("uuid", "uuid", UUID),
        ("uuid", "urn", UUID),
        ("email", "staff", "someone@example.com"),
        ("legacy_id", "a" * 32, "7"),
    ],
)
@pytest.mark.parametrize("resolve", [database_user, existing_user])
def test_column_without_room_for_an_alias(resolve, field, alias, value, use, of, caplog):
    values = {**OWN_ID, "USER_ID_FIELD": field}
    model = use("Imported", default=values, **{alias: values})
    with pytest.raises(TokenRejected) as caught:
        resolve(of(alias, external_id=value))
    assert caught.value.code == "user_unknown"
    assert not model.objects.exists()
    if resolve is database_user:
        label = f"accounts.{model.__name__}.{field}"
        assert misfits(caplog) == [(label, "id_does_not_fit", alias)]
    row = model.objects.create(email="alice@example.com")
    with pytest.raises((LinkRefused, ImproperlyConfigured)):
        link(row, of(alias, external_id=value))


@pytest.mark.parametrize("model", ["NumberMember", "UuidMember", "ShortIdMember"])
def test_column_without_room_for_clerks_ids(model, use, of, caplog):
    model = use(model, default=OWN_ID, staff={})
    with pytest.raises(UserUnknown, match="unfit"):
        database_user(of("staff", "user_2aLiCeDeFgHiJkLmNoPqRs"))
    assert misfits(caplog) == [(f"{model._meta.label}.clerk_id", "id_does_not_fit", "staff")]
    assert not model.objects.exists()


def test_key_that_the_database_numbers_is_for_the_default_instance(use, of):
    values = {**OWN_ID, "USER_ID_FIELD": "id"}
    use("auth.User", default=values, staff=values)
    alice = User.objects.create_user("alice")
    assert existing_user(of("default", external_id=str(alice.pk))) == alice
    for resolve in (existing_user, database_user):
        with pytest.raises(UserUnknown, match="unfit"):
            resolve(of("staff", external_id=str(alice.pk)))


@pytest.mark.parametrize(("length", "fits"), [(5, True), (6, True), (7, False)])
def test_value_fits_with_its_alias(length, fits, use, of):
    values = {**OWN_ID, "USER_ID_FIELD": "legacy_id"}
    use("Imported", default=values, staff=values)
    claims = of("staff", external_id="x" * length)
    if fits:
        assert database_user(claims).legacy_id == f"staff:{'x' * length}"
    else:
        with pytest.raises(ClaimInvalid, match="unfit"):
            database_user(claims)


def test_longest_alias_and_id_of_clerk_fit_where_the_docs_say(use, of):
    alias = "a" * 32
    use("KeyedMember", default={"USER_ID_FIELD": "id"}, **{alias: {"USER_ID_FIELD": "id"}})
    value = "user_" + "x" * 217
    assert len(database_user(of(alias, value)).id) == 255


# User names and addresses


@pytest.mark.usefixtures("both")
def test_user_name_is_that_of_the_instance(of):
    squatter = Member.objects.create(username="staff:user_bob")
    assert database_user(of("default")).username == "user_alice"
    assert database_user(of("staff")).username == "staff:user_alice"
    bob = database_user(of("staff", "user_bob"))
    assert bob != squatter
    assert bob.username.startswith("staff:user_bob-")


def test_address_is_that_of_the_instance(use, of):
    use("AddressMember", default={}, staff={}, a_b={})
    emails = [database_user(of(alias)).email for alias in ("default", "staff", "a_b")]
    assert emails == [
        "user_alice@clerk.invalid",
        '"staff:user_alice"@clerk.invalid',
        '"a_b:user_alice"@clerk.invalid',
    ]
    for email in emails:
        validate_email(email)


@pytest.mark.parametrize(
    ("model", "id_field", "name"),
    [("Member", "clerk_id", "username"), ("Imported", "legacy_id", "email")],
)
def test_name_that_one_instance_makes_is_no_id_of_another(model, id_field, name, use, of):
    """The row has no password, so that whoever finds it by user name has it."""
    by_name = {**OWN_ID, "USER_ID_FIELD": name}
    staff = {**OWN_ID, "USER_ID_FIELD": id_field}
    model = use(model, default=by_name, staff=staff, other=by_name)
    alice = database_user(of("staff", external_id="a"))
    with pytest.raises(ClaimInvalid):
        database_user(of("default", external_id=getattr(alice, name)))
    with pytest.raises(TokenRejected):
        database_user(of("other", external_id=getattr(alice, name)))
    assert list(model.objects.all()) == [alice]


# Profiles


def test_each_instance_has_its_profile_fields(use, of, caplog):
    use(
        default={"USER_FIELDS": {"name": "name"}},
        staff={"USER_FIELDS": {"email": "mail", "title": "title"}},
    )
    claims = {"name": "Alice", "mail": "alice@example.com", "title": "dr"}
    customer, employee = (database_user(of(alias, **claims)) for alias in ("default", "staff"))
    assert (customer.name, customer.email, customer.title) == ("Alice", None, "")
    assert (employee.name, employee.email, employee.title) == ("", "alice@example.com", "dr")
    with caplog.at_level("WARNING", "clerk_auth"):
        bob = database_user(of("staff", "user_bob"))
        assert database_user(of("staff", "user_bob", mail="alice@example.com")) == bob
    assert [record.user for record in caplog.records] == ["staff:user_bob"]


@pytest.mark.parametrize(
    ("staff", "is_refused"),
    [
        ({"USER_ID_FIELD": None}, True),
        ({"USER_ID_FIELD": "username", "USER_RESOLVER": "clerk_auth.users.stateless_user"}, True),
        ({"USER_ID_FIELD": None, "USER_RESOLVER": "tests.checks.test_users.own_resolver"}, True),
        ({"USER_ID_FIELD": None, "USER_RESOLVER": "clerk_auth.users.stateless_user"}, False),
        ({"USER_ID_FIELD": "clerk_id"}, False),
    ],
)
def test_no_claim_writes_what_another_instance_finds_users_by(staff, is_refused, use, of):
    """Or whoever customises a token of one instance becomes any user of the other."""
    use(default={"USER_FIELDS": {"username": "name"}}, staff=staff)
    claims = of("default", "user_mallory", name="staff:user_alice")
    if is_refused:
        with pytest.raises(ImproperlyConfigured, match="instance 'staff' are found"):
            database_user(claims)
        assert not Member.objects.exists()
    else:
        assert database_user(claims).username == "staff:user_alice"


# Linking


@pytest.mark.usefixtures("both")
def test_link_writes_the_id_of_the_claims_instance(of):
    row = Member.objects.create(username="alice")
    for _ in range(2):
        link(row, of("staff"))
    assert Member.objects.get().clerk_id == "staff:user_alice"
    assert existing_user(of("staff")) == row
    with pytest.raises(UserUnknown):
        existing_user(of("default"))
    with pytest.raises(LinkRefused, match="belongs to another"):
        link(row, of("default"))
    assert Member.objects.get().clerk_id == "staff:user_alice"


def test_one_person_in_two_instances_needs_two_fields(use, of):
    use(default={}, staff={"USER_ID_FIELD": "code"})
    row = Member.objects.create(username="alice", code="")
    link(row, of("default", "user_a"))
    link(row, of("staff", "user_b"))
    assert existing_user(of("default", "user_a")) == existing_user(of("staff", "user_b")) == row
    for claims in (of("default", "user_b"), of("staff", "user_a")):
        with pytest.raises(UserUnknown):
            existing_user(claims)
    with pytest.raises(LinkRefused, match="another account"):
        link(Member.objects.create(username="second", code=""), of("staff", "user_b"))


def test_link_names_the_setting_of_the_instance(use, of):
    use(default={}, staff={"USER_ID_FIELD": "username"})
    row = Member.objects.create(username="alice")
    with pytest.raises(ImproperlyConfigured, match=r"INSTANCES\.staff\.USER_ID_FIELD"):
        link(row, of("staff"))


# Resolvers


@pytest.mark.parametrize("resolver", ["make_nobody", "OWN_ID"])
def test_resolver_that_gives_no_user_is_named_with_its_instance(resolver, use, of):
    broken = {"USER_RESOLVER": f"{__name__}.{resolver}"}
    use(default=broken, staff={})
    assert resolve_user(of("staff")) == Member.objects.get()
    with pytest.raises(ImproperlyConfigured, match=r"CLERK_AUTH\['USER_RESOLVER'\]"):
        resolve_user(of("default"))
    use(default={}, staff=broken)
    with pytest.raises(ImproperlyConfigured, match=r"\['INSTANCES.staff.USER_RESOLVER'\]"):
        resolve_user(of("staff"))


def make_nobody(claims: Claims) -> str:
    return "nobody"


@pytest.mark.usefixtures("both")
def test_stateless_users_and_rows_have_the_same_key(of):
    for alias in ("default", "staff"):
        assert stateless_user(of(alias)).pk == database_user(of(alias)).clerk_id
