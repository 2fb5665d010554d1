"""The logger ``clerk_auth``: constant event names with facts as fields.

The facts are in the message for people, and on the record for a JSON formatter. None of them is a
token, a header, an e-mail address or anything else that a caller chose, except the user's id.
"""

from __future__ import annotations

import logging

logger = logging.getLogger("clerk_auth")


def log(level: int, event: str, **facts: object) -> None:
    """Log ``event`` with its ``facts``; free when the level is off."""
    if logger.isEnabledFor(level):
        fields = " ".join(f"{name}={value}" for name, value in facts.items() if value is not None)
        # One message per event, so that whatever groups records groups them by it.
        message = f"clerk_auth.{event} %s" if fields else f"clerk_auth.{event}"
        logger.log(level, message, *filter(None, [fields]), extra={"event": event, **facts})
