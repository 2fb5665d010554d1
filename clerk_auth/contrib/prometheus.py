"""Metrics in the default registry of ``prometheus_client``, which appends ``_total`` to counters.

The project exposes the registry, by a view or on a port of its own. A process that serves alone
reads its totals at the scrape. Where ``PROMETHEUS_MULTIPROC_DIR`` is set, each process writes every
event to a file there, and the process that is scraped adds the files up.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

from prometheus_client import REGISTRY, Counter, Gauge, values
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from clerk_auth import metrics

__all__ = ["PrometheusSink"]


class PrometheusSink:
    """Offers the totals of the process, or counts in its file."""

    def __init__(self) -> None:
        # `prometheus_client` reads the variable once, when it is imported. What it chose then also
        # holds for the metrics of the project.
        self.reads_totals = values.ValueClass is values.MutexValue
        if self.reads_totals:
            _register()
        else:
            self._counters = _make_counters()
            self._gauges = _make_gauges()

    def increment(self, name: str, by: int, labels: Mapping[str, str]) -> None:
        self._counters[name, *labels.values()].inc(by)

    def set(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        self._gauges[name].set(value)


class _Totals:
    """What the registry asks at a scrape."""

    def collect(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {
            name: CounterMetricFamily(name, metrics.DESCRIPTIONS[name], labels=tuple(labels))
            for name, labels in metrics.COUNTERS.items()
        }
        for name in metrics.GAUGES:
            families[name] = GaugeMetricFamily(name, metrics.DESCRIPTIONS[name], labels=())
        for (name, *labels), total in metrics.totals().items():
            families[name].add_metric(labels, total)
        return families.values()


# All are made once per process and stay, as a registry refuses a second metric of the same name. A
# forked child inherits them.
@functools.cache
def _register() -> None:
    REGISTRY.register(_Totals())


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
