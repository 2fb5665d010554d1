"""Metrics for CloudWatch: lines of its embedded metric format, at an interval and at the end.

Each line is an INFO record of the logger ``clerk_auth.emf``, and nothing but JSON. Unless the
project gives this logger handlers, lines go to standard error. They do not propagate to loggers
above, whose handlers would put something before the JSON. Source: "Specification: Embedded metric
format" in Amazon CloudWatch's user guide.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping

from clerk_auth import metrics
from clerk_auth.metrics import counts, sinks

__all__ = ["LOGGER", "EMFSink"]

LOGGER = "clerk_auth.emf"


class EMFSink:
    """Writes what was counted since the last time, one line for each set of label values.

    A series that did not change is left out, but for the first interval, which has all of them.
    Gauges are always written. Subclass it for another ``namespace`` or ``interval_seconds``.
    """

    namespace = "clerk_auth"
    interval_seconds = 60.0

    def __init__(self) -> None:
        self._logger = _prepare_logger()
        # Those of the settings that it was made for: it writes the rest under their labels.
        self._series = metrics.find_series()
        # What a parent process has counted before is for the parent to write.
        self._written = counts.read(self._series)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def increment(self, name: str, by: int, labels: Mapping[str, str]) -> None:
        """Start the thread; the count itself is in the totals."""
        self._start()

    def set(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """Start the thread; the value itself is in the totals."""
        self._start()

    def close(self) -> None:
        """Write the rest; a process without events writes nothing."""
        self._closed.set()
        if self._thread is not None:
            self.write()

    def write(self, *, unchanged: bool = False) -> None:
        """Write what changed since the last time, or ``unchanged`` series too."""
        with self._lock:
            totals = counts.read(self._series)
            for labels, values in self._group(totals, unchanged=unchanged):
                self._logger.info(_format(self.namespace, labels, values, now=time.time()))
            self._written = totals

    # Not before the first event, because until then a server may fork.
    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=LOGGER, daemon=True)
                thread.start()
                self._thread = thread
        sinks.stop_telling(self)

    def _run(self) -> None:
        is_first = True
        while not self._closed.wait(self.interval_seconds):
            self.write(unchanged=is_first)
            is_first = False

    def _group(
        self, totals: Mapping[metrics.Series, float], *, unchanged: bool
    ) -> Iterator[tuple[Mapping[str, str], dict[str, float]]]:
        """Yield label values with their metrics: a line can hold one value per label."""
        groups: dict[tuple[tuple[str, str], ...], dict[str, float]] = {}
        for series, total in totals.items():
            is_gauge = series[0] in metrics.GAUGES
            value = total if is_gauge else total - self._written[series]
            if value or unchanged or is_gauge:
                labels = tuple(self._series[series].items())
                groups.setdefault(labels, {})[series[0]] = value
        for items, values in groups.items():
            yield dict(items), values


def _prepare_logger() -> logging.Logger:
    logger = logging.getLogger(LOGGER)
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.StreamHandler())
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    return logger


def _format(
    namespace: str, labels: Mapping[str, str], values: Mapping[str, float], *, now: float
) -> str:
    definitions = [
        {"Name": name, "Unit": "Count" if name in metrics.COUNTERS else "Seconds"}
        for name in values
    ]
    directive = {"Namespace": namespace, "Dimensions": [list(labels)], "Metrics": definitions}
    about = {"Timestamp": int(now * 1000), "CloudWatchMetrics": [directive]}
    return json.dumps({"_aws": about, **labels, **values})
