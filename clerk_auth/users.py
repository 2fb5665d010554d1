"""From claims to ``request.user``: a stateless user, or a row of the project's user model."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, router, transaction
from django.db.models import Q

from clerk_auth.conf import derived, get_config
from clerk_auth.core.claims import Claims
from clerk_auth.core.errors import UserInactive
from clerk_auth.imports import import_named
from clerk_auth.profile import get_id_field, read_profile, write_profile

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
        UserInactive: ``is_active`` is false, the model's manager hides the row, or the row is
            found by user name and has a password: somebody may have signed up under the
            victim's id.
    """
    profile = read_profile(claims)
    user = _admit(_get_or_create(claims.user_id, profile))
    write_profile(user, profile)
    return user


def existing_user(claims: Claims) -> Any:
    """Return the row as :func:`database_user` does, and create none; one query.

    Raises:
        UserInactive: as there, or no row has the user id.
    """
    model = get_user_model()
    try:
        user = model._default_manager.get(**{get_id_field(): claims.user_id})
    except model.DoesNotExist:
        raise UserInactive("no row has the user id") from None
    return _admit(user)


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
    if id_field == model.USERNAME_FIELD or model._meta.get_field(id_field) == model._meta.pk:
        raise ImproperlyConfigured(
            "To link existing rows, give Clerk's user id a field of its own and name it in "
            "CLERK_AUTH['USER_ID_FIELD']."
        )
    if claims.actor is not None:
        raise LinkRefused("Somebody impersonates this Clerk user.")
    using = router.db_for_write(model, instance=user)
    row = model._base_manager.using(using).filter(pk=user.pk)
    has_none = Q(**{f"{id_field}__isnull": True}) | Q(**{id_field: ""})
    try:
        # One statement, so that of two links at once the second one finds the first.
        with transaction.atomic(using=using):
            linked = row.filter(has_none).update(**{id_field: claims.user_id})
    except IntegrityError:
        raise LinkRefused("This Clerk user has another account here.") from None
    if not linked and not row.filter(**{id_field: claims.user_id}).exists():
        raise LinkRefused("This account belongs to another Clerk user.")
    setattr(user, id_field, claims.user_id)


def _admit(user: Any) -> Any:
    if get_id_field() == user.USERNAME_FIELD and user.has_usable_password():
        raise UserInactive("the row found by user name has a password")
    if not user.is_active:
        raise UserInactive("is_active is false")
    return user


def _get_or_create(user_id: str, profile: Mapping[str, Any]) -> Any:
    model, id_field = get_user_model(), get_id_field()
    named = {id_field: user_id}
    for values in _possible_rows(user_id, profile):
        try:
            return model._default_manager.get_or_create(defaults=values, **named)[0]
        except IntegrityError as error:
            refusal = error
    if model._base_manager.filter(**named).exists():
        raise UserInactive("the default manager hides the row")
    raise refusal


def _possible_rows(user_id: str, profile: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what a new row may hold, from the best down: a constraint may refuse one."""
    model = get_user_model()
    row = {model.USERNAME_FIELD: user_id, "password": partial(make_password, None)}
    yield {**row, **profile}
    if profile:
        yield row
    if get_id_field() != model.USERNAME_FIELD:
        # Somebody's user name is this Clerk id. It is theirs, and identifies nobody here.
        yield {**row, model.USERNAME_FIELD: f"{user_id}-{secrets.token_hex(8)}"}


@derived
def get_user_resolver() -> UserResolver:
    """Return what ``USER_RESOLVER`` names; ``ImportError`` when it cannot be imported."""
    resolver: UserResolver = import_named("USER_RESOLVER", get_config().user_resolver)
    return resolver
