"""Trees of permissions, ours and others', however they were put together, against a truth table."""

from __future__ import annotations

from abc import ABCMeta
from dataclasses import dataclass
from typing import Any

import hypothesis
import pytest
from django.contrib.auth.models import AnonymousUser, User
from hypothesis import strategies as st
from rest_framework import permissions as drf
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import AND, NOT, OR, OperandHolder, SingleOperandHolder
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from clerk_auth.permissions import (
    HasPlan,
    HasRole,
    IsNotImpersonated,
    IsOrganizationMember,
    IsOwner,
    RequiresReverification,
)
from clerk_auth.users import ClerkUser
from tests.rows import each_row

factory = APIRequestFactory()


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

CLERK: dict[str, dict[str, Any]] = {
    "admin": {"o": {"id": "org_1", "rol": "admin"}, "fva": [0, 0]},
    "member": {"o": {"id": "org_1", "rol": "member"}, "act": {"sub": "user_support"}},
    "alone": {"pla": "u:free"},
}
OTHERS = {"anonymous": AnonymousUser(), "other": User(username="o"), "staff": User(is_staff=True)}


class Fixed(BaseAuthentication):
    def __init__(self, user, auth):
        self.pair = user, auth

    def authenticate(self, request):
        return self.pair


@pytest.fixture(scope="module")
def requests(local_issuer):
    """A request of each caller."""
    from clerk_auth.core.tokens import Policy
    from clerk_auth.sources import StaticKeySource
    from clerk_auth.verifier import Verifier

    policy = Policy(frozenset({local_issuer.issuer}))
    verifier = Verifier(StaticKeySource((local_issuer.verifying_key,)), policy)
    pairs: dict[str, Any] = {name: (user, "not ours") for name, user in OTHERS.items()}
    for name, claims in CLERK.items():
        verified = verifier.check(local_issuer.token(f"user_{name}", **claims))
        pairs[name] = ClerkUser(verified), verified
    return {
        name: Request(factory.get("/"), authenticators=[Fixed(*pair)])
        for name, pair in pairs.items()
    }


# A tree: a leaf, ("not", tree), ("and" or "or", tree, tree), and how it is put together.


@dataclass(frozen=True)
class Node:
    sign: str
    parts: tuple[Any, ...]
    by_operator: bool = True

    def __repr__(self):
        return f"{self.sign}{'' if self.by_operator else '!'}{self.parts!r}"


def trees(leaves):
    return st.recursive(
        st.sampled_from(leaves),
        lambda inner: st.one_of(
            st.builds(Node, st.just("not"), st.tuples(inner), st.booleans()),
            st.builds(Node, st.sampled_from(["and", "or"]), st.tuples(inner, inner), st.booleans()),
        ),
        max_leaves=6,
    )


def build(tree):
    """Return what a view lists in ``permission_classes``."""
    if not isinstance(tree, Node):
        return tree
    parts = [build(part) for part in tree.parts]
    if tree.sign == "not":
        return ~parts[0] if tree.by_operator else SingleOperandHolder(NOT, *parts)
    if tree.by_operator:
        return parts[0] & parts[1] if tree.sign == "and" else parts[0] | parts[1]
    return OperandHolder(AND if tree.sign == "and" else OR, *parts)


def assemble(tree):
    """Return what a view returns from ``get_permissions``, put together from instances."""
    if not isinstance(tree, Node):
        return tree()
    kind = {"not": NOT, "and": AND, "or": OR}[tree.sign]
    return kind(*map(assemble, tree.parts))


def has_ours(tree) -> bool:
    return any(map(has_ours, tree.parts)) if isinstance(tree, Node) else tree in OURS


def is_true(tree, request) -> bool:
    """Evaluate it as it is written."""
    if not isinstance(tree, Node):
        return bool(tree().has_permission(request, None))
    parts = [is_true(part, request) for part in tree.parts]
    return {"not": not parts[0], "and": all(parts), "or": any(parts)}[tree.sign]


def may_be_true(tree, request, *, negated: bool = False, beside_ours: bool = False) -> bool:
    """Tell whether it may let somebody in whom Clerk did not authenticate.

    Ours answer no, and so do their opposites and the opposite of what stands beside them.
    """
    if not isinstance(tree, Node):
        if tree in OURS or (negated and beside_ours):
            return False
        return is_true(tree, request) != negated
    if tree.sign == "not":
        (part,) = tree.parts
        beside_ours = beside_ours or has_ours(part)
        return may_be_true(part, request, negated=not negated, beside_ours=beside_ours)
    parts = [
        may_be_true(part, request, negated=negated, beside_ours=beside_ours) for part in tree.parts
    ]
    return all(parts) if (tree.sign == "and") != negated else any(parts)


def has_not_over_ours(tree) -> bool:
    if not isinstance(tree, Node):
        return False
    return (tree.sign == "not" and has_ours(tree)) or any(map(has_not_over_ours, tree.parts))


@pytest.mark.parametrize("make", [lambda tree: build(tree)(), assemble], ids=["classes", "objects"])
def test_every_tree_answers_as_the_truth_table(make, requests):
    @hypothesis.settings(max_examples=150, deadline=None)
    @hypothesis.given(trees(OURS + FOREIGN))
    def holds(tree):
        permission = make(tree)
        for caller, request in requests.items():
            answer = bool(permission.has_permission(request, None))
            if caller in CLERK or not has_not_over_ours(tree):
                assert answer == is_true(tree, request), caller
            elif answer:
                assert may_be_true(tree, request), caller
            if answer and caller in OTHERS and permission.has_object_permission(request, None, 0):
                assert may_be_true(tree, request) or not has_ours(tree), caller

    holds()


@each_row(
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
    ids=str,
)
def test_not_lets_in_nobody_whom_clerk_does_not_know(permission, requests):
    for caller in OTHERS:
        asked = permission()
        assert not asked.has_permission(requests[caller], None), caller
        assert not asked.has_object_permission(requests[caller], None, User()), caller


@each_row(
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
