"""The user of a verified token without a database row."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn

from clerk_auth.core.claims import Claims

if TYPE_CHECKING:
    from django.db.models import Manager

_NO_ROW = (
    "no database row: CLERK_AUTH['USER_RESOLVER'] = 'clerk_auth.users.database_user' gives one"
)


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
        # Django quotes it where a foreign key or a look-up needs a row.
        return f"<ClerkUser: {self.pk} ({_NO_ROW})>"

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

    async def aget_user_permissions(self, obj: object = None) -> set[str]:
        return self.get_user_permissions(obj)

    async def aget_group_permissions(self, obj: object = None) -> set[str]:
        return self.get_group_permissions(obj)

    async def aget_all_permissions(self, obj: object = None) -> set[str]:
        return self.get_all_permissions(obj)

    async def ahas_perm(self, perm: str, obj: object = None) -> bool:
        return self.has_perm(perm, obj)

    async def ahas_perms(self, perm_list: Iterable[str], obj: object = None) -> bool:
        return self.has_perms(perm_list, obj)

    async def ahas_module_perms(self, module: str) -> bool:
        return self.has_module_perms(module)

    def save(self, *args: object, **kwargs: object) -> NoReturn:
        raise NotImplementedError(f"A ClerkUser has {_NO_ROW}.")

    delete = set_password = check_password = save


def stateless_user(claims: Claims) -> ClerkUser:
    """Return a :class:`ClerkUser`; no query."""
    return ClerkUser(claims)
