"""Writes to rows of the user model: all or nothing, and not again and again in vain.

A constraint may refuse a value, such as an address that another row has, and a model may store
another form of it, such as lower case. Either way the row keeps differing from the claim. A process
remembers both; it tries again after five minutes, or when a row changes that may have been in the
way.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, OperationalError, connections, models, transaction
from django.db.models.signals import post_delete, post_save

from clerk_auth.conf import derived

__all__ = [
    "MAX_FACTS", "REFUSALS", "RETRY_SECONDS", "Attempts", "get_attempts", "note_written", "write",
]  # fmt: skip

T = TypeVar("T")

# How a constraint, a model that validates itself and a column refuse what is written.
REFUSALS = (IntegrityError, ValidationError, DataError)
# PostgreSQL's program_limit_exceeded: an index takes no value of more than 2,704 bytes.
_TOO_LARGE = "54000"
RETRY_SECONDS = 300
# 8 MB or so.
MAX_FACTS = 65536


def write(model: Any, using: str, save: Callable[[], T]) -> T:
    """Do all of ``save`` or nothing: inside ATOMIC_REQUESTS, the request's transaction goes on.

    A transaction of SQLite that has read, as that of a model that validates itself, cannot wait
    for another one's write. If it began here it is tried again, and then begins with a write, of
    no row.
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


# The key of a row, a column, and a hash of what was written and of what the column holds.
Fact = tuple[Any, str, int]


class Attempts:
    """Remembers which values were written, and what columns hold that should hold another one.

    It holds hashes, not values. Threads share it without a lock: each step is one operation on a
    dict, and the worst outcome is one more attempt. ``now`` is a clock in seconds; when there are
    ``max_facts`` of a kind, all of that kind are forgotten.
    """

    def __init__(
        self, now: Callable[[], float] = time.monotonic, max_facts: int = MAX_FACTS
    ) -> None:
        self._now = now
        self._max_facts = max_facts
        # Until when each holds.
        self._written: dict[Fact, float] = {}
        self._refused: dict[Fact, float] = {}

    def came_to_nothing(self, user: Any, name: str, value: Any) -> bool:
        """Tell whether ``value`` was written, and the column held then what it holds now."""
        fact = _fact(user, name, value, getattr(user, name))
        return self._is_known(self._written, fact) or self._is_known(self._refused, fact)

    def is_repeated(self, user: Any, name: str, value: Any) -> bool:
        """Tell whether ``value`` was written to the column before."""
        return self._is_known(self._written, _fact(user, name, value))

    def note_written(self, user: Any, name: str, value: Any) -> None:
        """Remember that ``value`` was written, and what the column holds now."""
        self._note(self._written, _fact(user, name, value))
        if (held := getattr(user, name)) != value:
            self._note(self._written, _fact(user, name, value, held))

    def note_refused(self, user: Any, name: str, value: Any) -> None:
        """Remember that ``value`` was refused, until another row may have given it up."""
        for signal in (post_save, post_delete):
            signal.connect(self._reconsider, type(user), dispatch_uid=("clerk_auth", id(self)))
        self._note(self._refused, _fact(user, name, value, getattr(user, name)))

    def _is_known(self, facts: dict[Fact, float], fact: Fact) -> bool:
        return self._now() < facts.get(fact, -math.inf)

    def _note(self, facts: dict[Fact, float], fact: Fact) -> None:
        if len(facts) >= self._max_facts:
            facts.clear()
        facts[fact] = self._now() + RETRY_SECONDS

    def _reconsider(
        self, *, instance: Any, created: bool = False, update_fields: Any = None, **_: object
    ) -> None:
        """Forget what the change of ``instance`` may have made possible."""
        if created:
            return
        for pk, name, value in list(self._refused):
            if pk != instance.pk and (update_fields is None or name in update_fields):
                self._refused.pop((pk, name, value), None)


def _fact(user: Any, name: str, *values: Any) -> Fact:
    return user.pk, name, hash(tuple(map(repr, values)))


@derived
def get_attempts() -> Attempts:
    """Return the process's memory; it starts anew when a test changes the settings."""
    return Attempts()


def note_written(user: Any, values: Mapping[str, Any]) -> None:
    """Remember what was written to a row, and what its columns hold now."""
    for name, value in values.items():
        get_attempts().note_written(user, name, value)
