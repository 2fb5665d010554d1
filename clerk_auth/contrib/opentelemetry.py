"""Metrics for OpenTelemetry: read by the SDK, if there is one, whenever it collects.

All instruments are observable ones, so it does not matter that a worker sets up its SDK later than
Django: the first collection finds every series, those at 0 too. Without an SDK nothing happens.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, Observation, get_meter

from clerk_auth import metrics


class OpenTelemetrySink:
    """Offers the totals of the process to whoever collects."""

    def __init__(self) -> None:
        _make_instruments()

    def increment(self, name: str, by: int, labels: Mapping[str, str]) -> None:
        """Nothing to do: it is in the totals."""

    def set(self, name: str, value: float) -> None:
        """Nothing to do, as well."""


# Made once per process: an SDK would take a second one of the same name for a mistake.
@functools.cache
def _make_instruments() -> None:
    meter = get_meter("clerk_auth")
    for name in metrics.COUNTERS:
        meter.create_observable_counter(
            name, [_observer(name)], description=metrics.DESCRIPTIONS[name]
        )
    for name in metrics.GAUGES:
        meter.create_observable_gauge(
            name, [_observer(name)], unit="s", description=metrics.DESCRIPTIONS[name]
        )


def _observer(name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(options: CallbackOptions) -> Iterable[Observation]:
        for series, total in metrics.totals().items():
            if series[0] == name:
                yield Observation(total, dict(metrics.SERIES.get(series, {})))

    return observe
