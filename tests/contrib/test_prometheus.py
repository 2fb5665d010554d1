"""Series under our names, at 0 from start-up, and added up over all workers of a web server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    disable_created_metrics,
    enable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from clerk_auth import metrics
from clerk_auth.issuer.standin import StandInClerk
from clerk_auth.metrics import sinks
from project.demo.environment import AUTHORIZED_PARTY
from tests.contrib.processes import Server, run_program, serve
from tests.metrics.several import GAUGES, OF_SEVERAL, SEVERAL
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
                    labels = [*metrics.COUNTERS.get(family.name, ()), "instance"]
                    has = [label for label in labels if label in sample.labels]
                    series = (family.name, *(sample.labels[label] for label in has))
                    assert len(series) == len(sample.labels) + 1
                    found[series] = sample.value
    return found


def read_registry() -> Values:
    return read(generate_latest(REGISTRY).decode())


@pytest.fixture(autouse=True)
def _connected() -> Iterator[None]:
    sinks.connect([SINK])
    yield
    sinks.connect([])


def count_and_set() -> None:
    """Count each series another number of times, and set the gauges."""
    for by, (series, labels) in enumerate(metrics.find_series().items()):
        alias = labels.get("instance")
        name, *values = series if alias is None else series[:-1]
        if name in metrics.GAUGES:
            metrics.set_gauge(name, 1_700_000_000.5 + by, alias)
        elif by:
            metrics.increment(name, *values, instance=alias, by=by)


def make_by_the_client() -> CollectorRegistry:
    """Return what the client's own metrics make of the totals."""
    registry = CollectorRegistry()
    made: dict[str, Counter | Gauge] = {}
    for series, labels in metrics.find_series().items():
        name, total = series[0], metrics.totals()[series]
        if name not in made:
            kind = Counter if name in metrics.COUNTERS else Gauge
            made[name] = kind(name, metrics.DESCRIPTIONS[name], tuple(labels), registry=registry)
        (made[name].labels(**labels) if labels else made[name]).inc(total)
    return registry


def take_ours() -> CollectorRegistry:
    """Return a registry with nothing but our collector."""
    registry = CollectorRegistry(auto_describe=True)
    registry.register(REGISTRY._names_to_collectors[metrics.HITS])
    return registry


def test_every_series_is_there_before_the_first_event():
    assert read_registry() == dict.fromkeys(metrics.totals(), 0)


@pytest.fixture(params=[None, SEVERAL], ids=["one-instance", "several"])
def instances(request, settings) -> None:
    if request.param:
        settings.CLERK_AUTH = {**request.param, "METRICS": [SINK]}


@pytest.mark.usefixtures("instances")
@pytest.mark.parametrize("happen", [lambda: None, count_and_set], ids=["at-start", "later"])
@pytest.mark.parametrize(
    "write", [generate_latest, openmetrics.generate_latest], ids=["text", "openmetrics"]
)
def test_page_is_that_of_the_metrics_of_the_client(happen, write):
    happen()
    theirs = make_by_the_client()
    disable_created_metrics()
    try:
        assert write(take_ours()) == write(theirs)
    finally:
        enable_created_metrics()


@pytest.mark.parametrize("by", [1, 3])
def test_event_changes_its_series_alone(by):
    series = (metrics.REFUSED, "token_expired", "observe")
    metrics.increment(*series, by=by)
    assert read_registry() == {**dict.fromkeys(metrics.totals(), 0), series: by}


def test_event_is_told_to_nobody():
    assert sinks.connected == ()


def test_gauge_is_what_it_was_set_to_last():
    for value in (1_800_000_000.5, 1_700_000_000.5):
        metrics.set_gauge(metrics.FETCHED_AT, value)
    assert read_registry()[metrics.FETCHED_AT,] == 1_700_000_000.5


def test_scraper_may_ask_for_some_series():
    count_and_set()
    text = generate_latest(REGISTRY.restricted_registry(["jwks_cache_hits_total"])).decode()
    hits = {series: n for series, n in metrics.totals().items() if series == (metrics.HITS,)}
    assert read(text) == hits


def test_sink_may_be_connected_again(caplog):
    metrics.increment(metrics.HITS)
    sinks.connect([SINK])
    sinks.connect([SINK, SINK])
    metrics.increment(metrics.HITS)
    assert read_registry()[metrics.HITS,] == 2
    assert caplog.records == []


def test_settings_may_change(settings, caplog):
    settings.CLERK_AUTH = {"FRONTEND_API": "clerk.example.com", "METRICS": [SINK]}
    settings.CLERK_AUTH = {"FRONTEND_API": "clerk.example.com"}
    settings.CLERK_AUTH = {"FRONTEND_API": "clerk.example.com", "METRICS": [SINK]}
    metrics.increment(metrics.HITS)
    assert read_registry()[metrics.HITS,] == 1
    assert caplog.records == []


def test_instance_is_a_label_while_there_are_several(settings, caplog):
    settings.CLERK_AUTH = {**SEVERAL, "METRICS": [SINK]}
    metrics.increment(metrics.HITS, instance="staff")
    metrics.set_gauge(metrics.FETCHED_AT, 1_800_000_000, "default")
    assert read_registry() == {
        **dict.fromkeys(OF_SEVERAL, 0),
        (metrics.HITS, "staff"): 1,
        (metrics.FETCHED_AT, "default"): 1_800_000_000,
    }
    settings.CLERK_AUTH = {"FRONTEND_API": "clerk.example.com", "METRICS": [SINK]}
    assert read_registry() == dict.fromkeys([*metrics.SERIES, *GAUGES], 0)
    assert caplog.records == []


def test_forked_child_goes_on_counting(passes_in_child, caplog):
    metrics.increment(metrics.HITS)

    def counts_alone() -> bool:
        metrics.increment(metrics.HITS)
        return read_registry()[metrics.HITS,] == 2 and not caplog.records

    assert passes_in_child(counts_alone)
    assert read_registry()[metrics.HITS,] == 1


def test_page_can_be_read_while_threads_count():
    series = (metrics.REFUSED, "token_expired", "enforce")
    threads = [
        threading.Thread(target=lambda: [metrics.increment(*series) for _ in range(20_000)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    seen = []
    while any(thread.is_alive() for thread in threads):
        seen.append(read_registry()[series])
    assert seen == sorted(seen)
    assert read_registry()[series] == 80_000


# What is decided when a process starts: in processes of their own

SHOW = """
from django.conf import settings
from prometheus_client import REGISTRY
from clerk_auth import metrics
from clerk_auth.metrics import sinks
metrics.increment(metrics.HITS)
hits = REGISTRY.get_sample_value("jwks_cache_hits_total")
print(len(sinks.made), len(sinks.connected), hits and float(hits))
"""


def test_metric_of_the_project_with_such_a_name_leaves_the_sink_out():
    program = f"""
import django.apps, prometheus_client
prometheus_client.Counter("jwks_cache_hits", "Of the project")
django.setup()
{SHOW}
print(REGISTRY.get_sample_value("jwks_cache_misses_total"))
"""
    done = run_program(program, sinks=SINK, is_set_up=False)
    assert done.stdout == "0 0 0.0\nNone\n", done.stderr
    assert "clerk_auth.metrics_sink_failed" in done.stderr


def test_directory_that_does_not_exist_leaves_the_sink_out(tmp_path):
    done = run_program(SHOW, sinks=SINK, PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "none"))
    assert done.stdout.startswith("0 0 "), done.stderr
    assert "metrics_sink_failed" in done.stderr
    assert "FileNotFoundError" in done.stderr


@pytest.mark.parametrize(
    ("imported", "shown"),
    [("", "1 1 1.0\n"), ("import prometheus_client", "1 0 1.0\n")],
    ids=["before-the-client-is-imported", "after"],
)
def test_variable_that_a_program_sets(imported, shown, tmp_path):
    program = f"""
import os, django
{imported}
os.environ["PROMETHEUS_MULTIPROC_DIR"] = {str(tmp_path)!r}
django.setup()
{SHOW}
"""
    done = run_program(program, sinks=SINK, is_set_up=False)
    assert (done.stdout, done.stderr) == (shown, "")
    # The client's own metrics are where ours are.
    assert bool(list(tmp_path.glob("counter_*.db"))) == (not imported)


# Gauges of two processes: the newest of an instance, and of no other.
COUNT = """
import sys
from clerk_auth import metrics
from clerk_auth.metrics import sinks
for alias, fetched_at in zip(("default", "staff"), sys.argv[1:]):
    metrics.set_gauge(metrics.FETCHED_AT, int(fetched_at), alias)
metrics.increment(metrics.HITS, instance="staff")
metrics.increment(metrics.RESPONSES, "2xx")
print(len(sinks.connected))
"""


def read_files(directory: Path) -> Values:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(directory))
    return read(generate_latest(registry).decode())


def test_processes_are_added_up_for_each_instance(tmp_path):
    environment = {
        "DJANGO_SETTINGS_MODULE": "tests.monitoring.several",
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
    }
    for fetched_at in ("[300, 100]", "[200, 400]"):
        program = f"import sys; sys.argv[1:] = {fetched_at}\n{COUNT}"
        done = run_program(program, sinks=SINK, **environment)
        assert (done.stdout, done.stderr) == ("1\n", "")
    assert read_files(tmp_path) == {
        **dict.fromkeys(OF_SEVERAL, 0),
        (metrics.FETCHED_AT, "default"): 300,
        (metrics.FETCHED_AT, "staff"): 400,
        (metrics.HITS, "staff"): 2,
        (metrics.RESPONSES, "2xx"): 2,
    }


CHANGE = """
from django.conf import settings
from django.test import override_settings
from prometheus_client import REGISTRY
from clerk_auth import metrics
INSTANCES = {"staff": {"FRONTEND_API": "clerk.staff.example.com"}}

def show():
    found = [f for f in REGISTRY.collect() if f.name in {metrics.HITS, metrics.FETCHED_AT}]
    print([(*s.labels.values(), s.value) for f in found for s in f.samples if "_cr" not in s.name])

def count(alias=None):
    metrics.increment(metrics.HITS, instance=alias)
    metrics.set_gauge(metrics.FETCHED_AT, 5, alias)

count()
with override_settings(CLERK_AUTH={**settings.CLERK_AUTH, "INSTANCES": INSTANCES}):
    show()
    count("staff")
    show()
count()
show()
with override_settings(CLERK_AUTH={**settings.CLERK_AUTH, "INSTANCES": INSTANCES}):
    show()
"""


def test_labels_change_with_the_settings_where_each_event_is_written(tmp_path):
    done = run_program(CHANGE, sinks=SINK, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    # The files keep what was counted.
    assert done.stdout.splitlines() == [
        "[('default', 0.0), ('staff', 0.0), ('default', 0.0), ('staff', 0.0)]",
        "[('default', 0.0), ('staff', 1.0), ('default', 0.0), ('staff', 5.0)]",
        "[(2.0,), (5.0,)]",
        "[('default', 0.0), ('staff', 1.0), ('default', 0.0), ('staff', 5.0)]",
    ]
    assert done.stderr == ""


# Under a web server


def scrape(server: Server) -> Values:
    assert server.get("/metrics", TOKEN) == 200
    return read(server.text)


@pytest.mark.parametrize("options", [[], ["--preload"]], ids=["loads", "preloaded"])
def test_worker_that_serves_alone_offers_its_totals(options, tmp_path):
    environment = {"CLERK_METRICS": SINK, "METRICS_TOKEN": TOKEN}
    options = [*options, "--workers", "1", "--worker-class", "gthread", "--threads", "2"]
    with StandInClerk() as clerk, serve(clerk, tmp_path, *options, **environment) as server:
        assert scrape(server) == dict.fromkeys(metrics.totals(), 0)
        good = clerk.signer.token(azp=AUTHORIZED_PARTY)
        assert [server.get("/api/me", good) for _ in range(8)] == [200] * 8
        scraped = scrape(server)
    assert scraped[metrics.VERIFIED, "enforce"] == 8
    assert scraped[metrics.RESPONSES, "2xx"] == 9
    assert scraped[metrics.EXPIRES_AT,] == scraped[metrics.FETCHED_AT,] + 86400


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
