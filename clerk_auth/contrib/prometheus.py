"""Metrics in the default registry of ``prometheus_client``, which appends ``_total`` to counters.

The project exposes the registry, by a view or on a port of its own. Where
``PROMETHEUS_MULTIPROC_DIR`` is set, each process writes a file there, and the process that is
scraped adds them up.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

from prometheus_client import Counter, Gauge

from clerk_auth import metrics

__all__ = ["PrometheusSink"]


class PrometheusSink:
    """Counts in the process, or in its file."""

    def __init__(self) -> None:
        self._counters = _make_counters()
        self._gauges = _make_gauges()

    def increment(self, name: str, by: int, labels: Mapping[str, str]) -> None:
        self._counters[name, *labels.values()].inc(by)

    def set(self, name: str, value: float) -> None:
        self._gauges[name].set(value)


# Made once per process: a registry refuses a second metric of the same name.
@functools.cache
def _make_counters() -> Mapping[metrics.Series, Counter]:
    parents = {
        name: Counter(name, metrics.DESCRIPTIONS[name], tuple(labels))
        for name, labels in metrics.COUNTERS.items()
    }
    return {
        (name, *labels.values()): parents[name].labels(**labels) if labels else parents[name]
        for (name, *_), labels in metrics.SERIES.items()
    }


@functools.cache
def _make_gauges() -> Mapping[str, Gauge]:
    # The newest time of all processes, because they share their keys: one that is idle holds an
    # older set and a new one none, but each looks at the shared set before it uses its own.
    return {
        name: Gauge(name, metrics.DESCRIPTIONS[name], multiprocess_mode="max")
        for name in metrics.GAUGES
    }
