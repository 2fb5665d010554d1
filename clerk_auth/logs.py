"""The logger ``clerk_auth``: constant event names with facts as fields.

The facts are in the message for people, and on the record for a JSON formatter. None of them is a
token, a header, an e-mail address or anything else that a caller chose, except the user's id.
What a caller can cause at will is limited in its rate.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable
from itertools import count

from clerk_auth.core.errors import KeysBusy

logger = logging.getLogger("clerk_auth")


def log(level: int, event: str, **facts: object) -> None:
    """Log ``event`` with its ``facts``; free when the level is off."""
    if logger.isEnabledFor(level):
        fields = " ".join(f"{name}={value}" for name, value in facts.items() if value is not None)
        # One message per event, so that whatever groups records groups them by it.
        message = f"clerk_auth.{event} %s" if fields else f"clerk_auth.{event}"
        logger.log(level, message, *filter(None, [fields]), extra={"event": event, **facts})


def is_keys_busy(request: object, status: int) -> bool:
    """Tell whether the answer to Django's ``request`` is a 503 that an anonymous caller causes."""
    return status == 503 and getattr(request, "_clerk_auth_outage", None) == KeysBusy.code


class WithoutKeysBusy(logging.Filter):
    """Drops what ``django.request`` logs of such an answer, so that it is mailed to nobody."""

    def filter(self, record: logging.LogRecord) -> bool:
        request, status = getattr(record, "request", None), getattr(record, "status_code", 0)
        return not is_keys_busy(request, status)


class _Kind:
    """What is known of one kind: how many there were, until when it is quiet, and whose turn it is.

    ``turn`` holds the number of the last one admitted. Whoever takes it out decides, alone.
    """

    __slots__ = ("next_number", "quiet_until", "turn")

    def __init__(self) -> None:
        self.next_number: Callable[[], int] = count().__next__
        self.quiet_until = -math.inf
        self.turn = [-1]


class RateLimit:
    """Admits one event of each kind per ``seconds``, the first at once, and counts the others.

    Threads share it without a lock: ``next`` of a counter and ``pop`` of a list are one step each.
    Kinds come from closed lists, so that their number is bounded.
    """

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._now = now
        self._kinds: dict[tuple[str | None, ...], _Kind] = {}

    def admit(self, *kind: str | None) -> int | None:
        """Return how many of ``kind`` were left out since the last; ``None``: leave it out too."""
        now = self._now()
        state = self._kinds.get(kind) or self._kinds.setdefault(kind, _Kind())
        number = state.next_number()
        if now < state.quiet_until:
            return None
        try:
            last = state.turn.pop()
        except IndexError:  # another thread decides
            return None
        is_quiet = now < state.quiet_until  # another thread has decided meanwhile
        if not is_quiet:
            state.quiet_until = now + self._seconds
        state.turn.append(last if is_quiet else number)
        return None if is_quiet else number - last - 1

    def forget(self) -> None:
        """Start anew, as a forked child must: a turn may have been taken at that moment."""
        self._kinds = {}


# Metrics count every refusal; the log shows one of a kind per interval.
refusals = RateLimit(seconds=10)
# What is wrong for as long as the process lives is said once.
defects = RateLimit(seconds=math.inf)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=refusals.forget)
    os.register_at_fork(after_in_child=defects.forget)
