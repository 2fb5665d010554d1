"""Profile fields of a user's row, from customised claims: ``USER_FIELDS`` says which.

They describe a user. Fields that identify a user or grant privileges are refused, and a claim that
does not fit its field changes nothing. Each Clerk instance has a setting of its own, by ``alias``.
"""

from __future__ import annotations

import functools
import logging
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import models, router

from clerk_auth.conf import derived, get_config
from clerk_auth.conf.problems import make_problem, unusable
from clerk_auth.core.claims import UNSAFE_CATEGORIES, Claims
from clerk_auth.logs import log
from clerk_auth.users.columns import find_other_instance, get_column, get_id_field, get_label
from clerk_auth.users.writes import REFUSALS, get_attempts, note_written, write

__all__ = [
    "ProfileField", "find_problems", "get_profile_fields", "read_profile", "write_profile",
]  # fmt: skip

NO_COLUMN, PRIVILEGED = "clerk_auth.E010", "clerk_auth.E011"

_PRIVILEGED = frozenset(
    {
        *("password", "is_active", "is_staff", "is_superuser", "groups", "user_permissions"),
        *("last_login", "pk"),
    }
)
# What a column may be, and which types its claim may have; a JSON ``true`` is not a number.
_TYPES: tuple[tuple[type[models.Field[Any, Any]], frozenset[type]], ...] = (
    (models.CharField, frozenset({str})),
    (models.TextField, frozenset({str})),
    (models.BooleanField, frozenset({bool})),
    (models.IntegerField, frozenset({int})),
    (models.FloatField, frozenset({int, float})),
)
# What changes the direction of text.
_TURNS = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


class ProfileField(NamedTuple):
    """A column, the types that its claim may have, and the claim's name."""

    column: models.Field[Any, Any]
    types: frozenset[type]
    claim: str


def find_problems(alias: str) -> list[CheckMessage]:
    """List what is wrong with ``USER_FIELDS``, for the system checks and for the first use."""
    names = get_config(alias).user_fields
    return [problem for name in names if (problem := _find_problem(name, alias))]


@derived
def get_profile_fields(alias: str) -> tuple[ProfileField, ...]:
    """Return what ``USER_FIELDS`` maps; ``ImproperlyConfigured`` names every problem."""
    if problems := find_problems(alias):
        raise unusable(*problems)
    columns = ((get_column(name), claim) for name, claim in get_config(alias).user_fields.items())
    return tuple(ProfileField(column, _types(column), claim) for column, claim in columns)


def read_profile(claims: Claims) -> dict[str, Any]:
    """Return the values of ``USER_FIELDS`` that the claims have, as their columns hold them."""
    values: dict[str, Any] = {}
    for column, types, claim in get_profile_fields(claims.instance):
        value = claims.get(claim)
        if type(value) not in types or (isinstance(value, str) and not _is_plain(value)):
            continue
        # NULL for an empty string, as in Django's forms: a unique column may repeat it.
        value = None if value == "" and column.null else value
        # OverflowError: an integer that no float can hold. ValueError, TypeError: a validator's.
        with suppress(ValidationError, OverflowError, ValueError, TypeError):
            values[column.name] = column.clean(value, None)
    return values


def write_profile(user: Any, values: Mapping[str, Any], alias: str) -> None:
    """Update the columns that differ: no query if none does.

    A value that a constraint or the model's validation refuses, such as an address that another
    row has, leaves its column as it is; the others are written. A value that was refused, or is
    stored in another form, is not written again by each request.
    """
    attempts = get_attempts()
    changed = {
        name: value
        for name, value in values.items()
        if getattr(user, name) != value and not attempts.came_to_nothing(user, name, value)
    }
    if changed:
        _update(user, changed, alias)


def _update(user: Any, values: Mapping[str, Any], alias: str) -> None:
    before = {name: getattr(user, name) for name in values}
    _assign(user, values)
    using = router.db_for_write(type(user), instance=user)
    try:
        write(type(user), using, partial(user.save, using=using, update_fields=list(values)))
    except REFUSALS:
        _assign(user, before)
        if len(values) == 1:
            (name,) = values
            get_attempts().note_refused(user, name, values[name])
            _note_taken(getattr(user, get_id_field(alias)), name)
            return
        for name, value in values.items():
            _update(user, {name: value}, alias)
        return
    # Written before, and different again: a field or the database stores another form of it.
    repeated = [name for name in values if get_attempts().is_repeated(user, name, values[name])]
    if repeated:
        user.refresh_from_db(using=using, fields=repeated)
    note_written(user, values)


def _assign(user: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        setattr(user, name, value)


# A user who tries again is not logged again.
@functools.lru_cache(maxsize=1024)
def _note_taken(user_id: str, field: str) -> None:
    log(logging.WARNING, "profile_field_taken", user=user_id, field=field)


def _is_plain(text: str) -> bool:
    return all(
        unicodedata.category(character) not in UNSAFE_CATEGORIES
        and unicodedata.bidirectional(character) not in _TURNS
        for character in text
    )


def _types(column: object) -> frozenset[type]:
    return next((types for kind, types in _TYPES if isinstance(column, kind)), frozenset())


def _find_problem(name: str, alias: str) -> CheckMessage | None:
    def refuse(check_id: str, message: str, hint: str) -> CheckMessage:
        key = f"{get_config(alias).path}USER_FIELDS"
        return make_problem(check_id, key, f"names {get_label(name)}, {message}", hint)

    if name in _PRIVILEGED or name == get_id_field(alias):
        return refuse(
            PRIVILEGED,
            "which identifies a user or grants privileges: no claim may change that.",
            "Remove it; grant privileges in the database, or by Clerk's roles and permissions.",
        )
    if other := find_other_instance(name, alias):
        return refuse(
            PRIVILEGED,
            f"by which users of the instance {other!r} are found: no claim may change that.",
            "Remove it, or name another field in that instance's USER_ID_FIELD.",
        )
    try:
        column = get_column(name)
    except FieldDoesNotExist:
        return refuse(NO_COLUMN, "which does not exist.", "Correct the name, or add the field.")
    if not _types(column):
        return refuse(
            NO_COLUMN,
            "which is not a plain column for a string, boolean, integer or float.",
            "Map a plain column; write others in a resolver of your own.",
        )
    if column.primary_key:
        return refuse(PRIVILEGED, "which is a primary key.", "Remove it.")
    if column.unique and not column.null and name != get_user_model().USERNAME_FIELD:
        return refuse(
            NO_COLUMN,
            "which is unique and cannot be null: only one row could have no value.",
            "Give the field null=True.",
        )
    return None
