"""``deploy/gunicorn.conf.py``, run by gunicorn."""

from __future__ import annotations

import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.conf import settings

from project.demo.environment import AUTHORIZED_PARTY
from tests.deploy.conftest import KIT
from tests.processes import is_running, wait_until

pytestmark = pytest.mark.integration

CONFIGURED = [sys.executable, "-m", "gunicorn", "--config", str(KIT / "gunicorn.conf.py")]
CONFIGURED += ["project.wsgi"]
# A worker that is asked to end may give its connections `graceful_timeout`, 20 seconds.
END_SECONDS = 30


@pytest.fixture
def start(serve):
    return lambda **variables: serve(CONFIGURED, cwd=settings.BASE_DIR, **variables)


def test_workers_share_one_import_and_each_verifies(start, clerk):
    server = start(WEB_CONCURRENCY="3")
    assert server.workers(3)
    token = clerk.signer.token(azp=AUTHORIZED_PARTY)
    assert {server.get("/api/me", token).status_code for _ in range(20)} == {200}
    assert server.get("/api/me").status_code == 401


def test_request_under_way_is_answered_before_the_end(start, clerk):
    fetching, released = threading.Event(), threading.Event()

    def respond(path):
        fetching.set()
        released.wait(5)
        return clerk.answer(path)

    clerk.respond = respond
    server = start()
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(server.get, "/api/me", clerk.signer.token(azp=AUTHORIZED_PARTY))
        assert fetching.wait(5)
        server.process.terminate()
        released.set()
        assert asked.result().status_code == 200
    assert server.process.wait(END_SECONDS) == 0


def test_asked_to_end_it_ends_its_workers_and_succeeds(start):
    server = start()
    workers = server.workers()
    server.process.terminate()
    assert server.process.wait(END_SECONDS) == 0
    assert not any(map(is_running, workers))


class TestMetricsDirectory:
    def test_is_made_and_new_servers_count_from_0(self, start, tmp_path):
        directory = tmp_path / "new" / "metrics"
        start(PROMETHEUS_MULTIPROC_DIR=str(directory))
        assert directory.is_dir()

        other = tmp_path / "old"
        other.mkdir()
        (other / "counter_1.db").write_bytes(b"of an earlier server")
        start(PROMETHEUS_MULTIPROC_DIR=str(other))
        assert not (other / "counter_1.db").exists()

    def test_counts_of_all_workers_add_up(self, start, clerk, tmp_path):
        server = start(
            PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "metrics"),
            CLERK_METRICS="clerk_auth.contrib.prometheus.PrometheusSink",
            METRICS_TOKEN="scraper",
            WEB_CONCURRENCY="3",
        )
        token = clerk.signer.token(azp=AUTHORIZED_PARTY)
        for _ in range(30):
            assert server.get("/api/me", token).status_code == 200
        text = server.get("/metrics", "scraper").text
        assert 'jwt_verifications_success_total{mode="enforce"} 30.0' in text

    def test_reload_keeps_the_counts(self, start, tmp_path):
        server = start(PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "metrics"))
        workers = server.workers()
        kept = tmp_path / "metrics" / "counter_1.db"
        kept.write_bytes(b"")
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: not any(map(is_running, workers)), patience_seconds=END_SECONDS)
        assert kept.exists()

    def test_live_gauges_end_with_their_worker(self, start, tmp_path):
        server = start(PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "metrics"))
        one, *others = sorted(server.workers())
        gauges = [tmp_path / "metrics" / f"gauge_livesum_{pid}.db" for pid in (one, *others)]
        for gauge in gauges:
            gauge.write_bytes(b"")
        os.kill(one, signal.SIGTERM)
        wait_until(lambda: not gauges[0].exists(), patience_seconds=END_SECONDS)
        assert all(gauge.exists() for gauge in gauges[1:])
