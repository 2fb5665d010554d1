"""That "not" is closed, however ours and others' classes were put together."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod

import pytest
from django.contrib.auth.models import AnonymousUser, User
from rest_framework import permissions as drf
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import AND, NOT, OR, OperandHolder, SingleOperandHolder
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from clerk_auth.permissions import (
    ClerkPermission,
    HasPlan,
    HasRole,
    IsNotImpersonated,
    IsOrganizationMember,
    IsOwner,
    RequiresReverification,
)
from tests.permissions.conftest import OTHERS, Fixed, factory


class OtherType(drf.BasePermissionMetaclass, ABCMeta):
    """A metaclass of somebody's own: Python asks it for its operator before ours."""


class Yes(drf.BasePermission, metaclass=OtherType):
    pass


class No(drf.BasePermission, metaclass=OtherType):
    def has_permission(self, request, view):
        return False


class IsKnown(drf.IsAuthenticated, metaclass=OtherType):
    pass


ADMIN, OWNER, STEP_UP = HasRole("admin"), IsOwner("owner"), RequiresReverification("strict")
OURS = (ADMIN, HasPlan("u:free"), IsNotImpersonated, IsOrganizationMember)
FOREIGN = (drf.AllowAny, drf.IsAuthenticated, drf.IsAdminUser, Yes, No, IsKnown)


@pytest.mark.parametrize(
    "permission",
    [
        ~(Yes & ADMIN),
        ~(No & ADMIN),
        ~(IsKnown & ADMIN),
        ~(IsKnown | ADMIN),
        ~(No | ADMIN),
        ~((No & ADMIN) | No),
        ~((No & ADMIN) | drf.IsAdminUser),
        ~(No & ~ADMIN),
        ~(No & OWNER),
        ~(No & IsNotImpersonated),
        ~~(No & ADMIN),
        ~(~Yes & ADMIN),
        (~(No & ADMIN)) & Yes,
        SingleOperandHolder(NOT, ADMIN),
        SingleOperandHolder(NOT, ~ADMIN),
        SingleOperandHolder(NOT, SingleOperandHolder(NOT, ADMIN)),
        SingleOperandHolder(NOT, OperandHolder(AND, drf.IsAuthenticated, ADMIN)),
        SingleOperandHolder(NOT, OperandHolder(AND, No, OperandHolder(OR, No, OWNER))),
        SingleOperandHolder(NOT, OWNER),
        SingleOperandHolder(NOT, STEP_UP),
    ],
)
def test_not_lets_in_nobody_whom_clerk_does_not_know(permission, requests):
    for caller in OTHERS:
        asked = permission()
        assert not asked.has_permission(requests[caller], None), caller
        assert not asked.has_object_permission(requests[caller], None, User()), caller


@pytest.mark.parametrize(
    "make",
    [
        lambda: NOT(ADMIN()),
        lambda: NOT(AND(No(), ADMIN())),
        lambda: NOT(OR(No(), AND(No(), ADMIN()))),
        lambda: NOT(NOT(ADMIN())),
        lambda: type("Own", (NOT,), {})(ADMIN()),
    ],
)
def test_not_of_objects_is_closed_too(make, requests):
    for caller in OTHERS:
        assert not make().has_permission(requests[caller], None), caller
        assert not make().has_object_permission(requests[caller], None, User()), caller


def test_not_of_foreign_classes_alone_is_theirs(requests):
    for permission in (~No, ~drf.IsAdminUser, ~(IsKnown & Yes)):
        assert permission().has_permission(requests["anonymous"], None)


def test_through_a_view_it_is_401():
    class Closed(APIView):
        authentication_classes = [type("Asking", (BaseAuthentication,), {})]
        permission_classes = [~(No & ADMIN)]

        def get(self, request):
            return Response()

    Closed.authentication_classes[0].authenticate = lambda self, request: None
    Closed.authentication_classes[0].authenticate_header = lambda self, request: "Asking"
    assert Closed.as_view()(factory.get("/")).status_code == 401


def test_claims_count_for_an_authenticated_user_only(requests):
    """As a class of the project's own, or ``force_authenticate``, may leave a request."""
    claims = requests["admin"].auth
    for user in (AnonymousUser(), None, object()):
        request = Request(factory.get("/"), authenticators=[Fixed(user, claims)])
        for permission in (ADMIN, ~HasRole("member"), IsNotImpersonated, OWNER, STEP_UP):
            assert not permission().has_permission(request, None)


def test_class_of_ours_may_have_a_metaclass_of_the_projects_own(requests):
    class Own(type(ClerkPermission), ABCMeta):
        pass

    class IsAdmin(ClerkPermission, metaclass=Own):
        def __init_subclass__(cls, label=None):
            cls.label = label

        @abstractmethod
        def asked(self): ...

        def allows(self, claims):
            return claims.has(role=self.asked())

    class Named(IsAdmin, label="admins"):
        def asked(self):
            return "admin"

    assert Named.label == "admins"
    for permission, allowed in ((Named, {"admin"}), (~Named & ~No, {"member", "alone"})):
        answers = {name: permission().has_permission(r, None) for name, r in requests.items()}
        assert {name for name, answer in answers.items() if answer} == allowed
    with pytest.raises(TypeError, match="abstract"):
        IsAdmin()
