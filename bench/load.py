"""Load on one endpoint of a server on loopback: by wrk, or by a process of our own without it.

``python -m bench.load URL SECONDS CONNECTIONS FILE START`` is that process.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

from bench.environment import ROOT, Wrk

ATTEMPTS = 3


@dataclass(frozen=True)
class Load:
    """What came of it; ``p50`` and ``p99`` are seconds.

    ``refused`` counts answers that are no success, ``lost`` requests without an answer;
    ``cpu_rate`` is requests per tick of the workers' CPU time.
    """

    requests: int
    seconds: float
    p50: float
    p99: float
    refused: int
    lost: int
    cpu_rate: float = 0.0

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def put_load(
    wrk: Wrk | None,
    url: str,
    tokens: Path,
    *,
    start: int,
    seconds: float,
    connections: int,
    cpu_ticks: Callable[[], int],
) -> Load:
    """Send as many requests as are answered, once more if something else disturbed it.

    ``cpu_ticks`` tells the CPU time that the server has used so far.

    Raises:
        RuntimeError: an answer is not a success, or requests are lost three times in a row.
    """
    for _ in range(ATTEMPTS):
        before = cpu_ticks()
        load = _put_load(wrk, url, tokens, start=start, seconds=seconds, connections=connections)
        if load.refused:
            raise RuntimeError(f"{load.refused} of {load.requests} requests of {url} were refused")
        if load.requests and not load.lost:
            return replace(load, cpu_rate=load.requests / max(1, cpu_ticks() - before))
    raise RuntimeError(f"{load.lost} of {load.requests} requests of {url} were lost")


def _put_load(
    wrk: Wrk | None, url: str, tokens: Path, *, start: int, seconds: float, connections: int
) -> Load:
    variables = {**os.environ, "BENCH_TOKENS": str(tokens), "BENCH_START": str(start)}
    if wrk:
        variables["LD_LIBRARY_PATH"] = wrk.library_path
        script = str(ROOT / "bench" / "wrk.lua")
        duration = f"{max(1, round(seconds))}s"
        argv = [wrk.path, "-t1", f"-c{connections}", f"-d{duration}", "--timeout", "10s"]
        argv += ["-s", script, url]
    else:
        argv = [sys.executable, "-m", "bench.load", url, str(seconds), str(connections)]
        argv += [str(tokens), str(start)]
    done = subprocess.run(
        argv, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=seconds + 30
    )
    if done.returncode:
        raise RuntimeError(f"the load generator failed: {done.stdout}{done.stderr}")
    return Load(**json.loads(done.stdout.strip().splitlines()[-1]))


async def _send(url: str, seconds: float, connections: int, tokens: list[str], start: int) -> Load:
    parts = urlsplit(url)
    positions = count(start)
    times: list[float] = []
    refused = lost = 0
    until = time.monotonic() + seconds

    async def client() -> None:
        nonlocal refused, lost
        streams = None
        while time.monotonic() < until:
            token = tokens[next(positions) % len(tokens)]
            started = time.monotonic()
            try:
                if streams is None:
                    streams = await asyncio.open_connection(parts.hostname, parts.port)
                reader, writer = streams
                writer.write(
                    f"GET {parts.path} HTTP/1.1\r\nHost: localhost\r\n"
                    f"Authorization: Bearer {token}\r\n\r\n".encode()
                )
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.lower().split(b"\r\n")
                length = next(line for line in lines if line.startswith(b"content-length:"))
                await reader.readexactly(int(length.split(b":")[1]))
                if b"connection: close" in lines:
                    writer.close()
                    streams = None
            except (OSError, asyncio.IncompleteReadError, StopIteration):
                lost, streams = lost + 1, None
                continue
            times.append(time.monotonic() - started)
            refused += b" 200 " not in lines[0]

    began = time.monotonic()
    await asyncio.gather(*(client() for _ in range(connections)))
    spent = time.monotonic() - began
    times.sort()
    number = len(times)
    middle, late = (times[int(share * (number - 1))] if number else 0.0 for share in (0.5, 0.99))
    return Load(number, spent, middle, late, refused, lost)


def main(url: str, seconds: str, connections: str, file: str, start: str) -> None:
    tokens = Path(file).read_text().split()
    load = asyncio.run(_send(url, float(seconds), int(connections), tokens, int(start)))
    print(json.dumps(vars(load)))


if __name__ == "__main__":
    main(*sys.argv[1:])
