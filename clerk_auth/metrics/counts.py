"""Counters and gauges under fixed names, with labels from closed lists.

Totals of the process are always kept, and the sinks are told of every change.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from itertools import count, product
from types import MappingProxyType

from clerk_auth.conf import MODES
from clerk_auth.core.authorization import REFUSAL_CODES
from clerk_auth.core.errors import CODES, FETCH_REASONS
from clerk_auth.core.keys import SKIP_REASONS
from clerk_auth.metrics import sinks

VERIFIED = "jwt_verifications_success"
REFUSED = "jwt_verifications_failure"
DENIED = "clerk_auth_permission_refusals"
HITS = "jwks_cache_hits"
MISSES = "jwks_cache_misses"
FETCH_ERRORS = "jwks_fetch_errors"
STALE_USES = "jwks_stale_uses"
KEYS_SKIPPED = "jwks_keys_skipped"
DOCUMENTS_REFUSED = "jwks_documents_refused"
RESPONSES = "clerk_auth_responses"
FETCHED_AT = "jwks_fetched_timestamp_seconds"
EXPIRES_AT = "jwks_expiry_timestamp_seconds"

# Why a shared document is not used.
DOCUMENT_REFUSALS = ("unreadable", "malformed", "signature", "dated_ahead", "too_old")

# Classes of HTTP status, and those of the alarms. A 503 that an anonymous caller can cause is
# apart: it must page nobody.
STATUSES = ("2xx", "3xx", "401", "403", "4xx", "503", "keys_busy", "5xx")

# Counter: its labels, each with every value that it may have.
COUNTERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    VERIFIED: {"mode": MODES},
    REFUSED: {"code": CODES, "mode": MODES},
    DENIED: {"code": REFUSAL_CODES},
    HITS: {},
    MISSES: {},
    FETCH_ERRORS: {"reason": FETCH_REASONS},
    STALE_USES: {},
    KEYS_SKIPPED: {"reason": SKIP_REASONS},
    DOCUMENTS_REFUSED: {"reason": DOCUMENT_REFUSALS},
    RESPONSES: {"status": STATUSES},
}
GAUGES = (FETCHED_AT, EXPIRES_AT)
# For those who meet a metric where they look, far from its documentation.
DESCRIPTIONS: Mapping[str, str] = {
    VERIFIED: "Tokens that were verified",
    REFUSED: "Tokens that were refused or could not be checked, by error code",
    DENIED: "Requests that a permission of ours refused with 403, by error code",
    HITS: "Tokens whose key the process held",
    MISSES: "Tokens whose key the process did not hold",
    FETCH_ERRORS: "Fetches of the key set that failed, by reason",
    STALE_USES: "Tokens verified with a key set that is due for a refresh",
    KEYS_SKIPPED: "Keys of a fetched document that were left out, by reason",
    DOCUMENTS_REFUSED: "Reads of a shared document that could not be used, by reason",
    RESPONSES: "Responses of the whole project, by class of status",
    FETCHED_AT: "When the key set in use was fetched, Unix seconds; 0 without one",
    EXPIRES_AT: "When the key set in use can no longer be used, Unix seconds; 0 without one",
}

# A metric's name, then the values of its labels in their order.
Series = tuple[str, ...]
# Every series of the counters: its labels, as sinks are told them.
SERIES: Mapping[Series, Mapping[str, str]] = {
    (name, *values): MappingProxyType(dict(zip(labels, values, strict=True)))
    for name, labels in COUNTERS.items()
    for values in product(*labels.values())
}


class _Total:
    """A count that threads share without a lock: ``next`` of a counter is one step.

    Reading takes a step too, which is noted and subtracted.
    """

    __slots__ = ("_reads", "step")

    def __init__(self) -> None:
        self._reads = 0
        self.step: Callable[[], int] = count().__next__

    def read(self) -> int:
        """Return the count; the caller holds ``_reading``."""
        self._reads += 1
        return self.step() - self._reads + 1


_totals: dict[Series, _Total] = {}
# In a list, so that a forked child can replace it: another thread may have held it.
_reading = [threading.Lock()]
_gauges: dict[str, float] = {}


def increment(*series: str, by: int = 1) -> None:
    """Count events of ``series``: a counter's name, and the values of its labels in their order."""
    step = _totals[series].step
    step()
    if by > 1:
        for _ in range(by - 1):
            step()
    if sinks.connected:
        sinks.increment(series[0], by, SERIES[series])


def set_gauge(name: str, value: float) -> None:
    """Set a gauge, Unix seconds."""
    _gauges[name] = value
    sinks.set_gauge(name, value)


def totals() -> dict[Series, float]:
    """Return counters and gauges of this process by name and label values; all are present."""
    with _reading[0]:
        counters = {series: total.read() for series, total in _totals.items()}
    return {**counters, **{(name,): value for name, value in _gauges.items()}}


def reset() -> None:
    """Set every series to 0, as at start-up."""
    _totals.update({series: _Total() for series in SERIES})
    _gauges.update(dict.fromkeys(GAUGES, 0.0))


def _begin_in_child() -> None:
    _reading[0] = threading.Lock()
    # After the lock: a sink may read the totals.
    sinks.make_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)


reset()
