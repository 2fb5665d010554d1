"""From claims to ``request.user``: a stateless user, or a row of the project's user model.

Permissions and throttles go by ``request.user``, so only an authenticated user may be one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import NoneType
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import MaxLengthValidator
from django.db import IntegrityError, router, transaction
from django.db.models import AutoField, Q

from clerk_auth.conf import derived, get_config
from clerk_auth.conf.imports import import_named
from clerk_auth.core.claims import Claims, is_identifier
from clerk_auth.core.error_reports import hide_locals
from clerk_auth.core.errors import ClaimInvalid, UserInactive, UserUnknown
from clerk_auth.users.columns import get_id_column, get_id_field
from clerk_auth.users.profile import read_profile, write_profile
from clerk_auth.users.rows import admit, can_store, check_id, find_or_make_row, has_id
from clerk_auth.users.stateless import ClerkUser as ClerkUser
from clerk_auth.users.stateless import stateless_user as stateless_user

UserResolver = Callable[[Claims], Any]

NUMBERED_BY_THE_DATABASE = (
    "CLERK_AUTH['USER_ID_FIELD'] names a key that the database numbers, and database_user would "
    "insert into it. Use existing_user, or a field of its own."
)
_MISSING = object()
_SETTING = "CLERK_AUTH['USER_RESOLVER']"


@hide_locals
def database_user(claims: Claims) -> Any:
    """Return the row of ``AUTH_USER_MODEL`` whose ``USER_ID_FIELD`` is :func:`read_user_id`.

    One query; a first request creates the row, with an unusable password, and a claim of
    ``USER_FIELDS`` that has changed costs an update. Rows are never linked by e-mail address or by
    a name that somebody chose.

    Raises:
        UserInactive: ``is_active`` is false, the model's manager hides the row, the row is
            found by user name and has a password (somebody may have signed up under the victim's
            id), or it has another spelling of the id.
        UserUnknown: no column can hold what a new row needs.
        ClaimInvalid: see :func:`read_user_id`.
        ImproperlyConfigured: a user id may name two rows, or the database numbers
            ``USER_ID_FIELD``.
    """
    if is_numbered_by_the_database():
        raise ImproperlyConfigured(NUMBERED_BY_THE_DATABASE)
    profile = read_profile(claims)
    user_id = read_user_id(claims)
    user = admit(find_or_make_row(user_id, profile), user_id)
    write_profile(user, profile)
    return user


@hide_locals
def existing_user(claims: Claims) -> Any:
    """Return the row as :func:`database_user` does, and create none; one query.

    Raises:
        UserUnknown: no row has the user id.
        UserInactive, ClaimInvalid: as there.
    """
    model, user_id = get_user_model(), read_user_id(claims)
    check_id(user_id)
    named = {get_id_field(): user_id}
    try:
        user = model._default_manager.get(**named)
    except model.DoesNotExist:
        if model._base_manager.filter(**named).exists():
            raise UserInactive("the default manager hides the row") from None
        raise UserUnknown("no row has the user id") from None
    return admit(user, user_id)


def read_user_id(claims: Claims) -> str:
    """Return what ``USER_ID_FIELD`` holds for this user, as the claim ``USER_ID_CLAIM`` says.

    By default it is Clerk's user id. The value of another claim is a string too, spelled as the
    column writes it; there is no falling back to Clerk's id, which could be the value of somebody
    else.

    Raises:
        ClaimInvalid: the claim is missing or malformed, or the column cannot hold its value.
    """
    name = get_config().user_id_claim
    if name == "sub":
        return claims.user_id
    if (value := claims.get(name, _MISSING)) is _MISSING:
        raise ClaimInvalid(f"{name} is missing", claim=name)
    if not is_identifier(value):
        raise ClaimInvalid(f"{name} is not a well-formed id", claim=name)
    column = get_id_column()
    with suppress(ValidationError, ValueError, OverflowError):
        # "007" and "+7" are not 7: one person has one id.
        if str(convert(column, value)) == value:
            return value
    raise ClaimInvalid(f"{name} does not fit USER_ID_FIELD", claim=name)


def convert(column: Any, text: str) -> Any:
    """Return ``text`` as ``column`` holds it.

    Raises:
        ValidationError, ValueError, OverflowError: the column cannot hold it.
    """
    value = column.to_python(text)
    if isinstance(value, str):
        MaxLengthValidator(column.max_length or len(value))(value)
    else:
        column.run_validators(value)
    return value


def is_numbered_by_the_database() -> bool:
    """Tell whether ``USER_ID_CLAIM`` is looked up in a key that the database gives to new rows."""
    return get_config().user_id_claim != "sub" and isinstance(get_id_column(), AutoField)


class LinkRefused(Exception):
    """The row and the Clerk user do not become one; the message names neither."""


@hide_locals
def link(user: Any, claims: Claims) -> None:
    """Write Clerk's user id, or what ``USER_ID_CLAIM`` names, into a row that has none yet.

    The caller has proved both: that they are the row's user, and Clerk's. To link again what is
    linked changes nothing. The resolvers find the row by these claims from then on.

    Raises:
        ClaimInvalid: see :func:`read_user_id`.
        LinkRefused: the row has another Clerk id, the id has another row, or somebody impersonates
            the Clerk user.
        ImproperlyConfigured: ``USER_ID_FIELD`` is not a field for Clerk's id alone.
        TypeError: ``user`` is not a row of ``AUTH_USER_MODEL``.
    """
    model = get_user_model()
    if not isinstance(user, model):
        raise TypeError("only a row of AUTH_USER_MODEL can be linked")
    id_field = get_link_field()
    if claims.actor is not None:
        raise LinkRefused("Somebody impersonates this Clerk user.")
    user_id = read_user_id(claims)
    if not can_store(user_id):
        raise LinkRefused("This Clerk user cannot be linked here.")
    using = router.db_for_write(model, instance=user)
    row = model._base_manager.using(using).filter(pk=user.pk)
    try:
        # One statement, so that of two links at once the second one finds the first.
        with transaction.atomic(using=using):
            linked = row.filter(is_unlinked()).update(**{id_field: user_id})
    except IntegrityError:
        has_id(model._base_manager.using(using), user_id)  # says so if only nearly
        raise LinkRefused("This Clerk user has another account here.") from None
    if not linked and not has_id(row, user_id):
        raise LinkRefused("This account belongs to another Clerk user.")
    setattr(user, id_field, user_id)


def get_link_field() -> str:
    """Return ``USER_ID_FIELD``; ``ImproperlyConfigured`` if it is not a field for that id only."""
    model, column = get_user_model(), get_id_column()
    if column.name == model.USERNAME_FIELD or column.primary_key:
        raise ImproperlyConfigured(
            "To link existing rows, give Clerk's user id a unique field of its own and name it in "
            "CLERK_AUTH['USER_ID_FIELD']."
        )
    return str(column.name)


def is_unlinked() -> Q:
    """Return the condition that a row holds no id yet."""
    column = get_id_column()
    unlinked = Q(**{f"{column.name}__isnull": True})
    return unlinked | Q(**{column.name: ""}) if column.empty_strings_allowed else unlinked


@derived
def get_user_resolver() -> UserResolver:
    """Return what ``USER_RESOLVER`` names.

    Raises:
        ImportError: it cannot be imported.
        ImproperlyConfigured: it is a coroutine function, or no function at all.
    """
    resolver: UserResolver = import_named("USER_RESOLVER", get_config().user_resolver)
    check_resolver(resolver)
    return resolver


def check_resolver(resolver: object) -> None:
    """Raise ``ImproperlyConfigured`` unless ``resolver`` is a function that can return a user."""
    if not callable(resolver):
        raise ImproperlyConfigured(f"{_SETTING} names {_kind(resolver)}, which is no function.")
    while isinstance(resolver, partial):
        resolver = resolver.func
    for function in (resolver, type(resolver).__call__):
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise ImproperlyConfigured(
                f"{_SETTING} names a coroutine function, and nothing awaits it: name a plain one."
            )


def admit_user(user: Any) -> Any:
    """Return what a resolver returned, if it is an authenticated user.

    Raises:
        UserInactive: it is ``None``, ``False``, or a user who is not authenticated.
        ImproperlyConfigured: it is no user at all.
    """
    is_authenticated = getattr(user, "is_authenticated", None)
    if is_authenticated is True:
        return user
    # Not by identity: a lazy object stands for what is inside.
    is_nobody = isinstance(user, NoneType | bool) and not user
    if is_authenticated is False or is_nobody:
        raise UserInactive("the resolver returned no authenticated user")
    if inspect.iscoroutine(user):
        user.close()  # or Python warns that it was never awaited
    raise ImproperlyConfigured(
        f"{_SETTING} returned {_kind(user)}, which is no user: its is_authenticated must be True "
        "or False."
    )


def _kind(value: object) -> str:
    # Never the value itself, which may hold anything.
    return f"an object of type {type(value).__qualname__!r}"
