"""Writes into rows of the user model: all of one, or nothing of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, OperationalError, connections, models, transaction

T = TypeVar("T")

# How a constraint, a model that validates itself and a column refuse what is written.
REFUSALS = (IntegrityError, ValidationError, DataError)
# PostgreSQL's program_limit_exceeded: an index takes no value of more than 2,704 bytes.
_TOO_LARGE = "54000"


def write(model: Any, using: str, save: Callable[[], T]) -> T:
    """Do all of ``save`` or nothing: inside ATOMIC_REQUESTS, the request's transaction goes on.

    A transaction of SQLite that has read, as a model that validates itself does, cannot wait for
    another one's write. One that began here is tried again, and begins with a write, of no row.
    """
    connection = connections[using]
    try:
        with transaction.atomic(using=using):
            return save()
    except OperationalError as error:
        cause = error.__cause__
        if _TOO_LARGE in (getattr(cause, "sqlstate", None), getattr(cause, "pgcode", None)):
            raise DataError(*error.args) from error
        if connection.in_atomic_block or connection.vendor != "sqlite":
            raise
    with transaction.atomic(using=using):
        column = model._meta.get_field(model.USERNAME_FIELD)
        nothing = column.model._base_manager.using(using).filter(pk__isnull=True)
        nothing.update(**{column.name: models.F(column.name)})
        return save()
