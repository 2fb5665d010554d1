"""Liveness and readiness, as views for an orchestrator: ``include("clerk_auth.health")``.

============= ===== =====================================================================
status        ready meaning
============= ===== =====================================================================
fresh         200   there are keys; also ``stale``, ``degraded`` (the last fetch failed)
                    and ``static`` (none are ever fetched)
cold          200   no keys yet; the next request fetches them
no_keys       503   no keys, and the fetch has failed: no token passes before the next try
misconfigured 503   the verifier cannot be made; the log names the setting
============= ===== =====================================================================

Readiness reads memory and fetches nothing, so that probes put no load on Clerk. ``no_keys`` lasts
as long as the pause after a failed fetch. Then the process is ready again, because the next fetch
is made for a request, and a process that is not ready gets none. With ``MODE`` observe every
process is ready, whatever its status: other authenticators decide.

The views need no database, no session and no authenticated caller.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.db.transaction import non_atomic_requests
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from clerk_auth.conf import find_problems, get_config, is_observing
from clerk_auth.error_reports import hide_locals
from clerk_auth.jwks.source import SourceStatus
from clerk_auth.logs import defects, log
from clerk_auth.verifier import get_verifier

__all__ = ["Readiness", "app_name", "live", "read_readiness", "ready", "urlpatterns"]


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether requests should be sent to this process; ``status`` is a row of the table above.

    ``source`` is ``None`` if the verifier cannot be made.
    """

    is_ready: bool
    status: str
    source: SourceStatus | None = None


@hide_locals
def read_readiness(*, now: float) -> Readiness:
    """Return the readiness of this process; no I/O. ``now`` is Unix time in seconds."""
    try:
        source = get_verifier().source.status()
    except Exception as error:  # a key file, for instance, may raise anything
        _note_misconfigured(error)
        return Readiness(is_observing(), "misconfigured")
    if source.state == "cold" and source.failure and now < source.failure.until:
        return Readiness(is_observing(), "no_keys", source)
    return Readiness(True, source.state, source)


def _note_misconfigured(error: Exception) -> None:
    name = type(error).__name__
    if defects.admit("misconfigured", name) is not None:
        found = find_problems()
        settings = ", ".join(str(problem.obj) for problem in found) or None
        checks = ", ".join(str(problem.id) for problem in found) or None
        log(logging.ERROR, "misconfigured", error=name, settings=settings, checks=checks)


@login_not_required
@non_atomic_requests
@never_cache
@require_safe
def live(request: HttpRequest) -> JsonResponse:
    """Say that the process serves, whatever the state of Clerk, Redis and the database."""
    return JsonResponse({"status": "live"})


@login_not_required
@non_atomic_requests
@never_cache
@require_safe
@hide_locals
def ready(request: HttpRequest) -> JsonResponse:
    """Say whether requests should be sent here; to staff, or with ``HEALTH_DETAILS``, also why."""
    now = time.time()
    readiness = read_readiness(now=now)
    body: dict[str, Any] = {"status": readiness.status}
    if readiness.source is not None and (get_config().health_details or _is_staff(request)):
        fetched_at = readiness.source.fetched_at
        body["age_seconds"] = None if fetched_at is None else round(now - fetched_at)
        body["source"] = readiness.source.as_dict()
    return JsonResponse(body, status=200 if readiness.is_ready else 503)


def _is_staff(request: HttpRequest) -> bool:
    try:
        user = getattr(request, "user", None)
        return bool(user and user.is_active and user.is_staff)
    except Exception:  # a session that cannot be loaded: no details, and no error
        return False


app_name = "clerk_auth"
urlpatterns = [path("live", live, name="live"), path("ready", ready, name="ready")]
