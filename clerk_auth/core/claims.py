"""What a verified session token says, in one shape for both versions of Clerk's claims.

Version 1 carries flat ``org_*`` claims, version 2 (``"v": 2``) a compact ``o`` object with ``fea``
and ``pla`` (Clerk, "Session tokens"). Optional claims that are malformed grant nothing and raise
nothing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from sys import getsizeof
from types import MappingProxyType
from typing import Any, Final, TypeGuard, TypeVar, cast

from clerk_auth.core.authorization import NOT_ASKED, is_named, is_reverified, is_scoped, with_prefix
from clerk_auth.core.encoding import decode_base64url, is_number, parse_json_object

__all__ = [
    "DEFAULT_INSTANCE", "UNSAFE_CATEGORIES", "Claims", "Organization", "Verified", "is_factor_age",
    "is_identifier", "is_simple_name", "read_actor", "read_factor_ages", "read_organization",
    "read_scoped_names", "read_version",
]  # fmt: skip

# The alias of the Clerk instance that stands at the top level of the settings.
DEFAULT_INSTANCE = "default"
_MAX_IDENTIFIER_LENGTH = 255
# Control characters, surrogates, and what ends a line or a paragraph; in an id also format
# characters (bidi overrides among them) and spaces.
UNSAFE_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
_UNSAFE_IN_ID = UNSAFE_CATEGORIES | {"Cf", "Zs"}
_ORGANIZATION_SCOPES = frozenset({"o", "ou", "uo"})
_SCOPES = _ORGANIZATION_SCOPES | {"u"}
# Letters and symbols that show as nothing.
_INVISIBLE = frozenset("\u115f\u1160\u2800\u3164\uffa0")
T = TypeVar("T")


def is_identifier(value: object) -> TypeGuard[str]:
    """Tell whether ``value`` can be an id: 1 to 255 visible characters."""
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_IDENTIFIER_LENGTH:
        return False
    if value.isascii():
        return value.isprintable() and " " not in value
    return _INVISIBLE.isdisjoint(value) and all(
        unicodedata.category(character) not in _UNSAFE_IN_ID for character in value
    )


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


_NONE = Organization("")  # has no role and no permissions


@dataclass(slots=True, eq=False, repr=False)
class Verified:
    """What was checked of a token; what permissions ask of it is added when they first do.

    The claims of all requests with this token share it, so only frozen values may go in.
    ``has_room`` tells whether so many bytes more may be kept with it.
    """

    user_id: str
    session_id: str
    issuer: str
    expires_at: float
    issued_at: float | None
    not_before: float | None
    authorized_party: str | None
    status: str
    has_category: bool
    instance: str
    user_key: str
    organization: Any = ...
    features: Any = ...
    plans: Any = ...
    has_room: Callable[[int], bool] | None = None


def _checked(name: str, doc: str) -> Any:
    return property(attrgetter(f"_verified.{name}"), doc=doc)


class Claims:
    """Claims of a verified token; nothing in it can be changed.

    Times are Unix seconds. ``payload`` and :meth:`get` show the claims as the token carries them;
    they are read-only all the way down, and not part of ``repr``, since they may hold personal
    data.
    """

    __slots__ = ("_payload", "_verified")

    # Public attributes are properties without a setter, and there is no __dict__: each request
    # makes one of these, so it is quick to make.
    def __init__(self, verified: Verified, payload: dict[str, Any] | str) -> None:
        """``payload`` is parsed, or the token that carries it, which is read when asked for."""
        self._verified = verified
        self._payload = payload

    def __reduce__(self) -> tuple[type[Claims], tuple[Verified, dict[str, Any]]]:
        return Claims, (replace(self._verified, has_room=None), self._claims())

    def __repr__(self) -> str:
        return f"Claims(user_id={self.user_id!r}, session_id={self.session_id!r})"

    user_id: Final[str] = _checked("user_id", "Clerk's id of the user, the ``sub`` claim.")
    session_id: Final[str] = _checked("session_id", "Clerk's id of the session, ``sid``.")
    issuer: Final[str] = _checked("issuer", "The instance that issued the token, ``iss``.")
    instance: Final[str] = _checked("instance", "The alias of that instance in the settings.")
    user_key: Final[str] = _checked(
        "user_key", "``user_id``, unique among instances: ``alias:id``, but for ``default`` the id."
    )
    authorized_party: Final[str | None] = _checked(
        "authorized_party", "The origin that the token was made for, ``azp``, if it names one."
    )
    issued_at: Final[float | None] = _checked("issued_at", "When the token was made, ``iat``.")
    expires_at: Final[float] = _checked("expires_at", "When the token expires, ``exp``.")
    status: Final[str] = _checked(
        "status", "Status of the session, ``sts``: ``active`` unless pending ones are accepted."
    )

    @property
    def payload(self) -> Mapping[str, Any]:
        """Every claim of the token."""
        return MappingProxyType({name: _freeze(value) for name, value in self._claims().items()})

    def get(self, name: str, default: Any = None) -> Any:
        """Return the claim ``name`` as the token carries it, for customised session tokens."""
        claims = self._claims()
        return _freeze(claims[name]) if name in claims else default

    def _claims(self) -> dict[str, Any]:
        if isinstance(self._payload, str):
            self._payload = parse_json_object(decode_base64url(self._payload.split(".")[1]))
        return self._payload

    def _shared(self, name: str, read: Callable[[dict[str, Any]], T]) -> T:
        """Return what ``read`` makes of the claims, once for all requests if there is room."""
        verified = self._verified
        found: Any = getattr(verified, name)
        if found is ...:
            found = read(self._claims())
            if verified.has_room and not verified.has_room(_count_bytes(found)):
                verified = self._verified = replace(verified, has_room=None)
            setattr(verified, name, found)
        return cast("T", found)

    @property
    def version(self) -> int:
        """Version of Clerk's claims, as :func:`read_version` reads it."""
        return read_version(self._claims())

    @property
    def organization(self) -> Organization | None:
        """The active organization; ``None`` outside one."""
        found = self._verified.organization  # first, since permissions ask for it at each request
        return self._shared("organization", read_organization) if found is ... else found

    @property
    def features(self) -> tuple[str, ...]:
        """Features with their scope, ``o:reports`` or ``u:beta``; version 2 only."""
        return self._shared("features", lambda claims: read_scoped_names(claims, "fea"))

    @property
    def plans(self) -> tuple[str, ...]:
        """Plans with their scope, ``o:pro`` or ``u:free``; version 2 only."""
        return self._shared("plans", lambda claims: read_scoped_names(claims, "pla"))

    @property
    def factor_ages(self) -> tuple[float, float] | None:
        """Minutes since the first and second factor when the token was made; -1: not enrolled."""
        return read_factor_ages(self._claims())

    @property
    def actor(self) -> Mapping[str, Any] | None:
        """Who impersonates the user, as :func:`read_actor` reads it."""
        return read_actor(self._claims())

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
        if role is permission is feature is plan is reverification is NOT_ASKED:
            return False
        organization = _NONE if role is permission is NOT_ASKED else self.organization or _NONE
        return (
            (role is NOT_ASKED or is_named(role, (organization.role,)))
            and (permission is NOT_ASKED or is_named(permission, organization.permissions))
            and (feature is NOT_ASKED or is_scoped(feature, self.features))
            and (plan is NOT_ASKED or is_scoped(plan, self.plans))
            and (reverification is NOT_ASKED or is_reverified(reverification, self.factor_ages))
        )


def _count_bytes(found: Organization | tuple[str, ...] | None) -> int:
    if isinstance(found, Organization):
        found = (found.id, found.slug or "", found.role or "", *found.permissions)
    return sum(map(getsizeof, found or ()))


def _freeze(value: Any) -> Any:
    if isinstance(value, dict):
        return MappingProxyType({name: _freeze(inner) for name, inner in value.items()})
    if isinstance(value, list):
        return tuple(_freeze(inner) for inner in value)
    return value


def is_factor_age(value: object) -> TypeGuard[int | float]:
    """Tell whether ``value`` is the age of a factor in minutes, -1 where it is not enrolled."""
    return is_number(value) and (value == -1 or value >= 0)


def read_version(payload: Mapping[str, Any]) -> int:
    """Return the version of Clerk's claims: 2 when ``v`` is 2, 1 when it is 1 or absent.

    Otherwise 0: a version that is not known here, of which nothing is granted.
    """
    version = payload.get("v", 1)
    return int(version) if is_number(version) and version in (1, 2) else 0


def read_organization(payload: Mapping[str, Any]) -> Organization | None:
    """Return the active organization; ``None`` outside one."""
    match read_version(payload):
        case 1:
            names = payload.get("org_permissions")
            permissions: Iterator[str] = filter(
                is_identifier, names if isinstance(names, list) else ()
            )
            found = (payload.get(f"org_{name}") for name in ("id", "slug", "role"))
        case 2 if isinstance(organization := payload.get("o"), dict):
            permissions = _permissions(payload.get("fea"), organization)
            found = (organization.get(name) for name in ("id", "slg", "rol"))
        case _:
            return None
    organization_id, slug, role = (value if is_identifier(value) else None for value in found)
    if organization_id is None:
        return None
    return Organization(organization_id, slug, role and with_prefix(role), tuple(permissions))


def read_scoped_names(payload: Mapping[str, Any], claim: str) -> tuple[str, ...]:
    """Return what ``fea`` or ``pla`` lists, each with its scope; version 2 only."""
    value = payload.get(claim)
    if not isinstance(value, str) or read_version(payload) != 2:
        return ()
    return tuple(filter(_is_scoped_name, map(str.strip, value.split(","))))


def read_factor_ages(payload: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return ``fva``, minutes since the first and second factor; ``None`` unless two ages."""
    ages = payload.get("fva")
    if not isinstance(ages, list) or len(ages) != 2 or not all(map(is_factor_age, ages)):
        return None
    return ages[0], ages[1]


def read_actor(payload: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return who impersonates the user; ``None`` only without an ``act`` claim.

    A malformed one, ``null`` too, is an empty mapping: the actor is not known, but there is one.
    """
    if "act" not in payload:
        return None
    actor = payload["act"]
    return _freeze(actor) if isinstance(actor, dict) else MappingProxyType({})


def _permissions(features: object, organization: dict[str, Any]) -> Iterator[str]:
    """Expand the feature-permission map: the i-th mask belongs to the i-th of all features."""
    names, masks = organization.get("per"), organization.get("fpm")
    if not (isinstance(features, str) and isinstance(names, str) and isinstance(masks, str)):
        return
    permission_names = [name.strip() for name in names.split(",")]
    for entry, mask in zip(features.split(","), masks.split(","), strict=False):
        scope, _, feature = entry.strip().partition(":")
        if scope in _ORGANIZATION_SCOPES and is_simple_name(feature):
            bits = _parse_mask(mask)
            for position, name in enumerate(permission_names[: bits.bit_length()]):
                if bits >> position & 1 and is_simple_name(name):
                    yield f"org:{feature}:{name}"


def is_simple_name(name: str) -> bool:
    """Tell whether ``name`` is one name in a claim; a comma or a colon would make two of it."""
    return is_identifier(name) and "," not in name and ":" not in name


def _parse_mask(text: str) -> int:
    """Read a decimal bit mask of any size; 0, which grants nothing, unless it is digits only."""
    text = text.strip()
    if not (text.isascii() and text.isdigit()):
        return 0
    try:
        return int(text)
    except ValueError:  # more digits than the interpreter converts
        return 0


def _is_scoped_name(entry: str) -> bool:
    scope, _, name = entry.partition(":")
    return scope in _SCOPES and is_simple_name(name)
