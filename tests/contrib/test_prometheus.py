"""Series under our names, at 0 from start-up, and added up over all workers of a web server."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from django.conf import settings
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from clerk_auth import metrics
from project import children
from project.demo.environment import AUTHORIZED_PARTY, inherit_environment
from project.standin import StandInClerk
from tests.project.processes import wait_until

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
    metrics.connect([SINK])
    yield read_registry()
    for name in metrics.GAUGES:
        metrics.set_gauge(name, 0)
    metrics.connect([])


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
    metrics.connect([SINK])
    metrics.connect([SINK])
    metrics.increment(metrics.HITS)
    assert read_registry()[metrics.HITS,] == before[metrics.HITS,] + 1
    assert caplog.records == []


def test_metrics_explain_themselves(before):
    text = generate_latest(REGISTRY).decode()
    for name, description in metrics.DESCRIPTIONS.items():
        exposed = f"{name}_total" if name in metrics.COUNTERS else name
        assert f"# HELP {exposed} {description}\n" in text


class Server:
    """The demo under gunicorn, with two workers."""

    def __init__(self, url: str, directory: Path) -> None:
        self._url = url
        self._directory = directory
        self._session = requests.Session()
        self._session.trust_env = False

    def get(self, path: str, token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        # A connection of its own for each, so that both workers get some.
        headers["Connection"] = "close"
        self.answer = self._session.get(self._url + path, headers=headers, timeout=10)
        return self.answer.status_code

    def scrape(self) -> Values:
        assert self.get("/metrics", TOKEN) == 200
        return read(self.answer.text)

    def writers(self) -> set[str]:
        """Return the processes that have files of counters."""
        return {path.stem.split("_")[1] for path in self._directory.glob("counter_*.db")}


@contextmanager
def serve(clerk: StandInClerk, directory: Path, *options: str) -> Iterator[Server]:
    shared = directory / "metrics"
    shared.mkdir()
    environment = inherit_environment() | {
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "DJANGO_HTTPS": "0",
        "CLERK_ISSUER": clerk.issuer,
        "CLERK_JWKS_URL": clerk.jwks_url,
        "CLERK_AUTHORIZED_PARTIES": AUTHORIZED_PARTY,
        "CLERK_METRICS": SINK,
        "METRICS_TOKEN": TOKEN,
        "PROMETHEUS_MULTIPROC_DIR": str(shared),
        "XDG_RUNTIME_DIR": str(directory),
    }
    log = directory / "gunicorn.log"
    with socket.create_server(("127.0.0.1", 0)) as listener, log.open("wb") as output:
        argv = [sys.executable, "-m", "gunicorn", "project.wsgi", "--workers", "2", *options]
        argv += ["--bind", f"fd://{listener.fileno()}", "--pythonpath", str(settings.BASE_DIR)]
        process = children.start(
            argv, output=output, environment=environment, pass_fds=[listener.fileno()]
        )
        try:
            yield Server(f"http://127.0.0.1:{listener.getsockname()[1]}", shared)
        finally:
            children.stop(process)


@pytest.mark.integration
@pytest.mark.parametrize("options", [[], ["--preload"]], ids=["each-loads", "preloaded"])
def test_workers_start_at_zero_and_are_added_up(options, tmp_path):
    with StandInClerk() as clerk, serve(clerk, tmp_path, *options) as server:
        # Preloaded, the parent of the workers has made the series for all of them.
        wait_until(lambda: len(server.writers()) >= (1 if options else 2))
        first = server.scrape()
        assert first.keys() == metrics.totals().keys()
        assert set(first.values()) == {0}

        good = clerk.signer.token(azp=AUTHORIZED_PARTY)
        expired = clerk.signer.token(azp=AUTHORIZED_PARTY, expires_in=-3600)
        assert [server.get("/api/me", good) for _ in range(20)] == [200] * 20
        assert [server.get("/api/me", expired) for _ in range(6)] == [401] * 6

        scraped = server.scrape()
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
