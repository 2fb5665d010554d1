"""Liveness and readiness, as views for an orchestrator: ``include("clerk_auth.health")``.

============= ===== =====================================================================
status        ready meaning
============= ===== =====================================================================
fresh         200   there are keys
static        200   there are keys, and none are ever fetched
stale         200   there are keys; a refresh is due
degraded      200   there are keys; the last fetch failed
cold          200   no keys yet; the next request fetches them
partial       200   some of several instances are ``no_keys`` or ``misconfigured``
no_keys       503   no keys, and the fetch has failed: no token passes before the next try
misconfigured 503   the verifier cannot be made; the log names the setting
============= ===== =====================================================================

Readiness reads memory and fetches nothing, so that probes put no load on Clerk. ``no_keys`` lasts
as long as the pause after a failed fetch. Then the process is ready again, because the next fetch
is made for a request, and a process that is not ready gets none. With ``MODE`` observe every
process is ready, whatever its status: other authenticators decide.

With several Clerk instances each has its own status, and the process is ready if one of them is:
the broken domain of one must not take the others' requests away. The status of all is ``partial``
if some, and not all, are ``no_keys`` or ``misconfigured``; else the worst of theirs, in the order
of the table.

The views need no database, no session and no authenticated caller.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.db.transaction import non_atomic_requests
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from clerk_auth.conf import (
    DEFAULT_INSTANCE,
    find_problems,
    get_aliases,
    get_config,
    is_observing,
)
from clerk_auth.error_reports import hide_locals
from clerk_auth.jwks.source import SourceStatus
from clerk_auth.logs import defects, log
from clerk_auth.verifier import get_verifier

__all__ = ["Readiness", "app_name", "live", "read_readiness", "ready", "urlpatterns"]


# From the best to the worst.
_WITH_KEYS = ("fresh", "static", "stale", "degraded", "cold")
_WITHOUT_KEYS = ("no_keys", "misconfigured")


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether requests should be sent to this process; ``status`` is a row of the table above.

    ``source`` is ``None`` if the verifier cannot be made. ``instances`` has the readiness of each
    by its alias where there are several, and ``source`` is ``None`` then.
    """

    is_ready: bool
    status: str
    source: SourceStatus | None = None
    instances: Mapping[str, Readiness] = field(default_factory=dict)


@hide_locals
def read_readiness(*, now: float) -> Readiness:
    """Return the readiness of this process; no I/O. ``now`` is Unix time in seconds."""
    aliases = get_aliases()
    found = {alias: _read_instance(alias, now) for alias in aliases}
    if len(aliases) == 1:
        return found[DEFAULT_INSTANCE]
    worst = max((each.status for each in found.values()), key=(_WITH_KEYS + _WITHOUT_KEYS).index)
    is_partial = worst in _WITHOUT_KEYS and any(e.status in _WITH_KEYS for e in found.values())
    is_ready = any(each.is_ready for each in found.values())
    return Readiness(is_ready, "partial" if is_partial else worst, instances=found)


def _read_instance(alias: str, now: float) -> Readiness:
    label = None  # what is wrong with the settings stops every instance
    try:
        label = get_config(alias).label
        source = get_verifier(alias).source.status()
    except Exception as error:  # a key file, for instance, may raise anything
        _note_misconfigured(error, label)
        return Readiness(is_observing(alias), "misconfigured")
    if source.state == "cold" and source.failure and now < source.failure.until:
        return Readiness(is_observing(alias), "no_keys", source)
    return Readiness(True, source.state, source)


def _note_misconfigured(error: Exception, label: str | None) -> None:
    name = type(error).__name__
    if defects.admit("misconfigured", name, label) is not None:
        found = find_problems()
        settings = ", ".join(str(problem.obj) for problem in found) or None
        checks = ", ".join(str(problem.id) for problem in found) or None
        log(
            logging.ERROR,
            "misconfigured",
            instance=label,
            error=name,
            settings=settings,
            checks=checks,
        )


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
    if readiness.instances:
        body["instances"] = {alias: each.status for alias, each in readiness.instances.items()}
    if _has_source(readiness) and (get_config().health_details or _is_staff(request)):
        body |= _describe(readiness, now)
    return JsonResponse(body, status=200 if readiness.is_ready else 503)


def _has_source(readiness: Readiness) -> bool:
    return readiness.source is not None or any(map(_has_source, readiness.instances.values()))


def _describe(readiness: Readiness, now: float) -> dict[str, Any]:
    """Return the details of the source; with several instances, those of each that has one."""
    if readiness.source is None:
        found = readiness.instances.items()
        return {"details": {alias: _describe(each, now) for alias, each in found if each.source}}
    fetched_at = readiness.source.fetched_at
    age_seconds = None if fetched_at is None else round(now - fetched_at)
    return {"age_seconds": age_seconds, "source": readiness.source.as_dict()}


def _is_staff(request: HttpRequest) -> bool:
    try:
        user = getattr(request, "user", None)
        return bool(user and user.is_active and user.is_staff)
    except Exception:  # a session that cannot be loaded: no details, and no error
        return False


app_name = "clerk_auth"
urlpatterns = [path("live", live, name="live"), path("ready", ready, name="ready")]
