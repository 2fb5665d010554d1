"""What came of writing claims into rows, so that no request repeats what came to nothing.

A constraint may refuse a value, as an address that another row has, and a model may store another
form of it, as small letters. Either way the row keeps differing from the claim. A process remembers
both; it tries again after five minutes, or when a row changes that may have been in the way.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from django.db.models.signals import post_delete, post_save

from clerk_auth.conf import derived

RETRY_SECONDS = 300
# 8 MB or so.
MAX_FACTS = 65536


# The key of a row, a column, and a hash of what was written and of what the column holds.
Fact = tuple[Any, str, int]


class Attempts:
    """Remembers which values were written, and what columns hold that should hold another one.

    It knows hashes, not values. Threads share it without a lock: each step is one operation on a
    dict, and the worst outcome is one more attempt. ``now`` is a clock in seconds; with
    ``max_facts`` of a kind, all of it is forgotten.
    """

    def __init__(
        self, now: Callable[[], float] = time.monotonic, max_facts: int = MAX_FACTS
    ) -> None:
        self._now = now
        self._max_facts = max_facts
        # Until when each is believed.
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
    """Return the process's memory; it starts anew where a test changes the settings."""
    return Attempts()
