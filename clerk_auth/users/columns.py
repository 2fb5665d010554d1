"""What the user model's columns can hold: Clerk's user id, and what else a new row needs.

``alias`` is the Clerk instance whose settings say which columns those are.

The system checks report a column that does not fit. A request that needs it is refused, and the log
names the column; callers who have a row already are not affected.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.core.checks import CheckMessage
from django.core.exceptions import FieldDoesNotExist
from django.db import models

from clerk_auth.conf import DEFAULT_INSTANCE, derived, get_aliases, get_config
from clerk_auth.conf.problems import make_problem, unusable
from clerk_auth.conf.redaction import show_name
from clerk_auth.users.ids import make_id

__all__ = [
    "ADDRESS_DOMAIN", "find_doubts", "find_misfits", "find_needed", "find_other_instance",
    "find_problems", "find_required", "get_column", "get_id_column", "get_id_field", "get_label",
    "has_column", "holds_id", "is_for_ids", "make_row_values",
]  # fmt: skip

NOT_UNIQUE, ID_DOES_NOT_FIT, ROW_DOES_NOT_FIT, BY_USER_NAME, UNFILLED = (
    "clerk_auth.E007",
    "clerk_auth.E012",
    "clerk_auth.E013",
    "clerk_auth.W009",
    "clerk_auth.W015",
)
# As Clerk makes them: "user_" and 27 letters and digits.
_SAMPLE_ID = "user_2aBcDeFgHiJkLmNoPqRsTuVwXyZ"
_STATELESS = "clerk_auth.users.stateless_user"
# No mail is delivered there: the top-level domain "invalid" never exists (RFC 2606 section 2,
# RFC 6761 section 6.4).
ADDRESS_DOMAIN = "clerk.invalid"


def get_id_field(alias: str) -> str:
    """Return the name of the field that holds Clerk's user id."""
    return get_config(alias).user_id_field or get_user_model().USERNAME_FIELD


def find_other_instance(name: str, alias: str) -> str | None:
    """Return another instance than ``alias`` that finds users by the field ``name``, if any does.

    Whichever resolver it has, unless that is the default: it may call ours.
    """
    for other in get_aliases():
        config = get_config(other)
        finds_rows = config.user_id_field or config.user_resolver != _STATELESS
        if other != alias and finds_rows and get_id_field(other) == name:
            return other
    return None


def get_column(name: str) -> Any:
    """Return the field of the user model that has this name; ``FieldDoesNotExist`` if none has."""
    return get_user_model()._meta.get_field(name)


@derived
def get_id_column(alias: str) -> Any:
    """Return the column that holds Clerk's user id.

    Raises:
        ImproperlyConfigured: the column does not exist, or two rows may have the same user id.
    """
    if problem := _find_ambiguity(alias):
        raise unusable(problem)
    return get_column(get_id_field(alias))


def find_problems(alias: str, *, creates: bool) -> list[CheckMessage]:
    """List what is wrong with the columns, for the system checks.

    ``creates`` tells whether rows are made too. Where the first problem is that the user id does
    not name one row, the others are not looked for.
    """
    if problem := _find_ambiguity(alias):
        return [problem]
    found = [_find_id_problem(alias), *(_find_row_problems(alias) if creates else ())]
    return [problem for problem in found if problem]


def find_doubts(alias: str, *, creates: bool) -> list[CheckMessage]:
    """List what only the project can judge, for the system checks, as :func:`find_problems`."""
    if _find_ambiguity(alias):
        return []
    found, config = [], get_config(alias)
    if (name := get_id_field(alias)) == get_user_model().USERNAME_FIELD:
        found.append(
            make_problem(
                BY_USER_NAME,
                f"{config.path}USER_ID_FIELD",
                f"is {get_label(name)}, the user name. Where users can also sign up locally, by a "
                "magic link or by another single sign-on, a row may be another user's: with a "
                "password it is refused, without one it is taken for the caller's.",
                "Add a unique field for Clerk's user id and name it, or silence this where "
                "nothing but ClerkAuthentication makes rows.",
            )
        )
    required = find_required(alias)
    unfilled = [get_label(name) for name in required if name not in config.user_fields]
    if creates and unfilled:
        found.append(
            make_problem(
                UNFILLED,
                f"{config.path}USER_RESOLVER",
                f"makes rows, but clerk_auth does not fill {', '.join(unfilled)}.",
                "Give the field null=True, or, if it is not unique, a default or a claim in "
                "USER_FIELDS; or use clerk_auth.users.existing_user or a resolver of your own. "
                "Silence this where the model's save() or a signal fills it.",
            )
        )
    return found


def holds_id(user_id: str, alias: str) -> bool:
    """Tell whether the column can hold the user id exactly as it is spelled.

    An integer column reads "042" as 42, and a UUID column ignores case: those would be other ids.
    """
    return _reads_as_it_is(get_id_column(alias), user_id)


@derived
def is_for_ids(alias: str) -> bool:
    """Tell whether the column of the user id is meant for ids such as the instance's."""
    return _find_id_problem(alias) is None


def get_label(name: str) -> str:
    """Return the name of a field with that of its model, for messages."""
    meta = get_user_model()._meta
    is_there = any(name == field.name for field in meta.get_fields())
    return f"{meta.label}.{name if is_there else show_name(name)}"


def make_row_values(user_id: str, alias: str, *, is_second_try: bool = False) -> dict[str, Any]:
    """Return the values of a new row that no claim gives: user name, and an unusable password.

    The user name is the row's id; where it is an e-mail address, one that cannot exist. A second
    try adds something random, because another row has that name.
    """
    model = get_user_model()
    values: dict[str, Any] = {}
    if has_column("password"):
        values["password"] = make_password(None)
    if get_id_field(alias) != model.USERNAME_FIELD:
        suffix = f"-{secrets.token_hex(8)}" if is_second_try else ""
        values[model.USERNAME_FIELD] = _make_user_name(user_id, suffix, alias)
    return values


def find_required(alias: str) -> list[str]:
    """Return the columns that must have a value, and get none from us, the model or Django.

    The model's own ``save()`` or a signal may still fill them: that cannot be seen here.
    """
    ours = {get_id_field(alias), get_user_model().USERNAME_FIELD, "password"}
    return [
        column.name
        for column in get_user_model()._meta.concrete_fields
        if column.name not in ours and _is_required(column)
    ]


def find_needed(alias: str) -> list[str]:
    """Return :func:`find_required`, and what a model's own validation may require too."""
    blank = [c.name for c in get_user_model()._meta.concrete_fields if not (c.blank or c.unique)]
    return list(dict.fromkeys([*find_required(alias), *blank]))


def find_misfits(values: Mapping[str, Any]) -> list[str]:
    """Return the columns that cannot hold their value: too short, or of another type."""
    return [name for name, value in values.items() if _describe_misfit(name, value)]


def has_column(name: str) -> bool:
    """Tell whether the user model has a column of that name."""
    try:
        return bool(getattr(get_column(name), "concrete", False))
    except FieldDoesNotExist:
        return False


def _find_ambiguity(alias: str) -> CheckMessage | None:
    name = get_id_field(alias)
    if has_column(name) and _is_unique(get_column(name)):
        return None
    return make_problem(
        NOT_UNIQUE,
        f"{get_config(alias).path}USER_ID_FIELD",
        f"names {get_label(name)}, which is not a unique field: a Clerk user id must name one row.",
        "Give the field unique=True, or name another one.",
    )


def _is_unique(column: Any) -> bool:
    # As Django asks it of USERNAME_FIELD. A constraint with a condition is not for all rows.
    return column.unique or any(
        tuple(constraint.fields) == (column.name,)
        for constraint in column.model._meta.total_unique_constraints
    )


def _find_id_problem(alias: str) -> CheckMessage | None:
    config, is_default = get_config(alias), alias == DEFAULT_INSTANCE
    # A claim of the project's own may be an integer or a UUID; with an alias it is a string.
    if is_default and config.user_id_claim != "sub":
        return None
    name, sample = get_id_field(alias), _make_sample(alias)
    is_address = _is_address(get_column(name))
    misfit = "is an e-mail address" if is_address else _describe_misfit(name, sample)
    if misfit is None:
        return None
    ids = "Clerk's user ids" if is_default else f"ids such as {sample}"
    return make_problem(
        ID_DOES_NOT_FIT,
        f"{config.path}USER_ID_FIELD",
        f"names {get_label(name)} for {ids}, but it {misfit}.",
        "Add clerk_id = models.CharField(max_length=255, unique=True, null=True, blank=True), and "
        "name it; or give this one max_length=255, if it is meant for them.",
    )


def _find_row_problems(alias: str) -> Iterator[CheckMessage]:
    config = get_config(alias)
    for name, value in make_row_values(_make_sample(alias), alias).items():
        if name in config.user_fields:
            continue
        if misfit := _describe_misfit(name, value):
            yield make_problem(
                ROW_DOES_NOT_FIT,
                f"{config.path}USER_RESOLVER",
                f"makes rows, but {get_label(name)} {misfit}.",
                "Use clerk_auth.users.existing_user, map a claim to the column in USER_FIELDS, "
                "make the rows in a resolver of your own, or change the column.",
            )


def _make_sample(alias: str) -> str:
    return make_id(_SAMPLE_ID if get_config(alias).user_id_claim == "sub" else "1", alias)


def _describe_misfit(name: str, value: Any) -> str | None:
    column = get_column(name)
    if not _reads_as_it_is(column, value):
        return "is not a column for strings"
    # A UUID has a length in the database, and none as a string.
    limit = column.max_length if isinstance(column.to_python(value), str) else None
    if limit is not None and limit < len(value):
        return f"holds {limit} characters, and a row needs {len(value)}"
    return None


def _reads_as_it_is(column: Any, value: Any) -> bool:
    try:
        return str(column.to_python(value)) == str(value)
    except Exception:  # a field may raise anything, such as ValidationError or ValueError
        return False


def _is_address(column: Any) -> bool:
    get_name = getattr(get_user_model(), "get_email_field_name", lambda: None)
    return isinstance(column, models.EmailField) or column.name == get_name()


def _make_user_name(user_id: str, suffix: str, alias: str) -> str:
    """Return a user name with the colon of the id, if it has one: no id of ``default`` has one.

    Otherwise a user there whose id is looked up among user names could have chosen this one.
    """
    column = get_column(get_user_model().USERNAME_FIELD)
    domain = ""
    if _is_address(column):
        # A local part may hold more without quotes (RFC 5322 section 3.2.3); Clerk's ids do not.
        value = re.sub(r"[^A-Za-z0-9_-]", "-", user_id.removeprefix(make_id("", alias)))
        user_id, domain = make_id(value, alias), f"@{ADDRESS_DOMAIN}"
        if alias != DEFAULT_INSTANCE:
            user_id, domain = f'"{user_id}', f'"{domain}'
    spare = (column.max_length or math.inf) - len(user_id) - len(domain)
    if 0 <= spare < len(suffix):
        user_id = user_id[: int(spare) - len(suffix)]
    return f"{user_id}{suffix}{domain}"


def _is_required(column: Any) -> bool:
    if column.null or column.has_default() or column.has_db_default() or column.generated:
        return False
    if isinstance(column, models.AutoField) or _fills_itself(column):
        return False
    # Its default is NULL, or the empty string, which a unique column holds only once.
    return column.get_default() is None or column.unique


def _fills_itself(column: Any) -> bool:
    if getattr(column, "auto_now", False) or getattr(column, "auto_now_add", False):
        return True
    is_link = column.remote_field is not None and getattr(column.remote_field, "parent_link", False)
    return is_link or not type(column).pre_save.__module__.startswith("django.")
