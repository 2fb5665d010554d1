"""What a permission's no says, in a body, a count and a line of the log."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser, User
from rest_framework import permissions as drf
from rest_framework.generics import ListCreateAPIView, RetrieveUpdateDestroyAPIView
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.test import force_authenticate
from rest_framework.views import APIView

from clerk_auth import logs, metrics
from clerk_auth.authentication import ClerkAuthentication
from clerk_auth.core.authorization import REFUSAL_CODES
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
from tests.permissions.conftest import factory

ADMIN, OWNER, STEP_UP = HasRole("org:admin"), IsOwner("username"), RequiresReverification("strict")
DENIED = "You do not have permission to perform this action."
ANONYMOUS = {"detail": "Authentication credentials were not provided."}


class IsAcme(ClerkPermission):
    code = "acme_only"
    detail = "Acme's alone."

    def allows(self, claims):
        return False


class Silent(ClerkPermission):
    def allows(self, claims):
        return False


class Foreign(drf.BasePermission):
    message, code = "Somebody else's.", "foreign"

    def has_permission(self, request, view):
        return False


class View(APIView):
    authentication_classes = [ClerkAuthentication]

    def get(self, request):
        self.check_object_permissions(request, User(username="somebody_else"))
        return Response()


@pytest.fixture
def ask(claims_of, caplog):
    """Ask a view with these permissions as a Clerk user without anything, or as another user."""
    caplog.set_level("INFO", "clerk_auth")

    def send(*permissions, view=View, user=None, claims=None, method="get", **extra):
        metrics.reset()
        logs.refusals.forget()
        caplog.clear()
        view = type("Asked", (view,), {"permission_classes": permissions})
        request = getattr(factory, method)("/", **extra)
        if user is None:
            claims = claims_of("user_1", **(claims or {}))
            user = ClerkUser(claims)
        if user.is_authenticated:
            force_authenticate(request, user, claims)
        return view.as_view()(request).render()

    return send


def counted() -> dict[str, float]:
    totals = metrics.totals()
    return {series[1]: n for series, n in totals.items() if series[0] == metrics.DENIED and n}


def lines(caplog) -> list[str]:
    return [r.getMessage() for r in caplog.records if "permission_refused" in r.getMessage()]


ROLE = "This needs the role org:admin in the active organization."
SAID = [
    (ADMIN, "role_required", ROLE),
    (HasRole("admin"), "role_required", "This needs the role admin in the active organization."),
    (
        HasPermission("org:reports:read"),
        "permission_required",
        "This needs the permission org:reports:read in the active organization.",
    ),
    (HasFeature("reports"), "feature_required", "This needs the feature reports."),
    (HasFeature("a{0}{b}"), "feature_required", "This needs the feature a{0}{b}."),
    (HasPlan("org:pro"), "plan_required", "This needs the plan org:pro."),
    (IsOrganizationMember, "organization_required", "This needs an active organization."),
    (OWNER, "ownership_required", "Only the owner may do this."),
    (~IsNotImpersonated, "permission_denied", DENIED),
    (Silent, "permission_denied", DENIED),
    (IsAcme, "acme_only", "Acme's alone."),
    # Under an "and" the first that failed, wherever it stands
    (drf.IsAuthenticated & ADMIN, "role_required", ROLE),
    (ADMIN & HasFeature("x"), "role_required", ROLE),
    (IsNotImpersonated & (drf.AllowAny & ADMIN) & HasFeature("x"), "role_required", ROLE),
    (ADMIN & STEP_UP, "role_required", ROLE),
    (OWNER & ADMIN, "role_required", ROLE),
    (IsNotImpersonated & OWNER, "ownership_required", "Only the owner may do this."),
    (~~ADMIN, "role_required", ROLE),
    (~(~ADMIN | ~IsNotImpersonated), "role_required", ROLE),
    (Foreign & ADMIN, "permission_denied", DENIED),
    ((ADMIN | HasPlan("x")) & HasRole("x"), "permission_denied", DENIED),
    # Under an "or" or a "not" nothing is named
    (ADMIN | HasPlan("pro"), "permission_denied", DENIED),
    (OWNER | ADMIN, "permission_denied", DENIED),
    (~IsNotImpersonated & ADMIN, "permission_denied", DENIED),
    (~(ADMIN & IsNotImpersonated) & ~IsNotImpersonated, "permission_denied", DENIED),
]


def label(code: str) -> str:
    return code if code in REFUSAL_CODES else "permission_denied"


@pytest.mark.parametrize(("permission", "code", "detail"), SAID)
def test_body_names_what_is_missing(ask, caplog, permission, code, detail):
    response = ask(permission)
    assert response.status_code == 403
    assert response.data == {"detail": detail, "code": code}
    assert {leaf.code for leaf in response.data.values()} == {code}
    assert counted() == {label(code): 1}
    (line,) = lines(caplog)
    assert line.startswith(f"clerk_auth.permission_refused code={label(code)} permission=")


@pytest.mark.parametrize(
    "permission", [IsNotImpersonated, IsOrganizationMember & IsNotImpersonated]
)
def test_impersonated_user(ask, permission):
    claims = {"act": {"sub": "user_support"}, "o": {"id": "org_1"}}
    response = ask(permission, claims=claims)
    assert response.data["code"] == "impersonation_not_allowed"
    assert "support" not in str(response.data)
    assert counted() == {"impersonation_not_allowed": 1}


@pytest.mark.parametrize(
    "permission",
    [
        STEP_UP,
        IsNotImpersonated & STEP_UP,
        ADMIN | STEP_UP,
        STEP_UP | OWNER,
        drf.IsAdminUser | STEP_UP,
    ],
)
def test_step_up_keeps_its_body_and_is_counted(ask, caplog, permission):
    assert ask(permission).data.keys() == {"clerk_error"}
    assert counted() == {"reverification_required": 1}
    assert len(lines(caplog)) == 1


@pytest.mark.parametrize(("permission", "code", "detail"), SAID)
def test_foreign_user_is_told_the_same_kind_of_body(ask, permission, code, detail):
    response = ask(permission, user=User(pk=1, username="other"))
    assert (response.status_code, response.data.keys()) == (403, {"detail", "code"})
    assert counted() == {label(response.data["code"]): 1}


@pytest.mark.parametrize(
    "permission", [ADMIN, ~ADMIN, OWNER, STEP_UP, ADMIN & STEP_UP, ADMIN | OWNER]
)
def test_anonymous_caller_is_401_and_no_news(ask, caplog, permission):
    response = ask(permission, user=AnonymousUser())
    assert (response.status_code, response.data) == (401, ANONYMOUS)
    assert (counted(), lines(caplog)) == ({}, [])


def test_view_without_authenticators_answers_403_itself(ask):
    class Open(View):
        authentication_classes = []

    response = ask(ADMIN, view=Open, user=AnonymousUser())
    assert (response.status_code, response.data["code"]) == (403, "role_required")
    assert counted() == {"role_required": 1}


def test_message_of_the_projects_own_is_rest_frameworks(ask):
    class Own(Silent):
        message = "Mine."

    assert ask(Own).data == {"detail": "Mine."}


class OfDrafts(ClerkPermission):
    code, detail = "ownership_required", "Drafts alone."

    def allows(self, claims):
        return True

    def has_permission(self, request, view):
        return super().has_permission(request, view)

    def has_object_permission(self, request, view, obj):
        return super().has_object_permission(request, view, obj) and obj.is_staff


class OfMyDrafts(OfDrafts):
    def has_object_permission(self, request, view, obj):
        return super().has_object_permission(request, view, obj=obj)


@pytest.mark.parametrize("permission", [OfDrafts, OfMyDrafts, OfDrafts & IsNotImpersonated])
def test_own_answers_are_counted_once(ask, caplog, permission):
    response = ask(permission)
    assert response.data == {"detail": "Drafts alone.", "code": "ownership_required"}
    assert counted() == {"ownership_required": 1}
    assert len(lines(caplog)) == 1


def test_permission_that_breaks_is_no_refusal(ask):
    class Broken(ClerkPermission):
        def allows(self, claims):
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        ask(Broken)
    assert counted() == {}


def test_yes_is_neither_counted_nor_logged(ask, caplog):
    assert ask(IsNotImpersonated, ~ADMIN, ADMIN | IsNotImpersonated).status_code == 200
    assert (counted(), lines(caplog)) == ({}, [])


# Tries


class Items(ListCreateAPIView):
    authentication_classes = [ClerkAuthentication]
    queryset = User.objects.none()
    serializer_class = Serializer
    renderer_classes = [BrowsableAPIRenderer, JSONRenderer]

    def list(self, request):
        return Response([])


class ForReaders(drf.BasePermission):
    def has_permission(self, request, view):
        return request.method in drf.SAFE_METHODS


class Item(RetrieveUpdateDestroyAPIView):
    authentication_classes = [ClerkAuthentication]
    serializer_class = Serializer
    renderer_classes = [BrowsableAPIRenderer, JSONRenderer]

    def get_object(self):
        self.check_object_permissions(self.request, User())
        return User()


@pytest.mark.integration
@pytest.mark.parametrize("view", [Items, Item])
@pytest.mark.parametrize("method", ["get", "options"])
@pytest.mark.parametrize("permission", [ADMIN, ADMIN & OWNER, OWNER, ADMIN | OWNER, STEP_UP])
def test_tries_of_the_browsable_api_and_of_options_are_no_refusals(
    ask, caplog, view, method, permission
):
    tried = []

    class Recorded(view):
        def check_permissions(self, request):
            tried.append(request.method)
            super().check_permissions(request)

    response = ask(
        ForReaders | (permission & permission),
        view=Recorded,
        method=method,
        HTTP_ACCEPT="text/html",
    )
    assert response.status_code == 200
    assert {"POST", "PUT"} & set(tried)
    assert (counted(), lines(caplog)) == ({}, [])


def test_refusal_shown_by_the_browsable_api_is_counted_once(ask):
    response = ask(ADMIN, view=Items, HTTP_ACCEPT="text/html")
    assert response.status_code == 403
    assert "role_required" in response.content.decode()
    assert counted() == {"role_required": 1}


# The log


def test_one_line_of_a_kind_in_ten_seconds(ask, caplog, claims_of):
    user = ClerkUser(claims_of("user_1"))

    def refuse(*permissions):
        view = type("Asked", (View,), {"permission_classes": permissions})
        request = factory.get("/")
        force_authenticate(request, user, user.claims)
        view.as_view()(request)

    caplog.set_level("INFO", "clerk_auth")
    for permission in (ADMIN, ADMIN, HasRole("org:billing"), ADMIN & OWNER, OWNER):
        refuse(permission)
    assert lines(caplog) == [
        f"clerk_auth.permission_refused code={code} permission={name}"
        for code, name in (
            ("role_required", "HasRole('org:admin')"),
            ("role_required", "HasRole('org:billing')"),
            ("ownership_required", "IsOwner('username')"),
        )
    ]
    for kind in logs.refusals._kinds.values():
        kind.quiet_until = 0
    refuse(ADMIN)
    assert lines(caplog)[-1].endswith("permission=HasRole('org:admin') suppressed=2")
    assert counted() == {"role_required": 5, "ownership_required": 1}


def test_permissions_made_per_request_cannot_fill_the_memory(ask, claims_of, caplog):
    caplog.set_level("INFO", "clerk_auth")
    request = factory.get("/")
    force_authenticate(request, ClerkUser(claims_of("user_1")), claims_of("user_1"))
    request = View().initialize_request(request)
    for number in range(600):
        HasRole(f"role_{number}_" + "x" * 200)().has_permission(request, View())
    assert len(logs.refusals._kinds) <= 256
    assert max(map(len, lines(caplog))) < 300
