"""What a verified session token says, in one shape for both versions of Clerk's claims.

Version 1 carries flat ``org_*`` claims, version 2 (``"v": 2``) a compact ``o`` object with ``fea``
and ``pla`` (Clerk, "Session tokens"). Optional claims that are malformed grant nothing and raise
nothing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, TypeGuard, cast

from clerk_auth.core.authorization import (
    NOT_ASKED,
    is_named,
    is_reverified,
    is_scoped,
    with_prefix,
)
from clerk_auth.core.encoding import parse_json_object

_MAX_IDENTIFIER_LENGTH = 255
# Control, format (bidi overrides among them), surrogate and the three blank categories.
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zs", "Zl", "Zp"})
_ORGANIZATION_SCOPES = frozenset({"o", "ou", "uo"})
_SCOPES = _ORGANIZATION_SCOPES | {"u"}
# Letters and symbols that show as nothing.
_INVISIBLE = frozenset("\u115f\u1160\u2800\u3164\uffa0")
_NOT_READ = object()


def is_identifier(value: object) -> TypeGuard[str]:
    """Tell whether ``value`` can be an id: 1 to 255 characters, none of them blank or invisible."""
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_IDENTIFIER_LENGTH:
        return False
    if value.isascii():
        return value.isprintable() and " " not in value
    return _INVISIBLE.isdisjoint(value) and all(
        unicodedata.category(character) not in _UNSAFE_CATEGORIES for character in value
    )


def is_number(value: object) -> TypeGuard[int | float]:
    """Tell whether ``value`` is a JSON number; ``True`` is not (RFC 7519 section 2)."""
    return type(value) is int or type(value) is float


@dataclass(frozen=True, slots=True)
class Organization:
    """The active organization.

    ``role`` has its ``org:`` prefix in both versions; ``permissions`` are names such as
    ``org:reports:read``, in the token's order. Clerk's system permissions are never in a token.
    """

    id: str
    slug: str | None = None
    role: str | None = None
    permissions: tuple[str, ...] = ()


class Verified(NamedTuple):
    """What was checked of a token, and its payload as the text that was signed."""

    user_id: str
    session_id: str
    issuer: str
    expires_at: float
    issued_at: float | None
    not_before: float | None
    authorized_party: str | None
    status: str
    payload: bytes
    has_category: bool = False

    def __repr__(self) -> str:
        return f"Verified(user_id={self.user_id!r}, session_id={self.session_id!r})"


class Claims:
    """Claims of a verified token; nothing in it can be changed.

    Times are Unix seconds. ``payload`` and :meth:`get` show the claims as the token carries them;
    they are read-only all the way down, and not part of ``repr``, since they may hold personal
    data.
    """

    __slots__ = ("_organization", "_parsed", "_verified")

    # Everything public is a property without a setter, and there is no __dict__: what a request
    # makes once each is quick to make.
    def __init__(self, verified: Verified, parsed: dict[str, Any] | None = None) -> None:
        self._verified = verified
        self._parsed = parsed
        self._organization: Organization | object | None = _NOT_READ

    def __reduce__(self) -> tuple[type[Claims], tuple[Verified]]:
        return Claims, (self._verified,)

    def __repr__(self) -> str:
        return f"Claims(user_id={self.user_id!r}, session_id={self.session_id!r})"

    @property
    def verified(self) -> Verified:
        """What was checked; claims can be made from it again."""
        return self._verified

    @property
    def user_id(self) -> str:
        """Clerk's id of the user, the ``sub`` claim."""
        return self._verified.user_id

    @property
    def session_id(self) -> str:
        """Clerk's id of the session, the ``sid`` claim."""
        return self._verified.session_id

    @property
    def issuer(self) -> str:
        """The instance that issued the token, ``iss``."""
        return self._verified.issuer

    @property
    def authorized_party(self) -> str | None:
        """The origin that the token was made for, ``azp``; ``None`` if it names none."""
        return self._verified.authorized_party

    @property
    def issued_at(self) -> float | None:
        """When the token was made, ``iat``."""
        return self._verified.issued_at

    @property
    def expires_at(self) -> float:
        """When the token expires, ``exp``."""
        return self._verified.expires_at

    @property
    def status(self) -> str:
        """Status of the session, ``sts``: ``active`` unless pending ones are accepted."""
        return self._verified.status

    @property
    def payload(self) -> Mapping[str, Any]:
        """Every claim of the token."""
        return MappingProxyType({name: _freeze(value) for name, value in self._claims().items()})

    def get(self, name: str, default: Any = None) -> Any:
        """Return the claim ``name`` as the token carries it, for customised session tokens."""
        claims = self._claims()
        return _freeze(claims[name]) if name in claims else default

    def _claims(self) -> dict[str, Any]:
        if self._parsed is None:
            self._parsed = parse_json_object(self._verified.payload)
        return self._parsed

    @property
    def version(self) -> int:
        """Version of Clerk's claims: 2 when ``v`` is 2, 1 when it is 1 or absent.

        Otherwise 0: a version that nobody here knows, of which nothing is granted.
        """
        version = self._claims().get("v", 1)
        return int(version) if is_number(version) and version in (1, 2) else 0

    @property
    def organization(self) -> Organization | None:
        """The active organization; ``None`` outside one."""
        organization = self._organization
        if organization is _NOT_READ:
            read = {1: _organization_v1, 2: _organization_v2}.get(self.version)
            organization = self._organization = read(self._claims()) if read else None
        return cast("Organization | None", organization)

    @property
    def features(self) -> tuple[str, ...]:
        """Features with their scope, ``o:reports`` or ``u:beta``; version 2 only."""
        return _scoped_names(self._claims().get("fea")) if self.version == 2 else ()

    @property
    def plans(self) -> tuple[str, ...]:
        """Plans with their scope, ``o:pro`` or ``u:free``; version 2 only."""
        return _scoped_names(self._claims().get("pla")) if self.version == 2 else ()

    @property
    def factor_ages(self) -> tuple[float, float] | None:
        """Minutes since the first and second factor when the token was made; -1: not enrolled."""
        ages = self._claims().get("fva")
        if not isinstance(ages, list) or len(ages) != 2:
            return None
        first, second = ages
        if not (is_factor_age(first) and is_factor_age(second)):
            return None
        return first, second

    @property
    def actor(self) -> Mapping[str, Any] | None:
        """Who impersonates the user; ``None`` only when nobody does.

        A malformed ``act`` claim, ``null`` too, is an empty mapping: somebody acts, and it is not
        known who.
        """
        claims = self._claims()
        if "act" not in claims:
            return None
        actor = claims["act"]
        return _freeze(actor) if isinstance(actor, dict) else MappingProxyType({})

    def has(
        self,
        *,
        role: str = NOT_ASKED,
        permission: str = NOT_ASKED,
        feature: str = NOT_ASKED,
        plan: str = NOT_ASKED,
        reverification: str | Mapping[str, Any] = NOT_ASKED,
    ) -> bool:
        """Tell whether the user has all that is asked for; false when nothing is asked.

        A role or permission needs an active organization; ``admin`` and ``org:admin`` ask the same.
        A feature or plan may name its scope, ``org:reports`` or ``user:beta``. A reverification is
        a preset, ``strict``, or ``{"level": "second_factor", "afterMinutes": 10}`` (Clerk,
        "Authorization checks"). What is asked in a wrong form is not granted; nothing is raised.
        """
        organization = self.organization
        roles = () if organization is None or organization.role is None else (organization.role,)
        permissions = () if organization is None else organization.permissions
        answers = []
        if role is not NOT_ASKED:
            answers.append(is_named(role, roles))
        if permission is not NOT_ASKED:
            answers.append(is_named(permission, permissions))
        if feature is not NOT_ASKED:
            answers.append(is_scoped(feature, self.features))
        if plan is not NOT_ASKED:
            answers.append(is_scoped(plan, self.plans))
        if reverification is not NOT_ASKED:
            answers.append(is_reverified(reverification, self.factor_ages))
        return bool(answers) and all(answers)


def _freeze(value: Any) -> Any:
    if isinstance(value, dict):
        return MappingProxyType({name: _freeze(inner) for name, inner in value.items()})
    if isinstance(value, list):
        return tuple(_freeze(inner) for inner in value)
    return value


def is_factor_age(value: object) -> TypeGuard[int | float]:
    """Tell whether ``value`` is the age of a factor in minutes, -1 where it is not enrolled."""
    return is_number(value) and (value == -1 or value >= 0)


def _identifier_or_none(value: object) -> str | None:
    return value if is_identifier(value) else None


def _prefixed_role(value: object) -> str | None:
    if not is_identifier(value):
        return None
    return with_prefix(value)


def _organization_v1(payload: dict[str, Any]) -> Organization | None:
    organization_id = payload.get("org_id")
    if not is_identifier(organization_id):
        return None
    permissions = payload.get("org_permissions")
    return Organization(
        id=organization_id,
        slug=_identifier_or_none(payload.get("org_slug")),
        role=_prefixed_role(payload.get("org_role")),
        permissions=tuple(filter(is_identifier, permissions))
        if isinstance(permissions, list)
        else (),
    )


def _organization_v2(payload: dict[str, Any]) -> Organization | None:
    organization = payload.get("o")
    if not isinstance(organization, dict) or not is_identifier(organization.get("id")):
        return None
    return Organization(
        id=organization["id"],
        slug=_identifier_or_none(organization.get("slg")),
        role=_prefixed_role(organization.get("rol")),
        permissions=_permissions(
            payload.get("fea"), organization.get("per"), organization.get("fpm")
        ),
    )


def _permissions(features: object, names: object, masks: object) -> tuple[str, ...]:
    """Expand the feature-permission map: the i-th mask belongs to the i-th of all features."""
    if not (isinstance(features, str) and isinstance(names, str) and isinstance(masks, str)):
        return ()
    permission_names = [name.strip() for name in names.split(",")]
    granted: list[str] = []
    for entry, mask in zip(features.split(","), masks.split(","), strict=False):
        scope, _, feature = entry.strip().partition(":")
        if scope in _ORGANIZATION_SCOPES and is_simple_name(feature):
            bits = _parse_mask(mask)
            granted.extend(
                f"org:{feature}:{name}"
                for position, name in enumerate(permission_names[: bits.bit_length()])
                if bits >> position & 1 and is_simple_name(name)
            )
    return tuple(granted)


def is_simple_name(text: str) -> bool:
    """Tell whether ``text`` is one name in a claim; a comma or a colon would make two of it."""
    return is_identifier(text) and "," not in text and ":" not in text


def _parse_mask(text: str) -> int:
    """Read a decimal bit mask of any size; 0, which grants nothing, unless it is digits only."""
    text = text.strip()
    if not (text.isascii() and text.isdigit()):
        return 0
    try:
        return int(text)
    except ValueError:  # more digits than the interpreter converts
        return 0


def _scoped_names(value: object) -> tuple[str, ...]:
    if not isinstance(value, str):
        return ()
    entries = (entry.strip() for entry in value.split(","))
    return tuple(entry for entry in entries if _is_scoped_name(entry))


def _is_scoped_name(entry: str) -> bool:
    scope, _, name = entry.partition(":")
    return scope in _SCOPES and is_simple_name(name)
