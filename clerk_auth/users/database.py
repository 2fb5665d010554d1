"""The resolvers that return a row of the project's user model."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import MaxLengthValidator
from django.db.models import AutoField

from clerk_auth.conf import get_config
from clerk_auth.core.claims import Claims, is_identifier
from clerk_auth.core.errors import ClaimInvalid, UserInactive, UserUnknown
from clerk_auth.error_reports import hide_locals
from clerk_auth.users.columns import get_id_column, get_id_field
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
    if is_numbered_by_the_database():
        raise ImproperlyConfigured(NUMBERED_BY_THE_DATABASE)
    profile = read_profile(claims)
    user_id = read_user_id(claims)
    user = admit(find_or_make_row(user_id, profile), user_id)
    write_profile(user, profile)
    return user


@hide_locals
def existing_user(claims: Claims) -> Any:
    """Return the row as :func:`database_user` does, but create none; one query.

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
            raise UserInactive("hidden") from None
        raise UserUnknown("no_row") from None
    return admit(user, user_id)


def read_user_id(claims: Claims) -> str:
    """Return what ``USER_ID_FIELD`` holds for this user, as the claim ``USER_ID_CLAIM`` says.

    By default it is Clerk's user id. The value of another claim is a string too, spelled as the
    column writes it. It does not fall back to Clerk's id, which could be another user's value.

    Raises:
        ClaimInvalid: the claim is missing or malformed, or the column cannot hold its value.
    """
    name = get_config().user_id_claim
    if name == "sub":
        return claims.user_id
    if (value := claims.get(name, _MISSING)) is _MISSING:
        raise ClaimInvalid("missing", claim=name)
    if not is_identifier(value):
        raise ClaimInvalid("malformed", claim=name)
    column = get_id_column()
    with suppress(ValidationError, ValueError, OverflowError):
        # "007" and "+7" are not 7: one user has one id.
        if str(convert(column, value)) == value:
            return value
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


def is_numbered_by_the_database() -> bool:
    """Tell whether ``USER_ID_CLAIM`` is looked up in a key that the database gives to new rows."""
    return get_config().user_id_claim != "sub" and isinstance(get_id_column(), AutoField)
