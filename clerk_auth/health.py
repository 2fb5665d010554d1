"""Views for whoever restarts a process or routes requests to it: ``include("clerk_auth.health")``.

============= ===== =====================================================================
status        ready meaning
============= ===== =====================================================================
fresh         200   there are keys; also ``stale``, ``degraded`` (the last fetch failed)
                    and ``static`` (none are ever fetched)
cold          200   no keys yet; the next request fetches them
no_keys       503   no keys, and the fetch has failed: nobody gets in before the next try
misconfigured 503   the verifier cannot be made; the log names the setting
============= ===== =====================================================================

Readiness reads memory and starts nothing, or probes would be a load on Clerk. ``no_keys`` lasts as
long as the pause after a failed fetch. Then a request must come, and try again: a process that
stayed unready until it has keys would never see that request. While observing, others decide who
gets in: every process is ready, whatever its status.

No view here needs a database, a session or an authenticated caller.
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
from clerk_auth.core.error_reports import hide_locals
from clerk_auth.jwks.source import SourceStatus
from clerk_auth.logs import defects, log
from clerk_auth.verifier import get_verifier


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether requests should be sent to this process; ``status`` is a row of the table above.

    ``source`` is ``None`` without a verifier.
    """

    is_ready: bool
    status: str
    source: SourceStatus | None = None


@hide_locals
def read_readiness(*, now: float) -> Readiness:
    """Judge this process by what it holds; no I/O. ``now`` is Unix time in seconds."""
    try:
        source = get_verifier().source.status()
    except Exception as error:  # a key file may raise what it likes: nobody gets in
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
    """Say that the process serves; neither Clerk nor Redis nor the database has a part in it."""
    return JsonResponse({"status": "live"})


@login_not_required
@non_atomic_requests
@never_cache
@require_safe
@hide_locals
def ready(request: HttpRequest) -> JsonResponse:
    """Say whether requests should be sent here, and why, to those who may know."""
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
    except Exception:  # a session that cannot be loaded shows nothing, and decides nothing
        return False


app_name = "clerk_auth"
urlpatterns = [path("live", live, name="live"), path("ready", ready, name="ready")]
