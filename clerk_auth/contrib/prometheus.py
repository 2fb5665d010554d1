"""Metrics in the default registry of ``prometheus_client``, which appends ``_total`` to counters.

The project exposes the registry, by a view or on a port of its own. A process that serves alone
reads its totals at the scrape. Where ``PROMETHEUS_MULTIPROC_DIR`` is set, each process writes every
event to a file there, and the process that is scraped adds the files up.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import REGISTRY, Counter, Gauge, values
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from clerk_auth import metrics
from clerk_auth.metrics import counts

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
            self._metrics = _make_metrics()

    def increment(self, name: str, by: int, labels: Mapping[str, str]) -> None:
        self._metrics[name, *labels.values()].inc(by)

    def set(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        self._metrics[name, *labels.values()].set(value)


class _Totals:
    """What the registry asks at a scrape."""

    def collect(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        found = metrics.find_series()
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for (name, *labels), total in counts.read(found).items():
            if name not in families:
                kind = CounterMetricFamily if name in metrics.COUNTERS else GaugeMetricFamily
                label_names = tuple(found[name, *labels])
                families[name] = kind(name, metrics.DESCRIPTIONS[name], labels=label_names)
            families[name].add_metric(labels, total)
        return families.values()


# Made once per process, as a registry refuses a second one of the same name. A forked child
# inherits it.
@functools.cache
def _register() -> None:
    REGISTRY.register(_Totals())


# What writes to the file of this process, for the same reason made once, unless a change of the
# settings changes the labels.
_parents: dict[str, Counter | Gauge] = {}
_children: dict[metrics.Series, Any] = {}


def _make_metrics() -> Mapping[metrics.Series, Any]:
    found = metrics.find_series()
    if _children.keys() != found.keys():
        _children.clear()
        while _parents:
            REGISTRY.unregister(_parents.popitem()[1])
        for series, labels in found.items():
            name = series[0]
            parent = _parents.get(name) or _parents.setdefault(name, _make_parent(name, labels))
            _children[series] = parent.labels(**labels) if labels else parent
    return {**_children}


def _make_parent(name: str, labels: Iterable[str]) -> Counter | Gauge:
    description = metrics.DESCRIPTIONS[name]
    if name in metrics.COUNTERS:
        return Counter(name, description, tuple(labels))
    # The newest time of all processes, because they share their keys: one that is idle holds an
    # older set and a new one none, but each looks at the shared set before it uses its own.
    return Gauge(name, description, tuple(labels), multiprocess_mode="max")
