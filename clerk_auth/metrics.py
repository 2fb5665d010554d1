"""Counters and gauges under fixed names, with labels from closed lists.

Totals of the process are always kept. ``METRICS`` names sinks that are told of every change: a
sink is a class without arguments whose instances have the methods of :class:`Sink`.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from itertools import count
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
FETCHED_AT = "jwks_fetched_timestamp_seconds"
EXPIRES_AT = "jwks_expiry_timestamp_seconds"

# Why a shared document is not used.
DOCUMENT_REFUSALS = ("unreadable", "malformed", "signature", "dated_ahead", "too_old")

# Counter: its label and every value the label may have.
COUNTERS: Mapping[str, tuple[str, tuple[str, ...]] | None] = {
    VERIFIED: None,
    REFUSED: ("code", CODES),
    HITS: None,
    MISSES: None,
    FETCH_ERRORS: ("reason", FAILURE_REASONS),
    STALE_USES: None,
    KEYS_SKIPPED: ("reason", SKIP_REASONS),
    DOCUMENTS_REFUSED: ("reason", DOCUMENT_REFUSALS),
}
GAUGES = (FETCHED_AT, EXPIRES_AT)


class Sink(Protocol):
    """Where numbers go; an error in a sink is logged once and never reaches a request."""

    def increment(self, name: str, by: int, labels: Mapping[str, str]) -> None:
        """Add ``by`` to the counter ``name``; labels are empty or one of :data:`COUNTERS`."""

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


_totals: dict[tuple[str, str], _Total] = {}
# In a list, so that a forked child can replace it: another thread may have held it.
_reading = [threading.Lock()]
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _reading.__setitem__(0, threading.Lock()))
_gauges: dict[str, float] = {}
_sinks: tuple[Sink, ...] = ()
_failed_sinks: set[int] = set()


def increment(name: str, label: str = "", by: int = 1) -> None:
    """Count events; ``label`` is the value of the counter's label, where it has one."""
    step = _totals[name, label].step
    step()
    if by > 1:
        for _ in range(by - 1):
            step()
    if _sinks:
        series = COUNTERS[name]
        labels = {series[0]: label} if series else {}
        _tell(lambda sink: sink.increment(name, by, labels))


def set_gauge(name: str, value: float) -> None:
    """Set a gauge, Unix seconds."""
    _gauges[name] = value
    _tell(lambda sink: sink.set(name, value))


def totals() -> dict[tuple[str, str], float]:
    """Return counters and gauges of this process by name and label value; all are present."""
    with _reading[0]:
        counters = {series: total.read() for series, total in _totals.items()}
    return {**counters, **{(name, ""): value for name, value in _gauges.items()}}


def reset() -> None:
    """Set every series to 0, as at start-up."""
    for name, series in COUNTERS.items():
        for label in series[1] if series else ("",):
            _totals[name, label] = _Total()
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
