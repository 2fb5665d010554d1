"""Who the caller is to Django: an object without a row, or the row that the user id alone names."""

from __future__ import annotations

from inspect import Parameter, iscoroutinefunction, signature

import pytest
from asgiref.sync import async_to_sync
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import permission_required
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError
from django.http import HttpResponse
from django.template import Context, Template
from django.test import AsyncClient
from django.urls import path
from rest_framework.permissions import (
    DjangoModelPermissions,
    DjangoModelPermissionsOrAnonReadOnly,
    IsAdminUser,
    IsAuthenticated,
)
from rest_framework.renderers import BrowsableAPIRenderer
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.throttling import AnonRateThrottle, UserRateThrottle
from rest_framework.views import APIView

from clerk_auth.core.claims import Claims
from clerk_auth.core.errors import TokenRejected
from clerk_auth.users import (
    ClerkUser,
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
def alice(claims_of) -> ClerkUser:
    return stateless_user(claims_of("user_alice"))


# The stateless user


def test_user_is_known_by_clerks_id(alice):
    assert {alice.pk, alice.id, alice.username, alice.get_username(), str(alice)} == {"user_alice"}
    assert alice.claims.user_id == "user_alice"
    assert repr(alice).startswith("<ClerkUser: user_alice (no database row: ")


def test_user_is_authenticated_and_has_no_privileges(alice):
    assert alice.is_authenticated
    assert alice.is_active
    assert not alice.is_anonymous
    assert not alice.is_staff
    assert not alice.is_superuser


def test_users_are_equal_by_id_alone(alice, claims_of):
    again = stateless_user(claims_of("user_alice", sid="sess_another"))
    bob = stateless_user(claims_of("user_bob"))
    assert alice == again
    assert hash(alice) == hash(again)
    assert alice != bob
    assert {alice, again, bob} == {alice, bob}
    assert alice != "user_alice"
    assert alice != AnonymousUser()


def test_user_object_is_a_fresh_one_each_time(claims_of):
    claims = claims_of("user_alice")
    assert stateless_user(claims) is not stateless_user(claims)


def test_user_carries_nothing_but_what_it_was_made_with(alice):
    with pytest.raises(AttributeError):
        alice.is_staff = True
    with pytest.raises(AttributeError):
        alice.nickname = "al"


def test_django_permissions_are_empty_without_a_query(alice):
    """pytest-django refuses any query here."""
    assert not alice.has_perm("auth.add_user")
    assert not alice.has_perm("auth.add_user", obj=alice)
    assert not alice.has_perms(["auth.add_user", "auth.view_user"])
    assert not alice.has_module_perms("auth")
    assert alice.get_user_permissions() == set()
    assert alice.get_group_permissions(alice) == set()
    assert alice.get_all_permissions() == set()
    assert list(alice.groups.all()) == []
    assert list(alice.user_permissions.all()) == []


def test_user_reads_as_an_anonymous_one_does(alice):
    """Whatever Django asks of a user who has no row, it can ask of this one, in the same way."""
    anonymous = AnonymousUser()
    names = [name for name in dir(anonymous) if not name.startswith("_")]
    assert {"ahas_perm", "aget_all_permissions", "has_perm", "groups"} <= set(names)
    for name in names:
        theirs, ours = getattr(anonymous, name), getattr(alice, name)
        assert callable(ours) == callable(theirs), name
        if callable(theirs):
            assert iscoroutinefunction(ours) == iscoroutinefunction(theirs), name
            for argument in signature(theirs).parameters.values():
                assert accepts(ours, argument), f"{name} takes no {argument}"
                signature(ours).bind(*signature(theirs).parameters)


def accepts(function, argument: Parameter) -> bool:
    """Tell whether ``function`` takes an argument by its name too, with the same default."""
    parameters = signature(function).parameters
    taken = parameters.get(argument.name)
    if taken is None:
        return any(other.kind is Parameter.VAR_KEYWORD for other in parameters.values())
    return taken.default == argument.default


def test_coroutines_answer_as_their_twins_do(alice):
    """pytest-django refuses any query here."""
    assert not async_to_sync(alice.ahas_perm)("auth.add_user", obj=alice)
    assert not async_to_sync(alice.ahas_perms)(["auth.add_user"])
    assert async_to_sync(alice.ahas_perms)([]) == alice.has_perms([])
    assert not async_to_sync(alice.ahas_module_perms)("auth")
    for name in ("user", "group", "all"):
        assert async_to_sync(getattr(alice, f"aget_{name}_permissions"))(alice) == set()


@permission_required("auth.add_user", login_url="/login")
async def page(request):
    return HttpResponse()


@permission_required("auth.add_user", raise_exception=True)
async def strict_page(request):
    return HttpResponse()


urlpatterns = [path("page", page), path("strict", strict_page)]


def as_alice(get_response):
    """Stands in for a middleware that authenticates plain views."""

    async def middleware(request):
        async def auser():
            return ClerkUser(as_alice.claims)

        request.auser = auser
        return await get_response(request)

    return middleware


as_alice.async_capable, as_alice.sync_capable = True, False


@pytest.mark.parametrize(("url", "status"), [("/page", 302), ("/strict", 403)])
def test_permission_that_an_async_view_requires_is_refused(url, status, alice, settings):
    settings.ROOT_URLCONF, settings.MIDDLEWARE = __name__, [f"{__name__}.as_alice"]
    as_alice.claims = alice.claims
    assert async_to_sync(AsyncClient(SERVER_NAME="localhost").get)(url).status_code == status


@pytest.mark.parametrize(
    ("method", "arguments"),
    [("save", ()), ("delete", ()), ("set_password", ("x",)), ("check_password", ("x",))],
)
def test_user_without_a_row_cannot_be_changed(alice, method, arguments):
    with pytest.raises(NotImplementedError, match="database_user"):
        getattr(alice, method)(*arguments)


def test_what_needs_a_row_says_which_resolver_gives_one(alice):
    """Django quotes the user where a foreign key is assigned or looked up."""
    remedy = r"user_alice.*no database row.*USER_RESOLVER.*clerk_auth\.users\.database_user"
    with pytest.raises(ValueError, match=remedy):
        LogEntry(user=alice)
    with pytest.raises(TypeError, match=remedy):
        LogEntry.objects.filter(user=alice)


def test_templates_read_the_user(alice):
    text = Template("{{ user }} {{ user.username }} {{ user.get_username }} {{ user.is_staff }}")
    assert text.render(Context({"user": alice})) == "user_alice user_alice user_alice False"


class OneView(APIView):
    queryset = User.objects.all()
    renderer_classes = [BrowsableAPIRenderer]
    permission_classes = [IsAuthenticated]

    def get(self, request):
        return Response({})

    post = get


def request_by(user, method: str = "get", view: type[APIView] = OneView):
    request = getattr(APIRequestFactory(), method)("/")
    force_authenticate(request, user=user)
    return view.as_view()(request)


def test_browsable_api_shows_the_user(alice, settings):
    settings.STATIC_URL = "static/"
    response = request_by(alice)
    assert response.status_code == 200
    assert "user_alice" in response.rendered_content.decode()


def test_browsable_api_escapes_the_user(claims_of, settings):
    settings.STATIC_URL = "static/"
    page = request_by(stateless_user(claims_of("user_<script>"))).rendered_content.decode()
    assert "user_<script>" not in page
    assert "user_&lt;script&gt;" in page


@pytest.mark.parametrize(
    ("permission", "method", "status"),
    [
        (IsAuthenticated, "get", 200),
        (IsAdminUser, "get", 403),
        (DjangoModelPermissions, "get", 200),
        (DjangoModelPermissions, "post", 403),
        (DjangoModelPermissionsOrAnonReadOnly, "get", 200),
        (DjangoModelPermissionsOrAnonReadOnly, "post", 403),
    ],
)
def test_permissions_of_rest_framework_work(permission, method, status, alice):
    view = type("View", (OneView,), {"permission_classes": [permission]})
    assert request_by(alice, method, view).status_code == status


def test_throttles_count_by_clerks_id(alice, claims_of):
    class Throttle(UserRateThrottle):
        rate = "1/min"

    class Anonymous(AnonRateThrottle):
        rate = "1/min"

    def key(throttle, user):
        request = APIRequestFactory().get("/")
        force_authenticate(request, user=user)
        return throttle().get_cache_key(APIView().initialize_request(request), None)

    assert "user_alice" in key(Throttle, alice)
    assert key(Throttle, alice) != key(Throttle, stateless_user(claims_of("user_bob")))
    assert key(Anonymous, alice) is None


def test_throttle_refuses_the_second_request_of_one_user_alone(alice, claims_of):
    class Throttle(UserRateThrottle):
        rate = "1/min"

    view = type("View", (OneView,), {"throttle_classes": [Throttle]})
    bob = stateless_user(claims_of("user_bob"))
    assert [request_by(user, view=view).status_code for user in (alice, alice, bob)] == [
        200,
        429,
        200,
    ]


# The user of the database


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


@pytest.mark.integration
@pytest.mark.usefixtures("database")
def test_first_request_creates_the_row(claims_of):
    user = database_user(claims_of("user_alice"))
    assert list(User.objects.all()) == [user]
    assert user.username == "user_alice"
    assert not user.has_usable_password()
    assert user.is_active
    assert not user.is_staff
    assert not user.is_superuser


@pytest.mark.integration
@pytest.mark.usefixtures("database")
def test_next_requests_cost_one_query(claims_of, django_assert_num_queries):
    created = database_user(claims_of("user_alice"))
    with django_assert_num_queries(1):
        assert database_user(claims_of("user_alice", sid="sess_another")) == created
    assert User.objects.count() == 1


@pytest.mark.integration
@pytest.mark.usefixtures("database")
def test_every_clerk_id_has_a_row_of_its_own(claims_of):
    assert database_user(claims_of("user_alice")) != database_user(claims_of("user_Alice"))
    assert User.objects.count() == 2


@pytest.mark.integration
@pytest.mark.usefixtures("database")
def test_email_is_neither_linked_nor_stored(claims_of):
    existing = User.objects.create_user("alice", email="alice@example.com", password="local")
    claims = claims_of("user_alice", email="alice@example.com", username="alice")
    user = database_user(claims)
    assert user != existing
    assert user.email == ""
    existing.refresh_from_db()
    assert existing.email == "alice@example.com"


@pytest.mark.integration
@pytest.mark.usefixtures("database")
def test_claims_make_nobody_staff(claims_of):
    user = database_user(claims_of("user_alice", is_staff=True, is_superuser=True, role="admin"))
    assert not user.is_staff
    assert not user.is_superuser


@pytest.mark.integration
@pytest.mark.usefixtures("database")
def test_inactive_user_is_refused(claims_of):
    User.objects.filter(pk=database_user(claims_of("user_alice")).pk).update(is_active=False)
    assert refusal(claims_of("user_alice")) == "user_inactive"


@pytest.mark.integration
@pytest.mark.usefixtures("database")
def test_row_with_a_password_found_by_user_name_is_refused(claims_of):
    """Somebody may have signed up locally under the id of the victim."""
    User.objects.create_user("user_alice", password="of the attacker")
    assert refusal(claims_of("user_alice")) == "user_inactive"
    assert User.objects.count() == 1


@pytest.mark.integration
@pytest.mark.usefixtures("database")
def test_row_without_a_password_found_by_user_name_is_taken(claims_of):
    existing = User.objects.create_user("user_alice")
    assert database_user(claims_of("user_alice")) == existing


@pytest.mark.integration
@pytest.mark.usefixtures("members")
def test_dedicated_field_holds_the_id(claims_of, django_assert_num_queries):
    user = database_user(claims_of("user_alice"))
    assert user.clerk_id == "user_alice"
    assert not user.has_usable_password()
    with django_assert_num_queries(1):
        assert database_user(claims_of("user_alice")) == user


@pytest.mark.integration
@pytest.mark.usefixtures("members")
def test_row_found_by_the_dedicated_field_may_have_a_password(claims_of):
    existing = Member(username="alice", clerk_id="user_alice")
    existing.set_password("local")
    existing.save()
    assert database_user(claims_of("user_alice")) == existing
    existing.is_active = False
    existing.save()
    assert refusal(claims_of("user_alice")) == "user_inactive"


@pytest.mark.integration
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


@pytest.mark.integration
@pytest.mark.usefixtures("keyed")
def test_clerks_id_may_be_the_primary_key(claims_of, django_assert_num_queries):
    user = database_user(claims_of("user_alice"))
    assert (user.pk, user.get_username()) == ("user_alice", "user_alice")
    with django_assert_num_queries(1):
        assert database_user(claims_of("user_alice")) == user


@pytest.mark.integration
@pytest.mark.usefixtures("keyed")
@pytest.mark.parametrize("resolve", [database_user, existing_user])
def test_row_that_the_manager_hides_is_refused(resolve, claims_of):
    database_user(claims_of("user_alice"))
    KeyedMember._base_manager.update(is_active=False)
    assert refusal(claims_of("user_alice"), resolve) == "user_inactive"
    assert KeyedMember._base_manager.count() == 1


@pytest.mark.integration
@pytest.mark.usefixtures("members")
def test_constraint_that_refuses_every_row_is_an_error(claims_of):
    """It is no fault of the caller."""
    with pytest.raises(IntegrityError):
        database_user(claims_of("user_refused"))


# Rows that are there already


@pytest.mark.integration
@pytest.mark.usefixtures("members")
def test_existing_user_is_found_and_none_is_created(claims_of, django_assert_num_queries):
    assert refusal(claims_of("user_alice"), existing_user) == "user_unknown"
    assert not Member.objects.exists()
    member = Member.objects.create(username="alice", clerk_id="user_alice")
    with django_assert_num_queries(1):
        assert existing_user(claims_of("user_alice")) == member
    Member.objects.update(is_active=False)
    assert refusal(claims_of("user_alice"), existing_user) == "user_inactive"


@pytest.mark.integration
@pytest.mark.usefixtures("database")
def test_existing_user_found_by_user_name_has_no_password(claims_of):
    User.objects.create_user("user_alice", password="of the attacker")
    assert refusal(claims_of("user_alice"), existing_user) == "user_inactive"


@pytest.mark.integration
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


@pytest.mark.integration
@pytest.mark.usefixtures("members")
def test_link_again_changes_nothing(claims_of):
    member = Member.objects.create(username="alice")
    link(member, claims_of("user_alice"))
    link(member, claims_of("user_alice", sid="sess_another"))
    assert Member.objects.get().clerk_id == "user_alice"


@pytest.mark.integration
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


@pytest.mark.integration
@pytest.mark.usefixtures("members")
def test_link_never_gives_a_clerk_user_two_rows(claims_of):
    first = database_user(claims_of("user_alice"))
    member = Member.objects.create(username="alice")
    with pytest.raises(LinkRefused, match="has another account"):
        link(member, claims_of("user_alice"))
    assert member.clerk_id is None
    assert database_user(claims_of("user_alice")) == first
    assert Member.objects.get(pk=member.pk).clerk_id is None


@pytest.mark.integration
@pytest.mark.usefixtures("members")
def test_link_is_not_made_by_an_impersonator(claims_of):
    member = Member.objects.create(username="mallory")
    with pytest.raises(LinkRefused, match="impersonates"):
        link(member, claims_of("user_alice", act={"sub": "user_mallory"}))
    assert Member.objects.get().clerk_id is None


@pytest.mark.integration
@pytest.mark.usefixtures("members")
def test_only_a_row_can_be_linked(claims_of):
    for user in (stateless_user(claims_of("user_alice")), AnonymousUser(), None):
        with pytest.raises(TypeError):
            link(user, claims_of("user_alice"))


@pytest.mark.integration
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
