"""Metrics in the default registry of ``prometheus_client``, which appends ``_total`` to counters.

How they get out is the project's: a view, or a port of its own. Where ``PROMETHEUS_MULTIPROC_DIR``
is set, each process writes a file there, and whoever is scraped adds them up.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

from prometheus_client import Counter, Gauge

from clerk_auth import metrics


class PrometheusSink:
    """Counts in the process, or in its file."""

    def __init__(self) -> None:
        self._counters = _make_counters()
        self._gauges = _make_gauges()

    def increment(self, name: str, by: int, labels: Mapping[str, str]) -> None:
        self._counters[name, *labels.values()].inc(by)

    def set(self, name: str, value: float) -> None:
        self._gauges[name].set(value)


# Made once per process: a registry takes no name twice, and knows nothing of settings that change.
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
    # The processes of a fleet share their keys: the newest set that one has is a look away from
    # the others. An idle one holds an old set, and a new one none, without anybody's harm.
    return {
        name: Gauge(name, metrics.DESCRIPTIONS[name], multiprocess_mode="max")
        for name in metrics.GAUGES
    }
