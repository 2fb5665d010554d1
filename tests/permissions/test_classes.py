"""Who is let in by what a token grants, on lists and on objects, and that "not" opens no door."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from rest_framework import permissions as drf
from rest_framework.authentication import BaseAuthentication
from rest_framework.decorators import action, api_view, permission_classes
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from clerk_auth import permissions
from clerk_auth.authentication import ClerkAuthentication
from clerk_auth.exceptions import ReverificationRequired
from clerk_auth.permissions import (
    ClerkPermission,
    HasFeature,
    HasPermission,
    HasPlan,
    HasRole,
    IsNotImpersonated,
    IsOrganizationMember,
    IsOwner,
    RequiresReverification,
)
from clerk_auth.users import ClerkUser
from tests.conftest import PARTY
from tests.permissions.conftest import factory

ADMIN, FREE = HasRole("org:admin"), HasPlan("free")
STEP_UP = RequiresReverification("strict")
OWNER = IsOwner("owner_id")

ORGANIZATION = {"id": "org_1", "rol": "admin", "per": "read", "fpm": "1"}
CALLERS: dict[str, dict[str, Any] | None] = {
    "admin": {"o": ORGANIZATION, "fea": "o:reports", "pla": "o:pro", "fva": [0, 0]},
    "stale": {"o": ORGANIZATION, "fva": [99, 99]},
    "alone": {"pla": "u:free", "fva": [0, -1]},
    "impersonated": {"act": {"sub": "user_support"}, "fva": [0, -1]},
    "anonymous": None,
    "other": None,
}
CLERK = {"admin", "stale", "alone", "impersonated"}


class OtherAuthentication(BaseAuthentication):
    """Somebody else's: a user whom Clerk knows nothing of, with claims of another kind."""

    def authenticate(self, request):
        if "HTTP_X_OTHER" in request.META:
            # As full as a careless reading could wish.
            token = SimpleNamespace(has=lambda **asked: True, organization="org_1", actor=None)
            return User(username="other", pk=1), token
        return None


class View(GenericViewSet):
    authentication_classes = [OtherAuthentication, ClerkAuthentication]

    def list(self, request):
        return Response("list")

    def retrieve(self, request):
        self.check_object_permissions(request, SimpleNamespace(owner_id="user_admin"))
        return Response("object")


@pytest.fixture(scope="session")
def tokens(local_issuer) -> dict[str, str]:
    """A token of each caller who has one, for as long as the tests run."""
    signed = {caller: claims for caller, claims in CALLERS.items() if claims is not None}
    return {
        caller: local_issuer.token(f"user_{caller}", azp=PARTY, expires_in=3000, **claims)
        for caller, claims in signed.items()
    }


@pytest.fixture
def ask(tokens):
    """Send a request as one of the callers, and return the response."""

    def send(permission, caller: str, what: str = "list", view=View) -> Response:
        headers = {"HTTP_X_OTHER": "1"} if caller == "other" else {}
        if caller in tokens:
            headers["HTTP_AUTHORIZATION"] = f"Bearer {tokens[caller]}"
        if permission is not None:
            view = type("Asked", (view,), {"permission_classes": [permission]})
        return view.as_view({"get": what})(factory.get("/", **headers)).render()

    return send


@pytest.fixture
def let_in(ask):
    """Return who of the callers is let in, and check that the others are refused properly."""

    def names(permission, what: str = "list") -> set[str]:
        statuses = {caller: ask(permission, caller, what).status_code for caller in CALLERS}
        assert set(statuses.values()) <= {200, 403}
        return {caller for caller, status in statuses.items() if status == 200}

    return names


# Each permission, on a list and on an object

ANSWERS = [
    (HasRole("org:admin"), {"admin", "stale"}),
    (HasRole("admin"), {"admin", "stale"}),
    (HasRole("member"), set()),
    (HasPermission("org:reports:read"), {"admin"}),
    (HasPermission("reports:read"), {"admin"}),
    (HasFeature("reports"), {"admin"}),
    (HasFeature("user:reports"), set()),
    (HasPlan("pro"), {"admin"}),
    (HasPlan("user:free"), {"alone"}),
    (IsOrganizationMember, {"admin", "stale"}),
    (IsNotImpersonated, {"admin", "stale", "alone"}),
    (STEP_UP, {"admin", "alone", "impersonated"}),
    # Combined
    (HasRole("admin") & HasFeature("reports"), {"admin"}),
    (HasRole("admin") | HasPlan("free"), {"admin", "stale", "alone"}),
    (HasRole("admin") & IsNotImpersonated & HasPlan("pro"), {"admin"}),
    ((ADMIN | FREE) & STEP_UP, {"admin", "alone"}),
    (IsOrganizationMember & IsNotImpersonated, {"admin", "stale"}),
    # With REST framework's own, on either side
    (drf.IsAuthenticated & HasRole("admin"), {"admin", "stale"}),
    (HasRole("admin") & drf.IsAuthenticated, {"admin", "stale"}),
    ((drf.IsAuthenticated | drf.AllowAny) & HasRole("admin"), {"admin", "stale"}),
    (HasRole("admin") & (drf.IsAuthenticated | drf.AllowAny), {"admin", "stale"}),
    (HasRole("admin") | drf.IsAuthenticated, CLERK | {"other"}),
    (drf.IsAuthenticated | HasRole("admin"), CLERK | {"other"}),
    # A reverification is heard last, wherever it stands
    (ADMIN | STEP_UP, {"admin", "stale", "alone", "impersonated"}),
    (STEP_UP | ADMIN, {"admin", "stale", "alone", "impersonated"}),
    ((STEP_UP & ADMIN) | ADMIN, {"admin", "stale"}),
]
NEGATED = [
    (~HasRole("admin"), {"alone", "impersonated"}),
    (~HasPermission("reports:read"), {"stale", "alone", "impersonated"}),
    (~HasFeature("reports"), {"stale", "alone", "impersonated"}),
    (~HasPlan("free"), {"admin", "stale", "impersonated"}),
    (~IsOrganizationMember, {"alone", "impersonated"}),
    (~IsNotImpersonated, {"impersonated"}),
    (~~HasRole("admin"), {"admin", "stale"}),
    (~(ADMIN & HasFeature("reports")), {"stale", "alone", "impersonated"}),
    (~(ADMIN | FREE), {"impersonated"}),
    (~(~ADMIN & ~FREE), {"admin", "stale", "alone"}),
    (~~(ADMIN & HasFeature("reports")), {"admin"}),
    (~ADMIN & drf.IsAuthenticated, {"alone", "impersonated"}),
    (drf.IsAuthenticated & ~ADMIN, {"alone", "impersonated"}),
    # "Not authenticated" is what an anonymous caller is; beside one of ours it lets nobody in.
    (~(ADMIN & drf.IsAuthenticated), {"alone", "impersonated"}),
    (~(drf.IsAuthenticated & ADMIN), {"alone", "impersonated"}),
    (~(drf.IsAuthenticated | ADMIN), set()),
    (~(ADMIN & (drf.IsAuthenticated & drf.AllowAny)), {"alone", "impersonated"}),
    (~(ADMIN & ~drf.IsAuthenticated), CLERK),
    (~~(ADMIN & drf.IsAuthenticated), {"admin", "stale"}),
    # Behind what REST framework has combined, too
    (~((drf.IsAuthenticated | drf.AllowAny) & ADMIN), {"alone", "impersonated"}),
    (~(~drf.IsAuthenticated & ADMIN), CLERK),
    (~((drf.IsAuthenticated & drf.AllowAny) | ADMIN), set()),
    (((drf.IsAdminUser | drf.IsAdminUser) | STEP_UP) | FREE, {"admin", "alone", "impersonated"}),
]


def name(value: object) -> str | None:
    return value.__name__ if isinstance(value, type) else None


@pytest.mark.parametrize("what", ["list", "retrieve"])
@pytest.mark.parametrize(("permission", "expected"), ANSWERS + NEGATED, ids=name)
def test_who_is_let_in(let_in, permission, expected, what):
    assert let_in(permission, what) == expected


@pytest.mark.parametrize(
    ("permission", "on_lists", "on_objects"),
    [
        (OWNER, CLERK, {"admin"}),
        (~OWNER, CLERK, CLERK - {"admin"}),
        (~~OWNER, CLERK, {"admin"}),
        (OWNER | HasPlan("free"), CLERK, {"admin", "alone"}),
        (OWNER & HasPlan("pro"), {"admin"}, {"admin"}),
        (~(OWNER | HasPlan("free")), CLERK - {"alone"}, CLERK - {"admin", "alone"}),
        (~(OWNER & HasPlan("pro")), CLERK, CLERK - {"admin"}),
        (~(OWNER & drf.IsAuthenticated), CLERK, CLERK - {"admin"}),
    ],
    ids=name,
)
def test_owner_is_asked_for_where_there_is_an_object(let_in, permission, on_lists, on_objects):
    assert let_in(permission) == on_lists
    assert let_in(permission, "retrieve") == on_objects


def test_refusal_of_the_anonymous_is_rest_frameworks(ask, settings):
    class Ours(View):
        authentication_classes = [ClerkAuthentication]

    for permission in (ADMIN, ~ADMIN, STEP_UP, OWNER, ~OWNER):
        response = ask(permission, "anonymous", view=Ours)
        assert response.status_code == 401
        assert response["WWW-Authenticate"] == 'Bearer realm="api"'
        assert response.data == {"detail": "Authentication credentials were not provided."}


def test_refusal_of_the_known_names_what_is_missing(ask):
    response = ask(HasRole("member"), "admin")
    assert response.status_code == 403
    assert response.data == {
        "detail": "This needs the role member in the active organization.",
        "code": "role_required",
    }


# Owners


class Owned:
    def __init__(self, owner: object) -> None:
        self.owner = owner


@pytest.mark.parametrize(
    ("owner", "is_theirs"),
    [
        ("user_alone", True),
        ("user_alone ", False),
        ("USER_ALONE", False),
        ("user_", False),
        ("", False),
        (None, False),
        (0, False),
        ([], False),
        (AnonymousUser(), False),
    ],
)
def test_owner_is_named_by_clerks_id(ask, owner, is_theirs):
    class Detail(View):
        def retrieve(self, request):
            self.check_object_permissions(request, Owned(owner))
            return Response()

    response = ask(IsOwner("owner"), "alone", "retrieve", view=Detail)
    assert response.status_code == (200 if is_theirs else 403)


def test_owner_may_be_the_user_itself(ask):
    class Detail(View):
        def retrieve(self, request):
            self.check_object_permissions(request, Owned(request.user))
            return Response()

    assert ask(IsOwner("owner"), "alone", "retrieve", view=Detail).status_code == 200
    assert ask(IsOwner("owner"), "other", "retrieve", view=Detail).status_code == 403


def test_object_without_the_field_is_a_mistake_of_the_project(ask):
    with pytest.raises(AttributeError):
        ask(IsOwner("author"), "alone", "retrieve")


# Step-up


@pytest.mark.parametrize(
    "reverification", ["strict_mfa", "strict", {"level": "second_factor", "afterMinutes": 5}]
)
@pytest.mark.parametrize(
    "compose",
    [
        lambda step_up: step_up,
        lambda step_up: step_up & ADMIN,
        lambda step_up: ADMIN & step_up,
        lambda step_up: FREE | step_up,
        lambda step_up: step_up | FREE,
        lambda step_up: drf.IsAuthenticated & ADMIN & step_up,
        lambda step_up: drf.IsAuthenticated & step_up,
        lambda step_up: (drf.IsAdminUser | drf.IsAuthenticated) & step_up,
        lambda step_up: drf.IsAdminUser | step_up,
        lambda step_up: (ADMIN & step_up) | (FREE & step_up),
    ],
)
def test_step_up_reaches_the_client_as_its_front_end_expects(ask, compose, reverification):
    body = (
        '{"clerk_error":{"type":"forbidden","reason":"reverification-error",'
        f'"metadata":{{"reverification":{json.dumps(reverification, separators=(",", ":"))}}}}}}}'
    )
    for what in ("list", "retrieve"):
        response = ask(compose(RequiresReverification(reverification)), "stale", what)
        assert (response.status_code, response.content.decode()) == (403, body)


def test_step_up_is_no_news_to_whom_it_does_not_help(ask):
    """Asked last, it is asked of those alone who lack nothing else."""
    response = ask(ADMIN & STEP_UP, "alone")
    assert "clerk_error" not in response.data


@pytest.mark.parametrize(
    "negate",
    [
        lambda: ~STEP_UP,
        lambda: ~(ADMIN & STEP_UP),
        lambda: ~(STEP_UP | ADMIN),
        lambda: ~(drf.IsAuthenticated & STEP_UP),
        lambda: ~((drf.IsAdminUser | drf.IsAuthenticated) & STEP_UP),
        lambda: ~~STEP_UP,
    ],
)
def test_step_up_has_no_not(negate):
    with pytest.raises(TypeError, match="RequiresReverification"):
        negate()


def test_step_up_can_be_asked_for_its_codes():
    """Handlers of other packages ask, of any exception of REST framework's."""
    error = ReverificationRequired("strict")
    assert error.get_codes() == "reverification_required"
    assert error.get_full_details() == {"message": error.detail, "code": "reverification_required"}


def test_mapping_is_copied_when_the_class_is_made(ask):
    asked = {"level": "second_factor", "afterMinutes": 5}
    permission = RequiresReverification(asked)
    asked["afterMinutes"] = 10**6
    assert ask(permission, "stale").status_code == 403


# Wrong arguments


@pytest.mark.parametrize("make", [HasRole, HasPermission, HasFeature, HasPlan])
@pytest.mark.parametrize(
    "wrong", [None, 1, True, "", " ", "org: admin", "org:", "a\nb", "x" * 256, b"admin", ["admin"]]
)
def test_name_that_is_none_is_refused_when_the_class_is_made(make, wrong):
    with pytest.raises(ValueError, match="string without whitespace"):
        make(wrong)


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        *((HasPermission, name) for name in ("read", "org:read", "org:a:b:c", "a::b", "org::b")),
        *((HasFeature, name) for name in ("team:reports", "ou:reports", ":reports", "a:b:c")),
        *((HasPlan, name) for name in ("team:pro", "ou:pro", ":pro", "a:b:c")),
        *((RequiresReverification, value) for value in ("strictest", None, 10, {}, [])),
        (RequiresReverification, {"level": "second_factor", "afterMinutes": "10"}),
        *((IsOwner, field) for field in ("", "owner.id", "owner id", None, 1)),
    ],
)
def test_wrong_argument_is_refused_when_the_class_is_made(make, wrong):
    with pytest.raises(ValueError):  # noqa: PT011 - each says it in its own words
        make(wrong)


@pytest.mark.parametrize(
    "make",
    [HasRole, HasPermission, HasFeature, HasPlan, RequiresReverification, IsOwner],
)
def test_argument_is_required(make):
    with pytest.raises(TypeError):
        make()
    with pytest.raises(TypeError, match="not a permission class"):
        _ = make & ADMIN
    with pytest.raises(TypeError, match="not a permission class"):
        _ = ADMIN | make
    with pytest.raises(TypeError):
        _ = ~make


@pytest.mark.parametrize("other", [None, "admin", object(), int, ADMIN()])
def test_only_permission_classes_combine(other):
    with pytest.raises(TypeError):
        _ = ADMIN & other
    with pytest.raises(TypeError):
        _ = other | ADMIN


# As REST framework uses them


def test_actions_have_permissions_of_their_own(ask):
    class Actions(View):
        permission_classes = [drf.IsAuthenticated]

        def get_permissions(self):
            if self.action == "retrieve":
                return [ADMIN()]
            return super().get_permissions()

        @action(detail=False, permission_classes=[FREE | STEP_UP])
        def free(self, request):
            return Response()

    assert ask(None, "alone", "list", view=Actions).status_code == 200
    assert ask(None, "alone", "retrieve", view=Actions).status_code == 403
    assert ask(FREE | STEP_UP, "stale", "free", view=Actions).data.keys() == {"clerk_error"}


def test_functions_may_be_decorated(local_issuer):
    @api_view(["GET"])
    @permission_classes([ADMIN & HasFeature("reports")])
    def view(request):
        return Response()

    for caller, status in (("admin", 200), ("stale", 403)):
        token = local_issuer.token(azp=PARTY, **CALLERS[caller])
        request = factory.get("/", HTTP_AUTHORIZATION=f"Bearer {token}")
        view.cls.authentication_classes = [ClerkAuthentication]
        assert view(request).status_code == status


def test_projects_own_permission_combines_as_ours_do(let_in):
    class IsAlone(ClerkPermission):
        def allows(self, claims):
            return claims.user_id == "user_alone"

    assert let_in(IsAlone) == {"alone"}
    assert let_in(~IsAlone) == CLERK - {"alone"}
    assert let_in(~IsAlone & ADMIN, "retrieve") == {"admin", "stale"}


def test_class_of_ours_is_equal_to_itself_alone():
    assert ADMIN == ADMIN
    assert len({ADMIN, FREE, ADMIN}) == 2
    for other in (HasRole("org:admin"), drf.IsAuthenticated | drf.AllowAny, ~drf.AllowAny):
        assert other != ADMIN
        assert other != ADMIN


def test_names_say_what_was_written():
    assert HasRole("org:admin").__name__ == "HasRole('org:admin')"
    assert (~ADMIN & (drf.IsAuthenticated | STEP_UP)).__name__ == (
        "(~HasRole('org:admin') & (IsAuthenticated | RequiresReverification('strict')))"
    )


def of_caller(claims):
    """As an authenticated request: permissions ask for the user, too."""
    return SimpleNamespace(auth=claims, user=ClerkUser(claims))


def test_object_check_repeats_the_request_check(claims_of):
    admin = of_caller(claims_of("user_admin", o=ORGANIZATION))
    nobody = of_caller(claims_of("user_alone"))
    for permission in (ADMIN, IsOrganizationMember, ADMIN & IsNotImpersonated):
        answers = [permission().has_object_permission(r, None, None) for r in (admin, nobody)]
        assert answers == [True, False], permission


@pytest.mark.parametrize("actor", [None, {}, {"sub": "user_support"}, [], "", 0, False])
def test_any_actor_claim_is_somebody_in_the_user_s_place(actor, claims_of):
    request = of_caller(claims_of("user_1", act=actor))
    assert not IsNotImpersonated().has_permission(request, None)
    assert (~IsNotImpersonated)().has_permission(request, None)


def test_not_asks_for_a_clerk_caller_at_the_object_too(claims_of):
    anonymous = SimpleNamespace(auth=None, user=AnonymousUser())
    other = SimpleNamespace(auth=SimpleNamespace(organization=None), user=User())
    alone = of_caller(claims_of("user_alone"))
    for permission in (~ADMIN, ~IsOrganizationMember, ~(ADMIN & IsOrganizationMember)):
        answers = [
            permission().has_object_permission(r, None, None) for r in (anonymous, other, alone)
        ]
        assert answers == [False, False, True], permission


class OnThisView(drf.BasePermission):
    """A foreign class that asks the view, as those for models do."""

    def has_permission(self, request, view):
        return view == "this"

    def has_object_permission(self, request, view, obj):
        return view == "this"


@pytest.mark.parametrize(("view", "expected"), [("this", True), ("other", False)])
def test_foreign_class_sees_the_view_wherever_it_stands(view, expected, claims_of):
    request = of_caller(claims_of("user_admin", o=ORGANIZATION))
    for permission in (ADMIN & OnThisView, OnThisView & ADMIN, ~ADMIN | OnThisView):
        assert permission().has_permission(request, view) is expected
        assert permission().has_object_permission(request, view, None) is expected
    for permission in (~(ADMIN & OnThisView), ~(OnThisView & ADMIN)):
        assert permission().has_permission(request, view) is not expected
        assert permission().has_object_permission(request, view, None) is not expected


def test_every_permission_is_on_its_page():
    page = (Path(__file__).parents[2] / "docs" / "permissions.md").read_text()
    assert [name for name in permissions.__all__ if not re.search(rf"\b{name}\b", page)] == []
