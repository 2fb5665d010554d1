"""The totals of this process. They are always kept, and sinks are told of every change."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from itertools import count

from clerk_auth.metrics import sinks
from clerk_auth.metrics.catalog import GAUGES, Series, find_series, label_series

__all__ = ["counter", "increment", "read", "reset", "set_gauge", "totals"]


class _Total:
    """A count that threads share without a lock: ``next`` of a counter is one step.

    Reading takes a step too. Steps that are no events are noted and subtracted.
    """

    __slots__ = ("_no_events", "step")

    def __init__(self) -> None:
        self._no_events = 0
        self.step: Callable[[], int] = count().__next__

    def read(self) -> int:
        """Return the count; the caller holds ``_reading``."""
        self._no_events += 1
        return self.step() + 1 - self._no_events

    def reset(self) -> None:
        """Set the count to 0; the caller holds ``_reading``."""
        self._no_events = self.step() + 1


_totals: dict[Series, _Total] = {}
# In a list, so that a forked child can replace it: another thread may have held it.
_reading = [threading.Lock()]
_gauges: dict[Series, float] = {}


def _total(series: Series) -> _Total:
    return _totals.get(series) or _totals.setdefault(series, _Total())


def counter(*series: str, instance: str | None = None) -> Callable[[], None]:
    """Return the function that counts one event of ``series``, as :func:`increment` does."""
    name, (series, labels) = series[0], label_series(series, instance)
    step = _total(series).step

    def count_one() -> None:
        step()
        if sinks.connected:
            sinks.increment(name, 1, labels)

    return count_one


def increment(*series: str, instance: str | None = None, by: int = 1) -> None:
    """Count events of ``series``: a counter's name, and the values of its labels in their order.

    ``instance`` is the alias of the one they belong to, where there are several.
    """
    name, (series, labels) = series[0], label_series(series, instance)
    step = _total(series).step
    for _ in range(by):
        step()
    if sinks.connected:
        sinks.increment(name, by, labels)


def set_gauge(name: str, value: float, instance: str | None = None) -> None:
    """Set a gauge, Unix seconds; ``instance`` as for :func:`increment`."""
    series, labels = label_series((name,), instance)
    _gauges[series] = value
    sinks.set_gauge(name, value, labels)


def totals() -> dict[Series, float]:
    """Return counters and gauges of this process by name and label values; all are present."""
    return read(find_series())


def read(wanted: Iterable[Series]) -> dict[Series, float]:
    """Return the totals of these series; what was never counted or set is 0."""
    # The caller has found them before: to find them takes a lock, under which sinks read totals.
    with _reading[0]:
        return {
            series: _gauges.get(series, 0.0) if series[0] in GAUGES else _total(series).read()
            for series in wanted
        }


def reset() -> None:
    """Set every series to 0, as at start-up."""
    with _reading[0]:
        for total in [*_totals.values()]:
            total.reset()
    _gauges.clear()


def _begin_in_child() -> None:
    _reading[0] = threading.Lock()
    # After the lock: a sink may read the totals.
    sinks.make_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)
