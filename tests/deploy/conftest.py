"""A stand-in Clerk, and servers started as the kit starts them."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import requests
from django.conf import settings

from clerk_auth.issuer.standin import StandInClerk
from project.demo import children
from project.demo.environment import make_environment
from tests.processes import list_descendants, wait_until

KIT = settings.BASE_DIR / "deploy"
HOST = "api.example.com"


class Server(NamedTuple):
    url: str
    process: subprocess.Popen[bytes]
    environment: dict[str, str]

    def get(self, path: str, token: str | None = None) -> requests.Response:
        headers = {"Host": HOST} | ({"Authorization": f"Bearer {token}"} if token else {})
        return requests.get(self.url + path, headers=headers, timeout=5)

    def workers(self, count: int = 2) -> set[int]:
        """Return the workers once there are so many: the first answers before the last is there."""
        wait_until(lambda: len(list_descendants(self.process.pid)) == count)
        return list_descendants(self.process.pid)


@pytest.fixture
def clerk() -> Iterator[StandInClerk]:
    with StandInClerk() as clerk:
        yield clerk


@pytest.fixture
def environment(clerk: StandInClerk, tmp_path: Path) -> dict[str, str]:
    """Settings that trust ``clerk``."""
    made = make_environment(clerk, redis_url=None, directory=tmp_path)
    return made | {"DJANGO_ALLOWED_HOSTS": HOST}


@pytest.fixture
def serve(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start gunicorn, bound to a free port of loopback, and wait until it answers."""
    started = []

    def start(argv: list[str], *, cwd: Path, **variables: str) -> Server:
        log = tmp_path / "server.log"
        with socket.create_server(("127.0.0.1", 0)) as listener, log.open("wb") as output:
            port = str(listener.getsockname()[1])
            bind = f"--bind fd://{listener.fileno()}"
            own = environment | {"PORT": port, "GUNICORN_CMD_ARGS": bind} | variables
            process = children.start(
                argv, output=output, environment=own, pass_fds=[listener.fileno()], cwd=cwd
            )
        started.append(process)
        server = Server(f"http://127.0.0.1:{port}", process, own)

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return server.get("/health/ready").status_code < 500
            except requests.RequestException:
                return False

        wait_until(answers)
        return server

    yield start
    for process in started:
        children.stop(process)
