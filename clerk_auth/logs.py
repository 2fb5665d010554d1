"""The logger ``clerk_auth``: constant event names with facts as fields, and how often.

The facts are in the message for people, and on the record for a JSON formatter. None of them is a
token, a header, an e-mail address or anything else that a caller chose, except the user's id and,
escaped and bounded, an origin or a status that Clerk signed. What a caller can cause at will is
limited in its rate.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from clerk_auth.core.errors import REASONS, ClaimInvalid, ClerkAuthError, KeysBusy

__all__ = [
    "MAX_KINDS", "RateLimit", "WithoutKeysBusy", "defects", "is_defect", "is_keys_busy", "log",
    "log_refused", "log_verified", "logger", "refusals", "write",
]  # fmt: skip

logger = logging.getLogger("clerk_auth")
MAX_KINDS = 1000


def log(level: int, event: str, **facts: object) -> None:
    """Log ``event`` with its ``facts``; free when the level is off."""
    if logger.isEnabledFor(level):
        fields = " ".join(f"{name}={value}" for name, value in facts.items() if value is not None)
        # One message per event: error trackers group records by it.
        message = f"clerk_auth.{event} %s" if fields else f"clerk_auth.{event}"
        write(level, message, *filter(None, [fields]), extra={"event": event, **facts})


def write(level: int, message: str, *arguments: object, extra: dict[str, object]) -> None:
    """Log a line as it is; a handler or filter that fails must not decide about a token."""
    with suppress(Exception):
        logger.log(level, message, *arguments, extra=extra)


def log_verified(user_key: str, mode: str) -> None:
    """Log that a token was verified; the callers ask first whether that is shown."""
    write(logging.INFO, "JWT signature verified for user %s", user_key, extra={"mode": mode})


def log_refused(error: ClerkAuthError, mode: str, instance: str | None) -> None:
    """Log a refusal, one of a kind per interval; ``instance`` where there are several."""
    # Clerk signed the session, and knows more than this version, which refuses all such ones.
    is_of_status = isinstance(error, ClaimInvalid) and error.claim == "sts"
    if is_of_status and defects.admit("session_status_unknown") is not None:
        log(logging.WARNING, "session_status_unknown", found=error.found)
    if not logger.isEnabledFor(logging.INFO):
        return
    # A project's own resolver may give any reason, for each user another one.
    kind = error.reason if error.reason in REASONS else None
    suppressed = refusals.admit(error.code, error.claim, mode, kind, instance)
    if suppressed is not None:
        log(
            logging.INFO,
            "token_rejected",
            code=error.code,
            claim=error.claim,
            reason=error.reason,
            mode=mode,
            instance=instance,
            **error.facts,
            suppressed=suppressed or None,
        )


def is_defect(error: BaseException) -> bool:
    """Tell whether code failed, as opposed to what ends a thread or a greenlet.

    asyncio's ``CancelledError`` counts as a failure, although it is not an ``Exception``. It is
    known by its name where asyncio is not imported.
    """
    return isinstance(error, Exception) or type(error).__name__ == "CancelledError"


def is_keys_busy(request: object, status: int) -> bool:
    """Tell whether the answer to Django's ``request`` is a 503 that an anonymous caller causes."""
    return status == 503 and getattr(request, "_clerk_auth_outage", None) == KeysBusy.code


class WithoutKeysBusy(logging.Filter):
    """Drops what ``django.request`` logs of such an answer, so that it is mailed to no admin."""

    def filter(self, record: logging.LogRecord) -> bool:
        request, status = getattr(record, "request", None), getattr(record, "status_code", 0)
        return not is_keys_busy(request, status)


@dataclass(slots=True)
class _Kind:
    quiet_until: float = -math.inf
    left_out: int = 0


class RateLimit:
    """Admits one event of each kind per ``seconds``, the first at once, and counts the others.

    Kinds should come from closed lists. A project's own resolver or permission may make up more:
    beyond ``MAX_KINDS`` all new ones are one.
    """

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._now = now
        self.forget()

    def admit(self, *kind: str | None) -> int | None:
        """Return how many of ``kind`` were left out since the last; ``None``: leave it out too."""
        now = self._now()
        with self._lock:
            if (state := self._kinds.get(kind)) is None:
                kind = kind if len(self._kinds) < MAX_KINDS else ()
                state = self._kinds.setdefault(kind, _Kind())
            if now < state.quiet_until:
                state.left_out += 1
                return None
            left_out, state.left_out = state.left_out, 0
            state.quiet_until = now + self._seconds
            return left_out

    def forget(self) -> None:
        """Start anew, as a forked child must: another thread may have held the lock."""
        # Reentrant, as the locks of logging are: a signal handler may log at any point.
        self._lock = threading.RLock()
        self._kinds: dict[tuple[str | None, ...], _Kind] = {}


# Metrics count every refusal; the log shows one of a kind per interval.
refusals = RateLimit(seconds=10)
# What is wrong for as long as the process lives is said once.
defects = RateLimit(seconds=math.inf)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=refusals.forget)
    os.register_at_fork(after_in_child=defects.forget)
