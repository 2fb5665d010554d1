"""The user of a verified token without a database row."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, NoReturn

from clerk_auth.core.claims import Claims

__all__ = ["ClerkUser", "stateless_user"]

_NO_ROW = (
    "no database row: CLERK_AUTH['USER_RESOLVER'] = 'clerk_auth.users.database_user' gives one"
)


def _awaitable(name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def method(self: object, *args: object, **kwargs: object) -> Any:
        return getattr(self, name)(*args, **kwargs)

    return method


def _empty_relation(name: str) -> property:
    def read(self: object) -> Any:
        from django.contrib.auth.models import AnonymousUser  # only where it is installed

        return getattr(AnonymousUser(), name)

    return property(read)


class ClerkUser:
    """The caller, as the token names them: no database row behind it.

    ``pk``, ``id`` and ``username`` are ``Claims.user_key``: Clerk's user id, and with the alias in
    front for another instance than the default. It has what Django's ``AnonymousUser`` has, but is
    authenticated: throttles, model permissions and the browsable API work. It has no Django
    permissions, and no authentication backend is asked for any.
    """

    __slots__ = ("claims", "id", "pk", "username")

    is_active = is_authenticated = True
    is_anonymous = is_staff = is_superuser = False

    def __init__(self, claims: Claims) -> None:
        self.id = self.pk = self.username = claims.user_key
        self.claims = claims

    def __str__(self) -> str:
        return self.pk

    def __repr__(self) -> str:
        # Django quotes it where a foreign key or a look-up needs a row.
        return f"<ClerkUser: {self.pk} ({_NO_ROW})>"

    def __eq__(self, other: object) -> bool:
        return self.pk == other.pk if isinstance(other, ClerkUser) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.pk)

    def get_username(self) -> str:
        return self.username

    def get_all_permissions(self, obj: object = None) -> set[str]:
        return set()

    get_user_permissions = get_group_permissions = get_all_permissions

    def has_perm(self, perm: str, obj: object = None) -> bool:
        return False

    def has_perms(self, perm_list: Iterable[str], obj: object = None) -> bool:
        return all(self.has_perm(perm, obj) for perm in perm_list)

    def has_module_perms(self, module: str) -> bool:
        return False

    def save(self, *args: object, **kwargs: object) -> NoReturn:
        raise NotImplementedError(f"A ClerkUser has {_NO_ROW}.")

    delete = set_password = check_password = save
    groups, user_permissions = _empty_relation("groups"), _empty_relation("user_permissions")
    aget_all_permissions = _awaitable("get_all_permissions")
    aget_user_permissions = _awaitable("get_user_permissions")
    aget_group_permissions = _awaitable("get_group_permissions")
    ahas_perm, ahas_perms = _awaitable("has_perm"), _awaitable("has_perms")
    ahas_module_perms = _awaitable("has_module_perms")


def stateless_user(claims: Claims) -> ClerkUser:
    """Return a :class:`ClerkUser`; no query."""
    return ClerkUser(claims)
