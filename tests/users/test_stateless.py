"""Who the caller is to Django without a database row."""

from __future__ import annotations

from inspect import Parameter, iscoroutinefunction, signature

import pytest
from asgiref.sync import async_to_sync
from django.contrib.admin.models import LogEntry
from django.contrib.auth.decorators import permission_required
from django.contrib.auth.models import AnonymousUser, User
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

from clerk_auth.users import ClerkUser, stateless_user


@pytest.fixture
def alice(claims_of) -> ClerkUser:
    return stateless_user(claims_of("user_alice"))


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


class GrantsAll:
    """A backend that says yes to whoever it is asked about, as one for anonymous users may."""

    def has_perm(self, user, perm, obj=None):
        return True

    has_module_perms = has_perm

    def get_all_permissions(self, user, obj=None):
        return {"auth.add_user"}

    get_user_permissions = get_group_permissions = get_all_permissions


def test_no_backend_is_asked_for_permissions(alice, settings):
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.GrantsAll"]
    assert AnonymousUser().has_perm("auth.add_user")
    test_django_permissions_are_empty_without_a_query(alice)
    test_coroutines_answer_as_their_twins_do(alice)
