"""Series under our names, at 0 from start-up, and added up over all workers of a web server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from clerk_auth import metrics
from clerk_auth.issuer.standin import StandInClerk
from clerk_auth.metrics import sinks
from project.demo.environment import AUTHORIZED_PARTY
from tests.contrib.processes import Server, serve
from tests.processes import wait_until

pytestmark = pytest.mark.integration

SINK = "clerk_auth.contrib.prometheus.PrometheusSink"
TOKEN = "only-for-this-test"

Values = dict[tuple[str, ...], float]


def read(text: str) -> Values:
    """Return our series of an exposition by name and label values, as ``metrics.totals`` does."""
    found = {}
    for family in text_string_to_metric_families(text):
        if family.name in metrics.COUNTERS | dict.fromkeys(metrics.GAUGES):
            for sample in family.samples:
                if not sample.name.endswith("_created"):
                    assert (family.type == "counter") == sample.name.endswith("_total")
                    labels = metrics.COUNTERS.get(family.name, ())
                    series = (family.name, *(sample.labels[label] for label in labels))
                    assert len(series) == len(sample.labels) + 1
                    found[series] = sample.value
    return found


def read_registry() -> Values:
    return read(generate_latest(REGISTRY).decode())


@pytest.fixture
def before() -> Iterator[Values]:
    """What the registry says once the sink is connected: it is one for all tests."""
    sinks.connect([SINK])
    yield read_registry()
    for name in metrics.GAUGES:
        metrics.set_gauge(name, 0)
    sinks.connect([])


def test_every_series_is_there_before_the_first_event(before):
    assert before.keys() == metrics.totals().keys()


@pytest.mark.parametrize("by", [1, 3])
def test_event_changes_its_series_alone(before, by):
    series = (metrics.REFUSED, "token_expired", "observe")
    metrics.increment(*series, by=by)
    after = read_registry()
    assert {one: after[one] - before[one] for one in after if after[one] != before[one]} == {
        series: by
    }


def test_gauge_is_what_it_was_set_to_last(before):
    for value in (1_800_000_000.5, 1_700_000_000.5):
        metrics.set_gauge(metrics.FETCHED_AT, value)
    assert read_registry()[metrics.FETCHED_AT,] == 1_700_000_000.5


def test_sink_may_be_connected_again(before, caplog):
    sinks.connect([SINK])
    sinks.connect([SINK])
    metrics.increment(metrics.HITS)
    assert read_registry()[metrics.HITS,] == before[metrics.HITS,] + 1
    assert caplog.records == []


def test_metrics_explain_themselves(before):
    text = generate_latest(REGISTRY).decode()
    for name, description in metrics.DESCRIPTIONS.items():
        exposed = f"{name}_total" if name in metrics.COUNTERS else name
        assert f"# HELP {exposed} {description}\n" in text


def scrape(server: Server) -> Values:
    assert server.get("/metrics", TOKEN) == 200
    return read(server.text)


@pytest.mark.parametrize("options", [[], ["--preload"]], ids=["each-loads", "preloaded"])
def test_workers_start_at_zero_and_are_added_up(options, tmp_path):
    files = tmp_path / "metrics"
    files.mkdir()
    environment = {
        "CLERK_METRICS": SINK,
        "METRICS_TOKEN": TOKEN,
        "PROMETHEUS_MULTIPROC_DIR": str(files),
    }
    with StandInClerk() as clerk, serve(clerk, tmp_path, *options, **environment) as server:
        # Preloaded, the parent of the workers has made the series for all of them.
        writers = 1 if options else 2
        wait_until(lambda: len(list(files.glob("counter_*.db"))) >= writers)
        first = scrape(server)
        assert first.keys() == metrics.totals().keys()
        assert set(first.values()) == {0}

        good = clerk.signer.token(azp=AUTHORIZED_PARTY)
        expired = clerk.signer.token(azp=AUTHORIZED_PARTY, expires_in=-3600)
        assert [server.get("/api/me", good) for _ in range(20)] == [200] * 20
        assert [server.get("/api/me", expired) for _ in range(6)] == [401] * 6

        scraped = scrape(server)
        counted = {series: value for series, value in scraped.items() if value}
        fetched_at, expires_at = (counted.pop((name,)) for name in metrics.GAUGES)
        assert expires_at == fetched_at + 86400
        for name in (metrics.HITS, metrics.MISSES, metrics.STALE_USES):
            counted.pop((name,), None)
        assert counted == {
            (metrics.VERIFIED, "enforce"): 20,
            (metrics.REFUSED, "token_expired", "enforce"): 6,
            # With the first scrape.
            (metrics.RESPONSES, "2xx"): 21,
            (metrics.RESPONSES, "401"): 6,
        }
