"""Counters and gauges under fixed names, with labels from closed lists.

Totals of the process are always kept. ``METRICS`` names sinks that are told of every change: a
sink is a class without arguments whose instances have the methods of :class:`Sink`.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from itertools import count, product
from typing import Protocol

from django.utils.module_loading import import_string

from clerk_auth.core.errors import CODES
from clerk_auth.core.keys import SKIP_REASONS
from clerk_auth.fetch import FAILURE_REASONS
from clerk_auth.logs import log

VERIFIED = "jwt_verifications_success"
REFUSED = "jwt_verifications_failure"
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

# Whether the verdict decided about the request, or was only noted.
ENFORCE, OBSERVE = MODES = ("enforce", "observe")
# Classes of HTTP status, and those of the alarms. A 503 that an anonymous caller can cause is
# apart: it must page nobody.
STATUSES = ("2xx", "3xx", "401", "403", "4xx", "503", "keys_busy", "5xx")

# Counter: its labels, each with every value that it may have.
COUNTERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    VERIFIED: {"mode": MODES},
    REFUSED: {"code": CODES, "mode": MODES},
    HITS: {},
    MISSES: {},
    FETCH_ERRORS: {"reason": FAILURE_REASONS},
    STALE_USES: {},
    KEYS_SKIPPED: {"reason": SKIP_REASONS},
    DOCUMENTS_REFUSED: {"reason": DOCUMENT_REFUSALS},
    RESPONSES: {"status": STATUSES},
}
GAUGES = (FETCHED_AT, EXPIRES_AT)


class Sink(Protocol):
    """Where numbers go; an error in a sink is logged once and never reaches a request."""

    def increment(self, name: str, by: int, labels: Mapping[str, str]) -> None:
        """Add ``by`` to the counter ``name``; ``labels`` are those of :data:`COUNTERS`."""

    def set(self, name: str, value: float) -> None:
        """Set the gauge ``name``, Unix seconds."""


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


# By name and label values.
Series = tuple[str, ...]
_totals: dict[Series, _Total] = {}
# In a list, so that a forked child can replace it: another thread may have held it.
_reading = [threading.Lock()]
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _reading.__setitem__(0, threading.Lock()))
_gauges: dict[str, float] = {}
_sinks: tuple[Sink, ...] = ()
_failed_sinks: set[int] = set()


def increment(name: str, *labels: str, by: int = 1) -> None:
    """Count events; ``labels`` are the values of the counter's labels, in their order."""
    step = _totals[(name, *labels)].step
    step()
    if by > 1:
        for _ in range(by - 1):
            step()
    if _sinks:
        named = dict(zip(COUNTERS[name], labels, strict=True))
        _tell(lambda sink: sink.increment(name, by, named))


def set_gauge(name: str, value: float) -> None:
    """Set a gauge, Unix seconds."""
    _gauges[name] = value
    _tell(lambda sink: sink.set(name, value))


def totals() -> dict[Series, float]:
    """Return counters and gauges of this process by name and label values; all are present."""
    with _reading[0]:
        counters = {series: total.read() for series, total in _totals.items()}
    return {**counters, **{(name,): value for name, value in _gauges.items()}}


def reset() -> None:
    """Set every series to 0, as at start-up."""
    for name, labels in COUNTERS.items():
        for values in product(*labels.values()):
            _totals[(name, *values)] = _Total()
    _gauges.update(dict.fromkeys(GAUGES, 0.0))


def connect(paths: Iterable[str]) -> None:
    """Make the sinks that ``paths`` name the ones that are told."""
    global _sinks
    _sinks = tuple(import_string(path)() for path in paths)
    _failed_sinks.clear()


def _tell(change: Callable[[Sink], None]) -> None:
    for sink in _sinks:
        try:
            change(sink)
        except Exception as error:
            if id(sink) not in _failed_sinks:
                _failed_sinks.add(id(sink))
                name = type(sink).__qualname__
                log(logging.ERROR, "metrics_sink_failed", sink=name, error=type(error).__name__)


reset()
