"""The API as it runs in production: processes of their own, configured by their environment."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import requests
from django.conf import settings

from clerk_auth.issuer.standin import StandInClerk
from project.demo import children
from project.demo.environment import make_environment

_READY_SECONDS = 30.0
_MANAGE = str(settings.BASE_DIR / "manage.py")


class ApiFailed(RuntimeError):
    """The API did not come up, or went down; the message ends with what it wrote last."""


@dataclass(frozen=True, slots=True)
class Api:
    url: str
    server: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise ``ApiFailed`` if the server has ended."""
        if self.process.poll() is not None:
            status = self.process.returncode
            raise ApiFailed(f"The API ended with {status}.\n{self.read_log_tail()}")

    def read_log_tail(self) -> str:
        """Return the last lines that the server wrote."""
        return _read_tail(self.log)


@contextmanager
def run_api(
    clerk: StandInClerk, *, redis_url: str | None, directory: Path, port: int
) -> Iterator[Api]:
    """Yield the API once it answers; ``port`` 0 takes a free one.

    Without Redis there is one worker: two would not share their keys.

    Raises:
        ApiFailed: the port is taken, or nothing answers.
    """
    workers = 2 if redis_url else 1
    log = directory / "api.log"
    environment = make_environment(clerk, redis_url=redis_url, directory=directory)
    with _listen(port) as listener, log.open("wb", buffering=0) as output:
        _migrate(environment, output, log)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server, process = _serve(listener, workers, environment, output)
        # Only the server holds it from here on: once that ends, connections are refused.
        listener.close()
        api = Api(url, server, process, log)
        try:
            _wait_until_ready(api)
            yield api
        finally:
            children.stop(process)


def _migrate(environment: dict[str, str], output: IO[bytes], log: Path) -> None:
    process = children.start(
        [sys.executable, _MANAGE, "migrate", "--verbosity", "0"],
        output=output,
        environment=environment,
    )
    try:
        if process.wait() != 0:
            raise ApiFailed(f"The database could not be set up.\n{_read_tail(log)}")
    finally:
        children.stop(process)


def _listen(port: int) -> socket.socket:
    if port not in range(65536):
        raise ApiFailed(f"{port} is not a valid port.")
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise ApiFailed(f"Port {port} cannot be used: {error}") from error


def _serve(
    listener: socket.socket, workers: int, environment: dict[str, str], output: IO[bytes]
) -> tuple[str, subprocess.Popen[bytes]]:
    """Start the server on ``listener``; return what it is, and its process."""
    if importlib.util.find_spec("gunicorn") is None:
        address = "{}:{}".format(*listener.getsockname())
        listener.close()  # it takes no socket, only a port that is free
        argv = [sys.executable, _MANAGE, "runserver", "--noreload", address]
        return "runserver", children.start(argv, output=output, environment=environment)
    argv = [sys.executable, "-m", "gunicorn", "project.wsgi"]
    # Threads: a browser connects ahead of its requests, and would hold a worker with each of these.
    argv += ["--workers", str(workers), "--threads", "8", "--graceful-timeout", "1"]
    argv += ["--bind", f"fd://{listener.fileno()}", "--pythonpath", str(settings.BASE_DIR)]
    process = children.start(
        argv, output=output, environment=environment, pass_fds=[listener.fileno()]
    )
    return f"gunicorn, {workers} worker{'s' if workers > 1 else ''}", process


def _wait_until_ready(api: Api) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    with requests.Session() as session:
        session.trust_env = False
        while time.monotonic() < deadline:
            api.check()
            try:
                if session.get(f"{api.url}/health/ready", timeout=1).status_code == 200:
                    return
            except requests.RequestException:
                pass
            time.sleep(0.05)
    raise ApiFailed(
        f"The API is not ready after {_READY_SECONDS:g} seconds.\n{api.read_log_tail()}"
    )


def _read_tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])
