"""Health, for whoever restarts a process or routes requests to it. Plain views: no authentication.

============= ===== =====================================================================
state         ready meaning
============= ===== =====================================================================
fresh         200   there are keys; also ``stale``, ``degraded`` (the last fetch failed)
                    and ``static`` (none are ever fetched)
cold          200   no keys yet; the next request fetches them
no_keys       503   no keys, and the fetch has failed: nobody gets in before the next try
misconfigured 503   ``CLERK_AUTH`` cannot be used; the log names the key
============= ===== =====================================================================

Readiness reads memory and starts nothing, or probes would be a load on Clerk. ``no_keys`` lasts as
long as the pause after a failed fetch. Then a request must come, and try again: a process that
stayed unready until it has keys would never see that request.
"""

from __future__ import annotations

import logging
import time

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from clerk_auth.verifier import get_verifier

logger = logging.getLogger(__name__)

_UNREADY = frozenset({"no_keys", "misconfigured"})


@require_safe
@never_cache
def live(request: HttpRequest) -> JsonResponse:
    """Say that the process serves; neither Clerk nor Redis nor the database has a part in it."""
    return JsonResponse({"status": "live"})


@require_safe
@never_cache
def ready(request: HttpRequest) -> JsonResponse:
    """Say whether requests should be sent here."""
    state = read_state(now=time.time())
    return JsonResponse({"status": state}, status=503 if state in _UNREADY else 200)


def read_state(*, now: float) -> str:
    """Return the state of this process's keys, a row of the table above; no I/O."""
    try:
        source = get_verifier().source.status()
    except ImproperlyConfigured as error:
        logger.error("misconfigured: %s", error)
        return "misconfigured"
    if source.state == "cold" and source.failure and now < source.failure.until:
        return "no_keys"
    return source.state
