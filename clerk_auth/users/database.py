"""The resolvers that return a row of the project's user model."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import MaxLengthValidator
from django.db.models import AutoField

from clerk_auth.conf import DEFAULT_INSTANCE, get_config
from clerk_auth.core.claims import Claims
from clerk_auth.core.errors import ClaimInvalid, UserInactive, UserUnknown
from clerk_auth.error_reports import hide_locals
from clerk_auth.users.columns import get_id_column, get_id_field, is_for_ids
from clerk_auth.users.ids import is_value, make_id
from clerk_auth.users.profile import read_profile, write_profile
from clerk_auth.users.rows import admit, check_id, find_or_make_row

__all__ = [
    "NUMBERED_BY_THE_DATABASE", "convert", "database_user", "existing_user",
    "is_numbered_by_the_database", "read_user_id",
]  # fmt: skip

NUMBERED_BY_THE_DATABASE = (
    "CLERK_AUTH['USER_ID_FIELD'] names a key that the database numbers, and database_user would "
    "insert into it. Use existing_user, or a field of its own."
)
_MISSING = object()


@hide_locals
def database_user(claims: Claims) -> Any:
    """Return the row of ``AUTH_USER_MODEL`` whose ``USER_ID_FIELD`` is :func:`read_user_id`.

    One query; a first request creates the row, with an unusable password, and a claim of
    ``USER_FIELDS`` that has changed costs an update. Rows are never linked by e-mail address or by
    a name that a user chose.

    Raises:
        UserInactive: ``is_active`` is false, the model's manager hides the row, the row is
            found by user name and has a password (an attacker may have signed up under the
            victim's id), or it has another spelling of the id.
        UserUnknown: no column can hold what a new row needs.
        ClaimInvalid: see :func:`read_user_id`.
        ImproperlyConfigured: a user id may name two rows, or the database numbers
            ``USER_ID_FIELD``.
    """
    alias = claims.instance
    if is_numbered_by_the_database(alias):
        raise ImproperlyConfigured(NUMBERED_BY_THE_DATABASE)
    profile = read_profile(claims)
    user_id = read_user_id(claims)
    user = admit(find_or_make_row(user_id, profile, alias), user_id, alias)
    write_profile(user, profile, alias)
    return user


@hide_locals
def existing_user(claims: Claims) -> Any:
    """Return the row as :func:`database_user` does, but create none; one query.

    Raises:
        UserUnknown: no row has the user id.
        UserInactive, ClaimInvalid: as there.
    """
    model, user_id, alias = get_user_model(), read_user_id(claims), claims.instance
    check_id(user_id, alias)
    named = {get_id_field(alias): user_id}
    try:
        user = model._default_manager.get(**named)
    except model.DoesNotExist:
        if model._base_manager.filter(**named).exists():
            raise UserInactive("hidden") from None
        raise UserUnknown("no_row") from None
    return admit(user, user_id, alias)


def read_user_id(claims: Claims) -> str:
    """Return what ``USER_ID_FIELD`` holds for this user, as the claim ``USER_ID_CLAIM`` says.

    By default it is Clerk's user id. The value of another claim is a string too, spelled as the
    column writes it. It does not fall back to Clerk's id, which could be another user's value. For
    another instance than ``default`` the alias and a colon stand before either.

    Raises:
        ClaimInvalid: the claim is missing or malformed, or the column cannot hold its value.
    """
    alias = claims.instance
    name = get_config(alias).user_id_claim
    if name == "sub":
        return claims.user_key
    if (value := claims.get(name, _MISSING)) is _MISSING:
        raise ClaimInvalid("missing", claim=name)
    if not is_value(value, alias):
        raise ClaimInvalid("malformed", claim=name)
    column, user_id = get_id_column(alias), make_id(value, alias)
    with suppress(ValidationError, ValueError, OverflowError):
        # "007" and "+7" are not 7: one user has one id.
        if str(convert(column, user_id)) == user_id:
            return user_id
    if not is_for_ids(alias):
        return user_id  # no value of the claim would fit, and ``check_id`` says so
    raise ClaimInvalid("unfit", claim=name)


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


def is_numbered_by_the_database(alias: str) -> bool:
    """Tell whether ``USER_ID_CLAIM`` is looked up in a key that the database gives to new rows.

    Only of ``default``: an id of another instance is no number.
    """
    if alias != DEFAULT_INSTANCE or get_config(alias).user_id_claim == "sub":
        return False
    return isinstance(get_id_column(alias), AutoField)
