"""Metrics for OpenTelemetry: the SDK, if there is one, reads them whenever it collects.

All instruments are observable, so a worker may set up its SDK after Django: the first collection
finds every series, including those at 0. Without an SDK nothing happens.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, Observation, get_meter

from clerk_auth import metrics
from clerk_auth.metrics import counts

__all__ = ["OpenTelemetrySink"]


class OpenTelemetrySink:
    """Offers the totals of the process to the SDK."""

    reads_totals = True

    def __init__(self) -> None:
        _make_instruments()


# Made once per process: an SDK reports a second instrument of the same name as a mistake.
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
        found = {key: labels for key, labels in metrics.find_series().items() if key[0] == name}
        for series, total in counts.read(found).items():
            yield Observation(total, dict(found[series]))

    return observe
