"""From claims to ``request.user``: a stateless user, or a row of the project's user model."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.db import IntegrityError
from django.utils.module_loading import import_string

from clerk_auth.conf import derived, get_config
from clerk_auth.core.claims import Claims
from clerk_auth.core.errors import UserInactive

if TYPE_CHECKING:
    from django.db.models import Manager

UserResolver = Callable[[Claims], Any]


class ClerkUser:
    """The caller, as the token names them: no database row behind it.

    ``pk`` is Clerk's user id. It reads like Django's ``AnonymousUser``, but is authenticated:
    throttles, model permissions and the browsable API work; it has no Django permissions.
    """

    __slots__ = ("claims", "pk")

    is_active = True
    is_authenticated = True
    is_anonymous = False
    is_staff = False
    is_superuser = False

    def __init__(self, claims: Claims) -> None:
        self.pk = claims.user_id
        self.claims = claims

    @property
    def id(self) -> str:
        return self.pk

    @property
    def username(self) -> str:
        return self.pk

    def get_username(self) -> str:
        return self.pk

    def __str__(self) -> str:
        return self.pk

    def __repr__(self) -> str:
        return f"<ClerkUser: {self.pk}>"

    def __eq__(self, other: object) -> bool:
        return self.pk == other.pk if isinstance(other, ClerkUser) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.pk)

    @property
    def groups(self) -> Manager[Any]:
        """No groups; only where ``django.contrib.auth`` is installed."""
        from django.contrib.auth.models import AnonymousUser

        return AnonymousUser().groups

    @property
    def user_permissions(self) -> Manager[Any]:
        """No permissions; only where ``django.contrib.auth`` is installed."""
        from django.contrib.auth.models import AnonymousUser

        return AnonymousUser().user_permissions

    def get_user_permissions(self, obj: object = None) -> set[str]:
        return set()

    def get_group_permissions(self, obj: object = None) -> set[str]:
        return set()

    def get_all_permissions(self, obj: object = None) -> set[str]:
        return set()

    def has_perm(self, perm: str, obj: object = None) -> bool:
        return False

    def has_perms(self, perm_list: Iterable[str], obj: object = None) -> bool:
        return all(self.has_perm(perm, obj) for perm in perm_list)

    def has_module_perms(self, module: str) -> bool:
        return False

    def save(self, *args: object, **kwargs: object) -> NoReturn:
        raise NotImplementedError("A ClerkUser has no database row.")

    delete = set_password = check_password = save


def stateless_user(claims: Claims) -> ClerkUser:
    """Return a :class:`ClerkUser`; no query."""
    return ClerkUser(claims)


def database_user(claims: Claims) -> Any:
    """Return the row of ``AUTH_USER_MODEL`` whose ``USER_ID_FIELD`` is Clerk's user id.

    One query; a first request creates the row, with an unusable password. Rows are never linked
    by e-mail address or by a name that somebody chose.

    Raises:
        UserInactive: ``is_active`` is false, or the row is found by user name and has a password:
            somebody may have signed up under the victim's id.
    """
    model = get_user_model()
    field = get_config().user_id_field or model.USERNAME_FIELD
    try:
        user = _get_or_create(field, claims.user_id, username=claims.user_id)
    except IntegrityError:
        if field == model.USERNAME_FIELD:
            raise
        # Somebody's user name is this Clerk id. It is theirs, and identifies nobody here.
        username = f"{claims.user_id}-{secrets.token_hex(8)}"
        user = _get_or_create(field, claims.user_id, username=username)
    if field == model.USERNAME_FIELD and user.has_usable_password():
        raise UserInactive("the row found by user name has a password")
    if not user.is_active:
        raise UserInactive("is_active is false")
    return user


def _get_or_create(field: str, user_id: str, *, username: str) -> Any:
    model = get_user_model()
    defaults: dict[str, Any] = {
        model.USERNAME_FIELD: username,
        "password": partial(make_password, None),
        field: user_id,
    }
    user, _created = model._default_manager.get_or_create(defaults=defaults, **{field: user_id})
    return user


@derived
def get_user_resolver() -> UserResolver:
    """Return what ``USER_RESOLVER`` names; ``ImportError`` when it cannot be imported."""
    resolver: UserResolver = import_string(get_config().user_resolver)
    return resolver
