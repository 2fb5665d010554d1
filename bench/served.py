"""The part that serves: requests per second under gunicorn."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from bench.environment import ROOT
from bench.load import Load, put_load
from bench.ratios import cost_ratio, to_json
from bench.session import Bench


@contextlib.contextmanager
def _gunicorn(bench: Bench, worker_class: str) -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        number = listener.fileno()
        argv = [str(bench.environment.python), "-m", "gunicorn", "--bind", f"fd://{number}"]
        argv += ["--workers", "2", "--worker-class", worker_class, "--log-level", "error"]
        argv += ["--threads", "4"] if worker_class == "gthread" else []
        server = subprocess.Popen(
            [*argv, "bench.inside.wsgi"],
            cwd=ROOT,
            env=bench.environment.variables(**bench.variables(BENCH_REDIS_URL=bench.redis_url)),
            pass_fds=[number],
            stdin=subprocess.DEVNULL,
        )
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            with urlopen(f"{url}/open/", timeout=20) as answer:
                answer.read()
            yield url, server.pid
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


# Endpoint and file of tokens, by name.
LOADS = {
    "open": ("open", "one.txt"),
    "ours repeated": ("ours", "one.txt"),
    "ours new": ("ours", "tokens.txt"),
    "pyjwt new": ("pyjwt", "tokens.txt"),
}


def gunicorn(bench: Bench) -> dict[str, Any]:
    """Compare requests per second with those of an open endpoint."""
    tokens = (bench.work / "tokens.txt").read_text().split()
    (bench.work / "one.txt").write_text(tokens[-1] + "\n")
    found: dict[str, Any] = {
        "titles": {
            "open": "open endpoint",
            "ours repeated": "clerk_auth, repeated token",
            "ours new": "clerk_auth, new tokens",
            "pyjwt new": "PyJWT, key at hand, new tokens",
        },
        "baseline": "open",
        "load": f"wrk {bench.wrk.version}" if bench.wrk else "bench.load, in Python",
    }
    for worker_class in ("sync", "gthread"):
        rounds = _load_in_turn(bench, worker_class, tokens)
        found[worker_class] = {
            measure: to_json(
                {
                    name: cost_ratio(
                        [getattr(loads[name], measure) for loads in rounds],
                        [getattr(loads["open"], measure) for loads in rounds],
                    )
                    for name in LOADS
                }
            )
            for measure in ("rate", "cpu_rate", "p50", "p99")
        }
    return found


def _load_in_turn(bench: Bench, worker_class: str, tokens: Sequence[str]) -> list[dict[str, Load]]:
    """Return the rounds of one kind of workers: the endpoints take turns."""
    scale, position = bench.scale, 0

    with _gunicorn(bench, worker_class) as (url, pid):

        def put(name: str) -> Load:
            nonlocal position
            endpoint, file = LOADS[name]
            load = put_load(
                bench.wrk,
                f"{url}/{endpoint}/",
                bench.work / file,
                start=position,
                seconds=scale.load_seconds,
                connections=8,
                cpu_ticks=partial(_cpu_ticks, pid),
            )
            if name == "ours new":
                position = (position + load.requests) % len(tokens)
            return load

        _warm_up(url, tokens[:40])
        filled = 0
        while filled < scale.fill:
            bench.say(f"gunicorn, {worker_class}: {filled} new tokens, before the first round")
            filled += put("ours new").requests
        rounds = []
        for number in range(scale.load_rounds):
            bench.say(f"gunicorn, {worker_class}: round {number + 1} of {scale.load_rounds}")
            names = list(LOADS)
            turn = number % len(names)
            rounds.append({name: put(name) for name in names[turn:] + names[:turn]})
    return rounds


def _cpu_ticks(pid: int) -> int:
    """Return the CPU time that a server and its workers have used, in ticks (Linux)."""
    ticks = 0
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks


def _warm_up(url: str, tokens: Sequence[str]) -> None:
    for endpoint in ("ours", "pyjwt"):
        for token in tokens:
            request = Request(f"{url}/{endpoint}/", headers={"Authorization": f"Bearer {token}"})
            with urlopen(request, timeout=10) as answer:
                answer.read()
