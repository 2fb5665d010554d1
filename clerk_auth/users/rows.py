"""The caller's row of the user model, found or made.

A row is found by Clerk's user id and by nothing else, spelled exactly as in the claim. ``alias`` is
the Clerk instance that verified it; ``user_id`` holds that alias too, except for ``default``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, router

from clerk_auth.conf import get_config
from clerk_auth.core.errors import UserInactive, UserUnknown
from clerk_auth.logs import defects, log
from clerk_auth.users import columns
from clerk_auth.users.columns import get_id_field
from clerk_auth.users.writes import REFUSALS, note_written, write

__all__ = [
    "admit", "can_store", "check_id", "check_spelling", "find_or_make_row", "has_id",
    "may_have_password",
]  # fmt: skip

# What a model, a field or the database raises for a row that it does not accept.
_IMPOSSIBLE = (*REFUSALS, ValueError, TypeError)


def admit(user: Any, user_id: str, alias: str) -> Any:
    """Return the row if it is the caller's, and active.

    Raises:
        UserInactive: it is not.
    """
    id_field = get_id_field(alias)
    check_spelling(getattr(user, id_field), user_id, alias)
    if id_field == user.USERNAME_FIELD and may_have_password(user):
        raise UserInactive("has_password")
    # As Django reads it from a model that is not an AbstractBaseUser.
    if not getattr(user, "is_active", True):
        raise UserInactive("inactive")
    return user


def may_have_password(user: Any) -> bool:
    """Tell whether a password may ever open the row.

    No password opens a row whose hash is empty or NULL, although Django calls that usable:
    ``get_or_create`` makes such rows. A hash of an algorithm that Django does not know counts,
    because the algorithm may be added to the settings.
    """
    has_usable_password = getattr(user, "has_usable_password", None)
    if has_usable_password is not None and not has_usable_password():
        return False
    check_password = getattr(type(user), "check_password", None)
    # A model's own method may look elsewhere.
    is_djangos = check_password in (None, AbstractBaseUser.check_password)
    return not is_djangos or getattr(user, "password", None) not in (None, "")


def check_id(user_id: str, alias: str) -> None:
    """Refuse, without a query, a user id that the column cannot hold as it is.

    Raises:
        UserUnknown: it cannot.
        ImproperlyConfigured: a user id may name two rows, or the column is not there.
    """
    name = columns.get_id_column(alias).name
    if not columns.holds_id(user_id, alias):
        _report("id_does_not_fit", [name], alias)
        raise UserUnknown("unfit")


def can_store(user_id: str, alias: str) -> bool:
    """Tell whether the user id may be written into its column; if not, the log names the column."""
    name = columns.get_id_column(alias).name
    if columns.is_for_ids(alias) and not columns.find_misfits({name: user_id}):
        return True
    _report("id_does_not_fit", [name], alias)
    return False


def has_id(rows: Any, user_id: str, alias: str) -> bool:
    """Tell whether one of ``rows``, a query, has the user id, in this spelling."""
    id_field = get_id_field(alias)
    for spelling in rows.filter(**{id_field: user_id}).values_list(id_field, flat=True):
        with suppress(UserInactive):
            check_spelling(spelling, user_id, alias)
            return True
    return False


def check_spelling(found: object, user_id: str, alias: str) -> None:
    """Refuse a row whose user id, ``found``, is not exactly ``user_id``.

    A database may find such a row by a collation that ignores case, accents or trailing spaces;
    and a model may store another value than it was given.

    Raises:
        UserInactive: it differs.
    """
    if str(found) != user_id:
        _report("id_differs", [get_id_field(alias)], alias)
        raise UserInactive("other_id")


def find_or_make_row(user_id: str, profile: Mapping[str, Any], alias: str) -> Any:
    """Return the row of the user id: one query. Where there is none, make one.

    Requests that come at once end with one row.

    Raises:
        UserInactive: the model's manager hides the row, or the row has another user id.
        UserUnknown: no column can hold what a new one needs.
        IntegrityError, ValidationError: the project's own constraint or ``clean()`` refuses it.
    """
    check_id(user_id, alias)
    model, named = get_user_model(), {get_id_field(alias): user_id}
    # The database that rows are written to: a replica may lag.
    using = router.db_for_write(model)
    manager = model._default_manager.db_manager(using)
    if (user := manager.filter(**named).first()) is not None:
        return user
    if not can_store(user_id, alias):
        raise UserUnknown("unfit")
    for values in _possible_rows(user_id, profile, alias):
        try:
            user = write(model, using, partial(_make_row, manager, values, alias))
        except _IMPOSSIBLE as error:
            refusal, refused = error, values
        else:
            given = {name: value for name, value in profile.items() if values.get(name) == value}
            note_written(user, given)
            return user
        # Another request was first: a model's own validation may say so before the database does.
        if (user := manager.filter(**named).first()) is not None:
            return user
    if model._base_manager.using(using).filter(**named).exists():
        raise UserInactive("hidden")
    at_fault = _find_at_fault(refusal, refused, alias)
    if not at_fault:
        raise refusal
    _report("row_does_not_fit", at_fault, alias, refusal)
    raise UserUnknown("not_created")


def _make_row(manager: Any, values: Mapping[str, Any], alias: str) -> Any:
    user, id_field = manager.all().create(**values), get_id_field(alias)
    check_spelling(getattr(user, id_field), values[id_field], alias)
    return user


def _possible_rows(
    user_id: str, profile: Mapping[str, Any], alias: str
) -> Iterator[dict[str, Any]]:
    """Yield values for a new row, the fullest first: a constraint may refuse some of them."""
    needed = {name: profile[name] for name in columns.find_needed(alias) if name in profile}
    profiles: list[Mapping[str, Any]] = [profile]
    for less in (needed, {}):
        if less not in profiles:
            profiles.append(less)
    id_field = get_id_field(alias)
    has_name = id_field != get_user_model().USERNAME_FIELD
    # On the second try another user has this Clerk id as user name, which identifies neither.
    for is_second_try in (False, True) if has_name else (False,):
        row = columns.make_row_values(user_id, alias, is_second_try=is_second_try)
        for values in profiles:
            yield {**row, **values, id_field: user_id}


def _find_at_fault(error: Exception, values: dict[str, Any], alias: str) -> list[str]:
    """Return the columns that cannot hold our values; none if the project's own rule refuses."""
    if isinstance(error, ValidationError):
        return [name for name in getattr(error, "error_dict", ()) if columns.has_column(name)]
    if isinstance(error, IntegrityError):
        return [name for name in columns.find_required(alias) if name not in values]
    misfits = columns.find_misfits(values)
    return misfits or (sorted(values) if isinstance(error, DataError) else [])


def _report(reason: str, names: list[str], alias: str, error: Exception | None = None) -> None:
    field, label = ",".join(map(columns.get_label, names)), get_config(alias).label
    if defects.admit("user_column_unfit", reason, field, label) is not None:
        log(
            logging.ERROR,
            "user_column_unfit",
            field=field,
            reason=reason,
            error=type(error).__name__ if error else None,
            instance=label,
        )
