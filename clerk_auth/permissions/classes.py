"""The permission classes, answered by the claims of the verified token.

``permission_classes = [HasRole("org:admin") & HasFeature("reports")]``

Each refuses a caller whom Clerk did not authenticate, and so does its ``~``: "not" is true only for
a verified Clerk caller who lacks the thing. An object is checked as its request is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from clerk_auth.authentication import read_claims
from clerk_auth.core.authorization import REFUSALS, read_reverification, split_scope
from clerk_auth.core.claims import Claims, is_identifier
from clerk_auth.exceptions import ReverificationRequired
from clerk_auth.permissions.composition import ClerkPermission, make

if TYPE_CHECKING:
    # It imports what DEFAULT_PERMISSION_CLASSES names, and that may be one of these.
    from rest_framework.views import APIView

__all__ = [
    "ClerkPermission", "HasFeature", "HasPermission", "HasPlan", "HasRole", "IsNotImpersonated",
    "IsOfInstance", "IsOrganizationMember", "IsOwner", "RequiresReverification",
]  # fmt: skip


class IsOrganizationMember(ClerkPermission):
    """An organization is active."""

    code = "organization_required"
    detail = REFUSALS[code]

    def allows(self, claims: Claims) -> bool:
        return claims.organization is not None


class IsNotImpersonated(ClerkPermission):
    """The user acts in person: the token has no ``act`` claim, not even a malformed one."""

    code = "impersonation_not_allowed"
    detail = REFUSALS[code]

    def allows(self, claims: Claims) -> bool:
        return claims.actor is None


def HasRole(role: str) -> type[ClerkPermission]:
    """The user's role in the active organization; ``admin`` and ``org:admin`` are the same.

    Raises:
        ValueError: not a valid name of a role.
    """
    return _has(role=_check_name(role))


def HasPermission(permission: str) -> type[ClerkPermission]:
    """A permission in the active organization, as in ``org:reports:read``.

    Clerk puts its own system permissions (``org:sys_...``) into no token: ask for a role instead.

    Raises:
        ValueError: not feature and name of a permission, with or without ``org:``.
    """
    parts = _check_name(permission).removeprefix("org:").split(":")
    if len(parts) != 2 or not all(parts):
        raise ValueError('write a permission as in "org:reports:read"')
    return _has(permission=permission)


def HasFeature(feature: str) -> type[ClerkPermission]:
    """A feature of the organization or the user; ``org:`` or ``user:`` in front asks for one.

    Raises:
        ValueError: not a valid name of a feature, or an unknown scope.
    """
    split_scope(_check_name(feature))
    return _has(feature=feature)


def HasPlan(plan: str) -> type[ClerkPermission]:
    """A plan of the organization or the user; ``org:`` or ``user:`` in front asks for one.

    A token says nothing of the user's own plan while an organization is active.

    Raises:
        ValueError: not a valid name of a plan, or an unknown scope.
    """
    split_scope(_check_name(plan))
    return _has(plan=plan)


def RequiresReverification(reverification: str | Mapping[str, Any]) -> type[ClerkPermission]:
    """The user verified their identity a short while ago; otherwise they are asked to do it again.

    Takes a preset (``strict_mfa``, ``strict``, ``moderate``, ``lax``) or
    ``{"level": "second_factor", "afterMinutes": 10}``. The refusal is
    :class:`~clerk_auth.exceptions.ReverificationRequired`, upon which Clerk's front end opens its
    dialog. Put it last in an ``&``, so that no user is asked in vain; in an ``|`` it is raised if
    no other part allows the request. It has no ``~``.

    Raises:
        ValueError: not a preset or such a mapping.
    """
    read_reverification(reverification)
    if not isinstance(reverification, str):
        reverification = dict(reverification)
    name = f"RequiresReverification({reverification!r})"
    return make(_Reverified, name, reverification=reverification)


def IsOfInstance(alias: str) -> type[ClerkPermission]:
    """The user is of the Clerk instance with this alias, where a view accepts several.

    Roles, permissions, features and plans are what an instance says of its own users: another's
    administrator has the same ``org:admin``.

    Raises:
        ValueError: not an identifier.
    """
    alias = _check_word(alias, "an instance's alias in CLERK_AUTH['INSTANCES']")
    return make(_OfInstance, f"IsOfInstance({alias!r})", alias=alias)


def IsOwner(field: str) -> type[ClerkPermission]:
    """The object is the caller's: its ``field`` is ``user_key``, or equals ``request.user``.

    It decides about objects. A request without one, such as one for a list, is allowed for every
    Clerk caller: filter the queryset.

    Raises:
        ValueError: not the name of an attribute.
    """
    return make(_Owned, f"IsOwner({field!r})", field=_check_word(field, "the name of an attribute"))


class _OfInstance(ClerkPermission):
    code = "instance_required"
    detail = REFUSALS[code]
    alias: ClassVar[str]

    def allows(self, claims: Claims) -> bool:
        return claims.instance == self.alias


class _Has(ClerkPermission):
    asked: ClassVar[dict[str, Any]]

    def allows(self, claims: Claims) -> bool:
        return claims.has(**self.asked)


class _Reverified(ClerkPermission):
    reverification: ClassVar[str | dict[str, Any]]

    def allows(self, claims: Claims) -> bool:
        if claims.has(reverification=self.reverification):
            return True
        raise ReverificationRequired(self.reverification)

    @classmethod
    def negated(cls) -> type[BasePermission]:
        raise TypeError(
            "RequiresReverification cannot be negated: an old sign-in must grant nothing"
        )


class _Owned(ClerkPermission):
    is_of_objects = True
    code = "ownership_required"
    detail = REFUSALS[code]
    field: ClassVar[str]

    def allows(self, claims: Claims) -> bool:
        return True

    def has_object_permission(self, request: Request, view: APIView, obj: Any) -> bool:
        claims = read_claims(request)
        if claims is None:
            return False
        owner = getattr(obj, self.field)
        return owner is not None and bool(owner == claims.user_key or owner == request.user)


def _has(**asked: str) -> type[ClerkPermission]:
    ((question, value),) = asked.items()
    code = f"{question}_required"
    name = f"Has{question.capitalize()}({value!r})"
    return make(_Has, name, asked=asked, code=code, detail=REFUSALS[code].format(value))


def _check_name(name: object) -> str:
    if not is_identifier(name) or name.endswith(":"):
        raise ValueError("a role, permission, feature or plan must be a string without whitespace")
    return name


def _check_word(name: object, what: str) -> str:
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"that is not {what}")
    return name
