"""Refusals by a permission of ours, counted and logged as those of tokens are."""

from __future__ import annotations

import logging
from zlib import crc32

from rest_framework.request import Request

from clerk_auth import metrics
from clerk_auth.core.authorization import PERMISSION_DENIED, REFUSAL_CODES
from clerk_auth.logs import log, logger, refusals

# A project may make permissions from what a caller sent: so many kinds there are at most.
_KINDS = 256
_MAX_NAME_LENGTH = 200


def note_refusal(request: Request, code: str, name: str) -> None:
    """Count and log that the permission ``name`` refuses ``request`` with 403.

    Not noted: a caller who has not authenticated, who gets 401 and is no news; and a try, by which
    the browsable API and ``OPTIONS`` find out which methods they may offer.
    """
    if _is_try(request) or _is_unauthenticated(request):
        return
    code = code if code in REFUSAL_CODES else PERMISSION_DENIED
    metrics.increment(metrics.DENIED, code)
    if logger.isEnabledFor(logging.INFO):
        kind = str(crc32(name.encode("utf-8", "replace")) % _KINDS)
        suppressed = refusals.admit("permission", code, kind)
        if suppressed is not None:
            log(
                logging.INFO,
                "permission_refused",
                code=code,
                permission=name[:_MAX_NAME_LENGTH],
                suppressed=suppressed or None,
            )


def _is_try(request: object) -> bool:
    # REST framework's clone of a request for another method has one of its own.
    return isinstance(request, Request) and "method" in vars(request)


def _is_unauthenticated(request: Request) -> bool:
    # As REST framework decides between 401 and 403.
    return bool(getattr(request, "authenticators", ())) and not request.successful_authenticator
