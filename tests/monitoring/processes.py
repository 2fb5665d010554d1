"""A real Prometheus, and the API that it scrapes: gunicorn with two workers."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import requests

from clerk_auth.issuer.standin import StandInClerk
from project.demo import children
from project.demo.environment import AUTHORIZED_PARTY
from tests.contrib.processes import Server, serve
from tests.monitoring.conftest import RULES
from tests.processes import wait_until

SCRAPE_TOKEN = "only-for-this-test"
_ABOUT = ("job", "exported_instance")
# Scrapes, rates and alarms take their time.
wait_for = partial(wait_until, patience_seconds=40.0)
# What windows and delays of the shipped rules become, where nobody wants to wait. Fetches are
# repeated after 1, 2 and 4 seconds: a window must hold four failures of two workers.
WINDOWS = {"[1d]": "[60s]", "[5m]": "[15s]"}
DELAYS = {"for: 5m": "for: 2s", "for: 10m": "for: 2s"}


def shorten(rules: str) -> str:
    """Return the rules with all windows and delays shortened; KeyError for an unknown one."""
    rules = re.sub(r"\[\d\w*\]", lambda found: WINDOWS[found[0]], rules)
    return re.sub(r"for: \w+", lambda found: DELAYS[found[0]], rules)


@dataclass(frozen=True)
class Api:
    clerk: StandInClerk
    server: Server

    @property
    def address(self) -> str:
        return self.server.url.removeprefix("http://")

    def ask(self, clerk: StandInClerk | None = None, **token: Any) -> int:
        """Send a request with a token of Clerk's, or of another, and return the status."""
        return self.send((clerk or self.clerk).signer.token(azp=AUTHORIZED_PARTY, **token))

    def send(self, token: str) -> int:
        return self.server.get("/api/me", token)


@contextmanager
def run_api(
    directory: Path, settings_module: str = "project.settings", **environment: str
) -> Iterator[Api]:
    """Yield an API with a Clerk of its own; it has ended afterwards."""
    counts = directory / "metrics"
    counts.mkdir(parents=True)
    environment |= {
        "DJANGO_SETTINGS_MODULE": settings_module,
        "CLERK_METRICS": "clerk_auth.contrib.prometheus.PrometheusSink",
        "METRICS_TOKEN": SCRAPE_TOKEN,
        "PROMETHEUS_MULTIPROC_DIR": str(counts),
    }
    with StandInClerk() as clerk, serve(clerk, directory, **environment) as server:
        yield Api(clerk, server)


class Prometheus:
    def __init__(self, url: str) -> None:
        self._url = url

    def query(self, query: str) -> list[dict[str, Any]]:
        """Return the series that a query yields now; fail unless it succeeds."""
        answer = requests.get(
            f"{self._url}/api/v1/query", params={"query": query}, timeout=10
        ).json()
        assert answer["status"] == "success", answer
        return answer["data"]["result"]

    def has(self, query: str) -> bool:
        return bool(self.query(query))

    def alarms(self, *states: str) -> set[tuple[str, str]]:
        """Return alarms and what they are about: a job, a Clerk instance of a job, or nothing."""
        alarms = requests.get(f"{self._url}/api/v1/alerts", timeout=10).json()["data"]["alerts"]
        return {
            (labels["alertname"], " ".join(labels[name] for name in _ABOUT if name in labels))
            for labels in (one["labels"] for one in alarms if not states or one["state"] in states)
        }


@contextmanager
def run_prometheus(
    program: str, directory: Path, targets: Mapping[str, Sequence[str]]
) -> Iterator[Prometheus]:
    """Yield a server that scrapes each second, with the shortened rules; targets are by job."""
    directory.mkdir()
    rules = directory / "rules.yml"
    rules.write_text(shorten(RULES.read_text()))
    config = directory / "prometheus.yml"
    jobs = [
        {
            "job_name": job,
            "authorization": {"credentials": SCRAPE_TOKEN},
            "static_configs": [{"targets": list(addresses)}],
        }
        for job, addresses in targets.items()
    ]
    # JSON is YAML.
    config.write_text(
        json.dumps(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(rules)],
                "scrape_configs": jobs,
            }
        )
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = "{}:{}".format(*free.getsockname())
    with (directory / "prometheus.log").open("wb") as log:
        process = children.start(
            [
                program,
                f"--config.file={config}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={address}",
            ],
            output=log,
        )
        try:
            server = Prometheus(f"http://{address}")
            wait_for(lambda: _is_ready(f"http://{address}/-/ready"), "Prometheus is ready")
            yield server
        finally:
            children.stop(process)


def _is_ready(url: str) -> bool:
    try:
        return requests.get(url, timeout=10).status_code == 200
    except requests.ConnectionError:
        return False
