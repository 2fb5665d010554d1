"""From claims to ``request.user``: a stateless user, or a row of the project's user model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NoReturn

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, router, transaction
from django.db.models import Q
from django.utils.module_loading import import_string

from clerk_auth.columns import get_id_column
from clerk_auth.conf import derived, get_config
from clerk_auth.core.claims import Claims
from clerk_auth.core.errors import UserInactive
from clerk_auth.profile import get_id_field, read_profile, write_profile
from clerk_auth.rows import admit, can_store, check_id, find_or_make_row, has_id

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

    One query; a first request creates the row, with an unusable password, and a claim of
    ``USER_FIELDS`` that has changed costs an update. Rows are never linked by e-mail address or by
    a name that somebody chose.

    Raises:
        UserInactive: ``is_active`` is false, the model's manager hides the row, the row is
            found by user name and has a password (somebody may have signed up under the victim's
            id), it has another spelling of the id, or no column can hold what a new one needs.
        ImproperlyConfigured: a user id may name two rows.
    """
    profile = read_profile(claims)
    user = admit(find_or_make_row(claims.user_id, profile), claims.user_id)
    write_profile(user, profile)
    return user


def existing_user(claims: Claims) -> Any:
    """Return the row as :func:`database_user` does, and create none; one query.

    Raises:
        UserInactive: as there, or no row has the user id.
    """
    model = get_user_model()
    check_id(claims.user_id)
    try:
        user = model._default_manager.get(**{get_id_field(): claims.user_id})
    except model.DoesNotExist:
        raise UserInactive("no row has the user id") from None
    return admit(user, claims.user_id)


class LinkRefused(Exception):
    """The row and the Clerk user do not become one; the message names neither."""


def link(user: Any, claims: Claims) -> None:
    """Write Clerk's user id into ``USER_ID_FIELD`` of a row that has none yet.

    The caller has proved both: that they are the row's user, and Clerk's. To link again what is
    linked changes nothing.

    Raises:
        LinkRefused: the row has another Clerk id, the id has another row, or somebody impersonates
            the Clerk user.
        ImproperlyConfigured: ``USER_ID_FIELD`` is not a field for Clerk's id alone.
        TypeError: ``user`` is not a row of ``AUTH_USER_MODEL``.
    """
    model, id_field = get_user_model(), get_id_field()
    if not isinstance(user, model):
        raise TypeError("only a row of AUTH_USER_MODEL can be linked")
    if id_field == model.USERNAME_FIELD or get_id_column().primary_key:
        raise ImproperlyConfigured(
            "To link existing rows, give Clerk's user id a field of its own and name it in "
            "CLERK_AUTH['USER_ID_FIELD']."
        )
    if claims.actor is not None:
        raise LinkRefused("Somebody impersonates this Clerk user.")
    if not can_store(claims.user_id):
        raise LinkRefused("This Clerk user cannot be linked here.")
    using = router.db_for_write(model, instance=user)
    row = model._base_manager.using(using).filter(pk=user.pk)
    has_none = Q(**{f"{id_field}__isnull": True}) | Q(**{id_field: ""})
    try:
        # One statement, so that of two links at once the second one finds the first.
        with transaction.atomic(using=using):
            linked = row.filter(has_none).update(**{id_field: claims.user_id})
    except IntegrityError:
        has_id(model._base_manager.using(using), claims.user_id)  # says so if only nearly
        raise LinkRefused("This Clerk user has another account here.") from None
    if not linked and not has_id(row, claims.user_id):
        raise LinkRefused("This account belongs to another Clerk user.")
    setattr(user, id_field, claims.user_id)


@derived
def get_user_resolver() -> UserResolver:
    """Return what ``USER_RESOLVER`` names; ``ImportError`` when it cannot be imported."""
    resolver: UserResolver = import_string(get_config().user_resolver)
    return resolver
