"""How permission classes combine, so that "not" never lets in a caller without a Clerk token.

REST framework's own ``~`` turns every no into a yes, even the no to an anonymous caller. Here a
combination is a class of the same kind as its parts, and ``~`` moves down to the parts (De Morgan):
``~(A & B)`` is ``~A | ~B``. Each part under a ``~`` first requires a verified Clerk caller.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, cast

from rest_framework.exceptions import ErrorDetail, PermissionDenied
from rest_framework.permissions import (
    NOT,
    BasePermission,
    BasePermissionMetaclass,
    OperandHolder,
    SingleOperandHolder,
)
from rest_framework.request import Request

from clerk_auth.authentication import read_claims
from clerk_auth.core.authorization import PERMISSION_DENIED
from clerk_auth.core.claims import Claims
from clerk_auth.exceptions import ReverificationRequired
from clerk_auth.permissions.refusals import note_refusal

if TYPE_CHECKING:
    from rest_framework.views import APIView

__all__ = ["ClerkPermission", "make"]

Operand = type[BasePermission] | OperandHolder | SingleOperandHolder
_Ask = Callable[..., bool]


def _noted(ask: _Ask) -> _Ask:
    """Count and log a refusal, unless the permission is part of another, which then decides."""

    @functools.wraps(ask)
    def asked(self: ClerkPermission, request: Request, *args: Any, **kwargs: Any) -> bool:
        if self.is_part:
            return ask(self, request, *args, **kwargs)
        self.is_part = True  # what it calls, above all by super(), is part of this answer
        code = None
        try:
            is_allowed = ask(self, request, *args, **kwargs)
            code = None if is_allowed else self.code
        except ReverificationRequired as error:
            code = error.default_code
            raise
        finally:
            self.is_part = False
            if code is not None:
                note_refusal(request, code, self.name)
        return is_allowed

    return asked


# Python asks the right operand first only where its type is a subclass of the left one's. So this
# is a subclass of what REST framework combines into, and uses nothing of it.
class _PermissionType(BasePermissionMetaclass, OperandHolder, SingleOperandHolder):
    __init__, __call__ = type.__init__, type.__call__
    __eq__, __hash__ = type.__eq__, type.__hash__
    operator_class: Any = None  # equal to that of no holder

    def __new__(
        cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any
    ) -> Any:
        for question in ("has_permission", "has_object_permission"):
            if isinstance(ask := namespace.get(question), FunctionType):
                namespace[question] = _noted(ask)
        return super().__new__(cls, name, bases, namespace, **options)

    def __and__(cls: Any, other: Operand) -> type[ClerkPermission]:
        return _combine(_All, cls, other)

    def __rand__(cls: Any, other: Operand) -> type[ClerkPermission]:
        return _combine(_All, other, cls)

    def __or__(cls: Any, other: Operand) -> type[ClerkPermission]:
        return _combine(_Any, cls, other)

    def __ror__(cls: Any, other: Operand) -> type[ClerkPermission]:
        return _combine(_Any, other, cls)

    def __invert__(cls: Any) -> type[ClerkPermission]:
        return cast("type[ClerkPermission]", cls.negated())


class ClerkPermission(BasePermission, metaclass=_PermissionType):
    """A permission that a verified Clerk caller's claims answer; a subclass says :meth:`allows`.

    ``is_of_objects``: it cannot answer before there is an object. ``code`` and ``detail`` are the
    body of a 403.
    """

    is_of_objects: ClassVar[bool] = False
    is_part = False
    code: str = PERMISSION_DENIED
    detail: Any = PermissionDenied.default_detail

    def allows(self, claims: Claims) -> bool:
        """Answer for this caller."""
        raise NotImplementedError

    def has_permission(self, request: Request, view: APIView) -> bool:
        claims = read_claims(request)
        return claims is not None and self.allows(claims)

    def has_object_permission(self, request: Request, view: APIView, obj: Any) -> bool:
        return self.has_permission(request, view)

    @property
    def name(self) -> str:
        """Who refused, for the log."""
        return type(self).__name__

    @property
    def message(self) -> dict[str, ErrorDetail]:
        """The body of a 403, which REST framework reads after a refusal."""
        return {
            "detail": ErrorDetail(self.detail, self.code),
            "code": ErrorDetail(self.code, self.code),
        }

    @classmethod
    def negated(cls) -> type[BasePermission]:
        """Return what ``~`` makes of it."""
        return make(_Not, f"~{cls.__name__}", operand=cls)


def make(base: type[ClerkPermission], name: str, **attributes: Any) -> type[ClerkPermission]:
    """Return a subclass of ``base`` with these attributes, named as it was written."""
    return cast("type[ClerkPermission]", _PermissionType(name, (base,), attributes))


class _Not(ClerkPermission):
    operand: ClassVar[Operand]

    def __init__(self) -> None:
        self._operand: Any = self.operand()
        _find_parts(self._operand)

    def has_permission(self, request: Request, view: APIView) -> bool:
        return read_claims(request) is not None and (
            getattr(self._operand, "is_of_objects", False)
            or not self._operand.has_permission(request, view)
        )

    def has_object_permission(self, request: Request, view: APIView, obj: Any) -> bool:
        return read_claims(request) is not None and not _allows(self._operand, request, view, obj)

    @classmethod
    def negated(cls) -> type[BasePermission]:
        return cast("type[BasePermission]", cls.operand)


class _Combined(ClerkPermission):
    sign: ClassVar[str]
    operands: ClassVar[tuple[Operand, Operand]]

    def __init__(self) -> None:
        # A new instance per request: classes of other packages may keep state in it.
        self._operands: list[Any] = [operand() for operand in self.operands]
        for operand in self._operands:
            _find_parts(operand)


class _All(_Combined):
    sign = "&"
    _refused_by: ClerkPermission | None = None

    def has_permission(self, request: Request, view: APIView) -> bool:
        return self._is_true_of_all(lambda operand: operand.has_permission(request, view))

    def has_object_permission(self, request: Request, view: APIView, obj: Any) -> bool:
        return self._is_true_of_all(
            lambda operand: operand.has_object_permission(request, view, obj)
        )

    def _is_true_of_all(self, question: Callable[[Any], bool]) -> bool:
        """Ask each in turn; a refusal names the first that says no."""
        for operand in self._operands:
            if not question(operand):
                is_ours = isinstance(operand, ClerkPermission)
                source = operand if is_ours else type(self)
                self.code, self.detail = source.code, source.detail
                self._refused_by = operand if is_ours else None
                return False
        return True

    @property
    def name(self) -> str:
        return self._refused_by.name if self._refused_by else super().name

    @classmethod
    def negated(cls) -> type[BasePermission]:
        return _combine(_Any, *map(_negate, cls.operands))


class _Any(_Combined):
    sign = "|"

    def has_permission(self, request: Request, view: APIView) -> bool:
        return self._is_true_of_one(lambda operand: operand.has_permission(request, view))

    def has_object_permission(self, request: Request, view: APIView, obj: Any) -> bool:
        return self._is_true_of_one(lambda operand: _allows(operand, request, view, obj))

    def _is_true_of_one(self, question: Callable[[Any], bool]) -> bool:
        """Ask each; a required reverification is raised if no other says yes."""
        wanted: ReverificationRequired | None = None
        for operand in self._operands:
            try:
                if question(operand):
                    return True
            except ReverificationRequired as error:
                wanted = wanted or error
        if wanted is not None:
            raise wanted
        return False

    @classmethod
    def negated(cls) -> type[BasePermission]:
        return _combine(_All, *map(_negate, cls.operands))


def _combine(kind: type[_Combined], *operands: Operand) -> type[ClerkPermission]:
    for operand in operands:
        is_class = isinstance(operand, type) and issubclass(operand, BasePermission)
        if not is_class and not isinstance(operand, OperandHolder | SingleOperandHolder):
            raise TypeError(f"{operand!r} is not a permission class")
    names = (getattr(operand, "__name__", "...") for operand in operands)
    return make(kind, f"({f' {kind.sign} '.join(names)})", operands=operands)


def _negate(operand: Operand) -> type[BasePermission]:
    if isinstance(operand, type) and issubclass(operand, ClerkPermission):
        return operand.negated()
    return make(_Not, "~...", operand=operand)


def _allows(permission: Any, request: Request, view: APIView, obj: Any) -> bool:
    """Tell whether a permission allows both the request and the object."""
    return bool(
        permission.has_permission(request, view)
        and permission.has_object_permission(request, view, obj)
    )


def _find_parts(permission: Any) -> bool:
    """Tell whether a combination has a permission of ours, and mark each of those as a part."""
    if isinstance(permission, ClerkPermission):
        permission.is_part = True
        return True
    held = getattr(permission, "__dict__", {})
    found = [_find_parts(held[name]) for name in ("op1", "op2") if name in held]
    return any(found)


# Python asks a left operand with another metaclass for its operator before ours, and an `&` of REST
# framework's that ends at its first no never asks our part. So REST framework's own "not" must
# require a Clerk caller where one of ours is under it.
def _closed(ask: _Ask) -> _Ask:
    @functools.wraps(ask)
    def asked(self: Any, request: Request, *args: Any, **kwargs: Any) -> bool:
        if _find_parts(self.op1) and read_claims(request) is None:
            return False
        return ask(self, request, *args, **kwargs)

    return asked


NOT.has_permission = _closed(NOT.has_permission)  # type: ignore[method-assign]
NOT.has_object_permission = _closed(NOT.has_object_permission)  # type: ignore[method-assign]
