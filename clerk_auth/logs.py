"""The logger ``clerk_auth``: constant event names with facts as fields.

The facts are in the message for people, and on the record for a JSON formatter. None of them is a
token, a header, an e-mail address or anything else that a caller chose, except the user's id and,
escaped and bounded, an origin or a status that Clerk signed.
What a caller can cause at will is limited in its rate.
"""

from __future__ import annotations

import logging
import math
import os
from contextlib import suppress

from clerk_auth.core.errors import KeysBusy
from clerk_auth.rate_limit import RateLimit

logger = logging.getLogger("clerk_auth")


def log(level: int, event: str, **facts: object) -> None:
    """Log ``event`` with its ``facts``; free when the level is off."""
    if logger.isEnabledFor(level):
        fields = " ".join(f"{name}={value}" for name, value in facts.items() if value is not None)
        # One message per event, so that whatever groups records groups them by it.
        message = f"clerk_auth.{event} %s" if fields else f"clerk_auth.{event}"
        write(level, message, *filter(None, [fields]), extra={"event": event, **facts})


def write(level: int, message: str, *arguments: object, extra: dict[str, object]) -> None:
    """Log a line as it is; a handler or filter that fails must not decide about a token."""
    with suppress(Exception):
        logger.log(level, message, *arguments, extra=extra)


def is_defect(error: BaseException) -> bool:
    """Tell whether somebody's code failed; what ends a thread or a greenlet is no failure.

    To have awaited what was cancelled is one, which is no ``Exception``, and is known by its name
    where asyncio is not imported.
    """
    return isinstance(error, Exception) or type(error).__name__ == "CancelledError"


def is_keys_busy(request: object, status: int) -> bool:
    """Tell whether the answer to Django's ``request`` is a 503 that an anonymous caller causes."""
    return status == 503 and getattr(request, "_clerk_auth_outage", None) == KeysBusy.code


class WithoutKeysBusy(logging.Filter):
    """Drops what ``django.request`` logs of such an answer, so that it is mailed to nobody."""

    def filter(self, record: logging.LogRecord) -> bool:
        request, status = getattr(record, "request", None), getattr(record, "status_code", 0)
        return not is_keys_busy(request, status)


# Metrics count every refusal; the log shows one of a kind per interval.
refusals = RateLimit(seconds=10)
# What is wrong for as long as the process lives is said once.
defects = RateLimit(seconds=math.inf)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=refusals.forget)
    os.register_at_fork(after_in_child=defects.forget)
