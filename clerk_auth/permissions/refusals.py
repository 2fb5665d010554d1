"""Count and log refusals by a permission of ours, as the verifier does for tokens."""

from __future__ import annotations

import logging
from zlib import crc32

from rest_framework.request import Request

from clerk_auth import metrics
from clerk_auth.core.authorization import PERMISSION_DENIED, REFUSAL_CODES
from clerk_auth.logs import log, logger, refusals

__all__ = ["note_refusal"]

# A project may name permissions by what a caller sent; this bounds the kinds in memory.
_KINDS = 256
_MAX_NAME_LENGTH = 200


def note_refusal(request: Request, code: str, name: str) -> None:
    """Count and log that the permission ``name`` refuses ``request`` with 403.

    Not noted: the 401 of a caller who has not authenticated; and a try, by which the browsable API
    and ``OPTIONS`` find out which methods they may offer.
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
    # REST framework sets it on a clone of the request, which it makes for each other method.
    return isinstance(request, Request) and "method" in vars(request)


def _is_unauthenticated(request: Request) -> bool:
    # REST framework decides between 401 and 403 in the same way.
    return bool(getattr(request, "authenticators", ())) and not request.successful_authenticator
