"""Counters and gauges under fixed names, with labels from closed lists."""

from clerk_auth.metrics import catalog
from clerk_auth.metrics.catalog import *  # noqa: F403 - a metric is added there, and only there
from clerk_auth.metrics.counts import counter, increment, reset, set_gauge, totals
from clerk_auth.metrics.sinks import Sink

__all__ = ["Sink", "counter", "increment", "reset", "set_gauge", "totals"]
__all__ += catalog.__all__
