"""What an SDK collects, whenever it comes, and that none is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Gauge, InMemoryMetricReader, Sum

from clerk_auth import metrics
from clerk_auth.metrics import sinks
from tests.contrib.processes import run_program
from tests.metrics.several import GAUGES, OF_SEVERAL, SEVERAL

pytestmark = pytest.mark.integration

SINK = "clerk_auth.contrib.opentelemetry.OpenTelemetrySink"

Collect = Callable[[], dict[metrics.Series, float]]


@pytest.fixture(scope="module")
def reader() -> InMemoryMetricReader:
    """A process has one provider for life; it comes after the sink, as in a worker after a fork."""
    sinks.connect([SINK])
    metrics.increment(metrics.HITS)
    reader = InMemoryMetricReader()
    set_meter_provider(MeterProvider([reader]))
    return reader


@pytest.fixture
def collect(reader) -> Iterator[Collect]:
    sinks.connect([SINK])
    yield lambda: {
        series: point.value for metric in read(reader) for series, point in points(metric)
    }
    sinks.connect([])


def read(reader):
    (resource,) = reader.get_metrics_data().resource_metrics
    (scope,) = resource.scope_metrics
    assert scope.scope.name == "clerk_auth"
    return scope.metrics


def points(metric):
    for point in metric.data.data_points:
        labels = [*metrics.COUNTERS.get(metric.name, ()), "instance"]
        assert list(point.attributes) == [name for name in labels if name in point.attributes]
        yield (metric.name, *point.attributes.values()), point


def test_every_series_is_collected_at_zero(collect):
    assert collect() == dict.fromkeys(metrics.totals(), 0)


def test_totals_are_collected(collect):
    metrics.increment(metrics.REFUSED, "token_expired", "observe", by=2)
    metrics.set_gauge(metrics.FETCHED_AT, 1_800_000_000.5)
    for _ in range(2):
        assert collect() == metrics.totals()
    metrics.increment(metrics.REFUSED, "token_expired", "observe")
    assert collect()[metrics.REFUSED, "token_expired", "observe"] == 3


def test_instance_is_an_attribute_while_there_are_several(collect, settings, caplog):
    settings.CLERK_AUTH = {**SEVERAL, "METRICS": [SINK]}
    assert collect() == dict.fromkeys(OF_SEVERAL, 0)
    metrics.increment(metrics.REFUSED, "token_expired", "observe", instance="staff")
    metrics.set_gauge(metrics.FETCHED_AT, 1_800_000_000.5, "default")
    assert collect() == {
        **dict.fromkeys(OF_SEVERAL, 0),
        (metrics.REFUSED, "token_expired", "observe", "staff"): 1,
        (metrics.FETCHED_AT, "default"): 1_800_000_000.5,
    }
    settings.CLERK_AUTH = {"FRONTEND_API": "clerk.example.com", "METRICS": [SINK]}
    assert collect() == dict.fromkeys([*metrics.SERIES, *GAUGES], 0)
    assert caplog.records == []


def test_sink_may_be_connected_again(collect, caplog):
    sinks.connect([SINK])
    metrics.increment(metrics.HITS)
    assert collect()[metrics.HITS,] == 1
    assert caplog.records == []


def test_counters_only_grow_and_gauges_are_times(collect, reader):
    for metric in read(reader):
        assert metric.description == metrics.DESCRIPTIONS[metric.name]
        if metric.name in metrics.COUNTERS:
            assert isinstance(metric.data, Sum)
            assert metric.data.is_monotonic
        else:
            assert isinstance(metric.data, Gauge)
            assert metric.unit == "s"


def test_event_is_told_to_nobody(collect):
    assert sinks.connected == ()


def test_no_sdk_is_needed():
    program = (
        "import sys; from clerk_auth import metrics; from clerk_auth.metrics import sinks; "
        "metrics.increment(metrics.HITS); "
        "print(len(sinks.made), 'opentelemetry.sdk' in sys.modules)"
    )
    done = run_program(program, sinks=SINK)
    assert (done.stdout, done.stderr) == ("1 False\n", "")
