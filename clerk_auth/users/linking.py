"""Link existing rows to Clerk users: one row whose user proves both, or many from a CSV file.

A file is checked as a whole before anything is written. Then its rows are linked in batches, each
under the conditions of :func:`link`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import IntegrityError, connections, router, transaction
from django.db.models import Case, Q, QuerySet, Value, When
from django.db.models.functions import Cast

from clerk_auth.conf import get_config
from clerk_auth.core.claims import Claims
from clerk_auth.error_reports import hide_locals
from clerk_auth.users.columns import get_id_column
from clerk_auth.users.database import convert, read_user_id
from clerk_auth.users.ids import is_value, make_id
from clerk_auth.users.rows import can_store, has_id

__all__ = [
    "MAX_LINES", "NO_ROW", "OTHER_ID", "OTHER_ROW", "Line", "LinkRefused", "Problem", "Result",
    "check_settings", "get_link_field", "is_unlinked", "link", "link_lines", "read_lines",
]  # fmt: skip

# All lines are held in memory, about 300 bytes each.
MAX_LINES = 1_000_000
# Rows in one statement; fewer where a database limits parameters, of which a row takes four.
MAX_BATCH = 1000
# In the second column of a first line.
_HEADERS = frozenset({"clerk_id", "clerk id", "clerk_user_id", "clerk user id", "user_id", "id"})
_USER_PREFIX = "user_"

NO_ROW = "there is no such row"
OTHER_ID = "the row has another Clerk id"
OTHER_ROW = "another row has this Clerk id"


class LinkRefused(Exception):
    """The row and the Clerk user cannot be linked; the message names neither."""


@hide_locals
def link(user: Any, claims: Claims) -> None:
    """Write Clerk's user id, or what ``USER_ID_CLAIM`` names, into a row that has none yet.

    The caller has proved to be the row's user and the Clerk user. Linking the same two again
    changes nothing. The resolvers find the row by these claims from then on. The field is that of
    the claims' instance: users of two instances share a row only if each has a field of its own.

    Raises:
        ClaimInvalid: see :func:`read_user_id`.
        LinkRefused: the row has another Clerk id, the id has another row, or the Clerk user is
            impersonated.
        ImproperlyConfigured: ``USER_ID_FIELD`` is not a field for Clerk's id only.
        TypeError: ``user`` is not a row of ``AUTH_USER_MODEL``.
    """
    model = get_user_model()
    if not isinstance(user, model):
        raise TypeError("only a row of AUTH_USER_MODEL can be linked")
    alias = claims.instance
    id_field = get_link_field(alias)
    if claims.actor is not None:
        raise LinkRefused("This Clerk user is impersonated.")
    user_id = read_user_id(claims)
    if not can_store(user_id, alias):
        raise LinkRefused("This Clerk user cannot be linked here.")
    using = router.db_for_write(model, instance=user)
    row = model._base_manager.using(using).filter(pk=user.pk)
    try:
        # One statement: of two links at once, the second one finds the first.
        with transaction.atomic(using=using):
            linked = row.filter(is_unlinked(alias)).update(**{id_field: user_id})
    except IntegrityError:
        # Logs an id that differs in spelling.
        has_id(model._base_manager.using(using), user_id, alias)
        raise LinkRefused("This Clerk user has another account here.") from None
    if not linked and not has_id(row, user_id, alias):
        raise LinkRefused("This account belongs to another Clerk user.")
    setattr(user, id_field, user_id)


def get_link_field(alias: str) -> str:
    """Return ``USER_ID_FIELD``; ``ImproperlyConfigured`` if it is not a field of its own."""
    model, column = get_user_model(), get_id_column(alias)
    if column.name == model.USERNAME_FIELD or column.primary_key:
        raise ImproperlyConfigured(
            "To link existing rows, give Clerk's user id a unique field of its own and name it in "
            f"CLERK_AUTH['{get_config(alias).path}USER_ID_FIELD']."
        )
    return str(column.name)


def is_unlinked(alias: str) -> Q:
    """Return the condition that a row has no Clerk user id yet."""
    column = get_id_column(alias)
    unlinked = Q(**{f"{column.name}__isnull": True})
    return unlinked | Q(**{column.name: ""}) if column.empty_strings_allowed else unlinked


class Line(NamedTuple):
    """One line of a file: its number from 1, the row's primary key, and what to write there."""

    number: int
    key: Any
    user_id: str


class Problem(NamedTuple):
    """What is wrong with one line, without quoting it."""

    number: int
    reason: str


@dataclass
class Result:
    """What became of some lines: how many rows were linked, now or ``before``."""

    linked: int = 0
    before: int = 0
    refused: list[Problem] = field(default_factory=list)


def check_settings(alias: str) -> None:
    """Raise ``ImproperlyConfigured`` where rows are not found by Clerk's id in its own field."""
    config = get_config(alias)
    if config.user_id_claim != "sub":
        raise ImproperlyConfigured(
            f"CLERK_AUTH['{config.path}USER_ID_CLAIM'] is another claim than sub: rows are not "
            "found by Clerk's user ids, and there is nothing to link."
        )
    get_link_field(alias)


def read_lines(stream: Iterable[str], alias: str) -> tuple[list[Line], list[Problem]]:
    """Read a file of two columns, the row's key and Clerk's user id; a header may come first.

    The ids are those of the Clerk instance ``alias``, without that in front. Empty lines are
    skipped, and so are lines that only repeat another one. A line that contradicts an earlier one
    is a problem.
    """
    meta = get_user_model()._meta
    columns = meta.pk, meta.get_field(get_link_field(alias))
    lines: list[Line] = []
    problems: list[Problem] = []
    rows: dict[Any, Line] = {}
    people: dict[str, Line] = {}
    for number, cells in _read_cells(stream, problems):
        if number == 1 and len(cells) == 2 and cells[1].lower() in _HEADERS:
            continue
        line = _read_line(number, cells, *columns, alias)
        if isinstance(line, Problem):
            problems.append(line)
            continue
        of_row, of_person = rows.get(line.key), people.get(line.user_id)
        if of_row is not None and of_row is of_person:
            continue
        if of_row is not None:
            problems.append(Problem(number, f"line {of_row.number} has another id for this row"))
        if of_person is not None:
            problems.append(Problem(number, f"line {of_person.number} has this id for another row"))
        if of_row is None and of_person is None:
            rows[line.key] = people[line.user_id] = line
            lines.append(line)
        if len(lines) > MAX_LINES:
            problems.append(Problem(number, f"only {MAX_LINES:,} lines are read: split the file"))
            break
    return lines, problems


def _read_cells(stream: Iterable[str], problems: list[Problem]) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(stream, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error:
            problems.append(Problem(number, "is not valid CSV from here on"))
            return
        except UnicodeDecodeError:
            problems.append(Problem(number, "is not UTF-8, here or further on"))
            return
        if any(cells):
            yield number, cells


def _read_line(
    number: int, cells: list[str], key_column: Any, id_column: Any, alias: str
) -> Line | Problem:
    if len(cells) != 2:
        return Problem(number, f"expected 2 columns, separated by commas, and found {len(cells)}")
    text, value = cells
    key = _convert(key_column, text)
    if key is None:
        return Problem(number, f"the first column is not a valid {key_column}")
    if not (is_value(value, alias) and value.startswith(_USER_PREFIX)):
        return Problem(
            number, f"the second column is not a valid Clerk user id, as in {_USER_PREFIX}2abc"
        )
    user_id = make_id(value, alias)
    if _convert(id_column, user_id) != user_id:
        return Problem(number, f"the Clerk user id does not fit {id_column}")
    return Line(number, key, user_id)


def _convert(column: Any, text: str) -> Any:
    with suppress(ValidationError, ValueError, OverflowError):
        return convert(column, text) if text.isprintable() else None
    return None


def link_lines(lines: list[Line], alias: str, *, is_dry_run: bool) -> Iterator[Result]:
    """Link the rows, or only check them; yield the result of each batch once it is committed."""
    model = get_user_model()
    using = router.db_for_write(model)
    rows = model._base_manager.using(using)
    parameters = connections[using].features.max_query_params or MAX_BATCH * 4
    size = min(MAX_BATCH, parameters // 4)
    for start in range(0, len(lines), size):
        result = Result()
        batch = _judge(rows, lines[start : start + size], result, alias)
        if is_dry_run:
            result.linked += len(batch)
        elif batch and not _link_batch(rows, batch, result, alias):
            for line in batch:
                _link_one(rows, line, result, alias)
        yield result


def _judge(rows: QuerySet[Any], batch: list[Line], result: Result, alias: str) -> list[Line]:
    """Return the lines whose rows can be linked; two queries."""
    id_field = get_link_field(alias)
    ids = dict(rows.filter(pk__in=[line.key for line in batch]).values_list("pk", id_field))
    taken = rows.filter(**{f"{id_field}__in": [line.user_id for line in batch]})
    owners = dict(taken.values_list(id_field, "pk"))
    unlinked = []
    for line in batch:
        if line.key not in ids:
            result.refused.append(Problem(line.number, NO_ROW))
        elif ids[line.key] == line.user_id:
            result.before += 1
        elif ids[line.key]:
            result.refused.append(Problem(line.number, OTHER_ID))
        elif line.user_id in owners:
            result.refused.append(Problem(line.number, OTHER_ROW))
        else:
            unlinked.append(line)
    return unlinked


def _link_batch(rows: QuerySet[Any], batch: list[Line], result: Result, alias: str) -> bool:
    """Link all rows in one statement; false if another writer was faster."""
    id_field = get_link_field(alias)
    column = rows.model._meta.get_field(id_field)
    ids = Case(*(When(pk=line.key, then=Value(line.user_id)) for line in batch))
    unlinked = rows.filter(is_unlinked(alias), pk__in=[line.key for line in batch])
    try:
        with transaction.atomic(using=rows.db):
            # PostgreSQL wants the cast.
            if unlinked.update(**{id_field: Cast(ids, column)}) != len(batch):
                transaction.set_rollback(True, using=rows.db)
                return False
    except IntegrityError:
        return False
    result.linked += len(batch)
    return True


def _link_one(rows: QuerySet[Any], line: Line, result: Result, alias: str) -> None:
    named = {get_link_field(alias): line.user_id}
    row = rows.filter(pk=line.key)
    try:
        with transaction.atomic(using=rows.db):
            linked = row.filter(is_unlinked(alias)).update(**named)
    except IntegrityError:
        result.refused.append(Problem(line.number, OTHER_ROW))
        return
    if linked:
        result.linked += 1
    elif has_id(row, line.user_id, alias):
        result.before += 1
    else:
        result.refused.append(Problem(line.number, OTHER_ID if row.exists() else NO_ROW))
