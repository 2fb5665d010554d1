"""The demo in processes of its own: under gunicorn with two workers, or for one program."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from django.conf import settings

from clerk_auth.issuer.standin import StandInClerk
from project.demo import children
from project.demo.environment import inherit_environment, make_environment

SET_UP = "import django; django.setup(); "


class Server:
    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self._log = log
        self.text = ""

    def get(self, path: str, token: str) -> int:
        """Return the status of the answer; ``text`` is its body."""
        # A connection of its own for each, so that both workers get some.
        headers = {"Authorization": f"Bearer {token}"}
        answer = requests.get(self.url + path, headers=headers, timeout=10)
        self.text = answer.text
        return answer.status_code

    def read_log(self) -> str:
        """Return what the server and its workers have written."""
        return self._log.read_text()


@contextmanager
def serve(
    clerk: StandInClerk, directory: Path, *options: str, **environment: str
) -> Iterator[Server]:
    """Yield the server; requests wait until it is there. It has ended afterwards."""
    variables = make_environment(clerk, redis_url=None, directory=directory)
    log = directory / "gunicorn.log"
    with socket.create_server(("127.0.0.1", 0)) as listener, log.open("wb") as output:
        argv = [sys.executable, "-m", "gunicorn", "project.wsgi", "--workers", "2", *options]
        argv += ["--bind", f"fd://{listener.fileno()}", "--pythonpath", str(settings.BASE_DIR)]
        process = children.start(
            argv,
            output=output,
            environment=variables | environment,
            pass_fds=[listener.fileno()],
        )
        try:
            yield Server(f"http://127.0.0.1:{listener.getsockname()[1]}", log)
        finally:
            children.stop(process)


def run_program(
    program: str, *, sinks: str, is_set_up: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python code with Django set up and these sinks connected; warnings are errors."""
    variables = {
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "CLERK_FRONTEND_API": "clerk.example.com",
        "CLERK_METRICS": sinks,
        **environment,
    }
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{SET_UP if is_set_up else ''}{program}"],
        cwd=settings.BASE_DIR,
        env=inherit_environment() | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )
