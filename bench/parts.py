"""The parts of a run. Each returns what its section of the report is made of, JSON-ready."""

from __future__ import annotations

import contextlib
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from bench.environment import ROOT, Environment, Wrk
from bench.issuer import KeyServer
from bench.load import Load, put_load
from bench.ratios import Ratio, added_ratio, by_subject, cost_ratio, summarize
from bench.workers import Worker

Rounds = list[dict[str, dict[str, float]]]


@dataclass(frozen=True)
class Scale:
    """How much is measured. Rounds of the timed parts are shared out among fresh processes."""

    rounds: int = 40
    processes: int = 4
    verify_batch: int = 241
    request_batch: int = 240
    load_rounds: int = 5
    load_seconds: float = 3.0
    herd_processes: int = 8
    herd_threads: int = 8
    herd_delay_seconds: float = 0.3
    flood: int = 1000
    memory_runs: int = 5
    tokens: int = 16_000


QUICK = Scale(
    rounds=6,
    processes=1,
    verify_batch=30,
    request_batch=12,
    load_rounds=1,
    load_seconds=1.0,
    herd_processes=2,
    herd_threads=4,
    herd_delay_seconds=0.1,
    flood=30,
    memory_runs=1,
    tokens=6_000,
)


@dataclass(frozen=True)
class Bench:
    """What every part uses; ``say`` shows progress.

    ``before`` names an earlier revision, and ``before_directory`` holds its package.
    """

    environment: Environment
    issuer: KeyServer
    work: Path
    scale: Scale
    redis_url: str
    wrk: Wrk | None
    say: Callable[[str], None]
    before: str = ""

    @property
    def before_directory(self) -> Path:
        return self.work / "before"

    def variables(self, **more: str) -> dict[str, str]:
        return {"BENCH_WORK": str(self.work), "BENCH_KEY_SERVER": self.issuer.url, **more}

    def worker(self, module: str, *arguments: str, directory: Path = ROOT, **more: str) -> Worker:
        variables = self.variables(**more)
        return Worker(self.environment, module, *arguments, directory=directory, **variables)


@dataclass
class Timed:
    """What ``bench.inside.measure`` says of the subjects, and its rounds."""

    about: dict[str, Any] = field(default_factory=dict)
    rounds: Rounds = field(default_factory=list)


def _timed_rounds(bench: Bench, what: str, batch: int) -> list[Timed]:
    """Return the rounds of this state, then those of the one before: they take turns."""
    scale, directories = bench.scale, [ROOT, *([bench.before_directory] if bench.before else [])]
    states = [Timed() for _ in directories]
    for process in range(scale.processes):
        number = scale.rounds * (process + 1) // scale.processes - len(states[0].rounds)
        with contextlib.ExitStack() as stack:
            workers = []
            for state, directory in zip(states, directories, strict=True):
                worker = bench.worker("measure", what, str(batch), directory=directory)
                workers.append(stack.enter_context(worker))
                state.about = worker.read()
            for _ in range(number):
                for state, worker in zip(states, workers, strict=True):
                    state.rounds.append(worker.ask())
                bench.say(f"{what}: round {len(states[0].rounds)} of {scale.rounds}")
    return states


def _describe(bench: Bench, now: Timed, *before: Timed) -> dict[str, Any]:
    """Return titles and marks; those of the state before stand after those of this one."""
    about: dict[str, Any] = {name: dict(found) for name, found in now.about.items()}
    for timed in before:
        about["titles"]["before"] = f"clerk_auth at {bench.before}"
        if "ours" in timed.about["lets_in"]:
            about["lets_in"]["before"] = timed.about["lets_in"]["ours"]
    return about


def _ratios(ratios: Mapping[str, Ratio]) -> dict[str, dict[str, float]]:
    return {name: ratio.to_json() for name, ratio in ratios.items()}


def verify(bench: Bench) -> dict[str, Any]:
    """Compare verifying a token with one raw signature check."""
    now, *before = _timed_rounds(bench, "verify", bench.scale.verify_batch)
    found: dict[str, Any] = {**_describe(bench, now, *before), "baseline": "raw"}
    for kind in ("new", "repeated"):
        times = by_subject([each[kind] for each in now.rounds])
        ratios = {name: cost_ratio(times[name], times["raw"]) for name in times}
        for timed in before:
            times = by_subject([each[kind] for each in timed.rounds])
            ratios["before"] = cost_ratio(times["ours"], times["raw"])
        found[kind] = _ratios(ratios)
    return found


def requests(bench: Bench) -> dict[str, Any]:
    """Compare what authentication adds to a DRF request with what a hand-written class adds."""
    now, *before = _timed_rounds(bench, "requests", bench.scale.request_batch)
    found: dict[str, Any] = {**_describe(bench, now, *before), "zero": "open", "baseline": "pyjwt"}
    for kind in ("factory new", "factory repeated", "client new", "client repeated"):
        times = by_subject([each[kind] for each in now.rounds])
        ratios = {
            name: added_ratio(times[name], times["open"], times["pyjwt"])
            for name in times
            if name != "open"
        }
        ratios["open view alone"] = cost_ratio(
            times["open"], [a - b for a, b in zip(times["pyjwt"], times["open"], strict=True)]
        )
        for timed in before:
            times = by_subject([each[kind] for each in timed.rounds])
            ratios["before"] = added_ratio(times["ours"], times["open"], times["pyjwt"])
        found[kind] = _ratios(ratios)
    return found


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
    scale = bench.scale
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
        rounds: list[dict[str, Load]] = []
        position = 0
        with _gunicorn(bench, worker_class) as (url, pid):
            _warm_up(url, tokens[:40])
            for number in range(scale.load_rounds):
                loads: dict[str, Load] = {}
                names = list(LOADS)
                for name in names[number % len(names) :] + names[: number % len(names)]:
                    bench.say(
                        f"gunicorn, {worker_class}: round {number + 1} of {scale.load_rounds}"
                    )
                    endpoint, file = LOADS[name]
                    loads[name] = put_load(
                        bench.wrk,
                        f"{url}/{endpoint}/",
                        bench.work / file,
                        start=position,
                        seconds=scale.load_seconds,
                        connections=8,
                        cpu_ticks=partial(_cpu_ticks, pid),
                    )
                    if name == "ours new":
                        position = (position + loads[name].requests) % len(tokens)
                rounds.append(loads)
        found[worker_class] = {
            measure: _ratios(
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


def keys(bench: Bench) -> dict[str, Any]:
    """Count fetches: many cold processes at once, and a flood of unknown key ids."""
    scale = bench.scale
    subjects = ["pyjwkclient", "simplejwt", "sdk_jwks", "ours"]
    found: dict[str, Any] = {
        "titles": {
            "pyjwkclient": "PyJWT and PyJWKClient",
            "simplejwt": "simplejwt, `JWK_URL`",
            "sdk_jwks": "clerk-backend-api, JWKS",
            "ours": "clerk_auth, one Redis" if bench.redis_url else "clerk_auth, no Redis",
            "ours_alone": "clerk_auth, no shared cache",
        },
        "herd": {},
        "flood": {},
        "processes": scale.herd_processes,
        "threads": scale.herd_threads,
        "delay_seconds": scale.herd_delay_seconds,
    }
    for subject in [*subjects, *(["ours_alone"] if bench.redis_url else [])]:
        redis_url = "" if subject == "ours_alone" else bench.redis_url
        name = "ours" if subject == "ours_alone" else subject
        bench.say(f"cold herd: {subject}")
        # A key of the cache is made of the key server's address: another path, another fleet.
        bench.issuer.delay_seconds = scale.herd_delay_seconds
        found["herd"][subject] = _count_fetches(
            bench, name, scale.herd_processes, scale.herd_threads, "tokens.txt", redis_url
        )
        bench.issuer.delay_seconds = 0.0
    for subject in subjects:
        bench.say(f"unknown key ids: {subject}")
        found["flood"][subject] = _count_fetches(
            bench, subject, 1, scale.herd_threads, "flood.txt", bench.redis_url
        )
    return found


_fleets = iter(range(1_000_000))


def _count_fetches(
    bench: Bench, subject: str, processes: int, threads: int, file: str, redis_url: str
) -> dict[str, Any]:
    more = {
        "BENCH_REDIS_URL": redis_url,
        "BENCH_KEY_SERVER": f"{bench.issuer.url}/fleet-{next(_fleets)}",
    }
    with contextlib.ExitStack() as stack:
        arguments = (subject, str(threads), file)
        herd = [
            stack.enter_context(bench.worker("herd", *arguments, **more)) for _ in range(processes)
        ]
        for worker in herd:
            worker.read()
        before = bench.issuer.fetches
        for worker in herd:
            worker.tell()
        answers = [worker.read() for worker in herd]
    return {
        "fetches": bench.issuer.fetches - before,
        "accepted": sum(answer["accepted"] for answer in answers),
        "sent": sum(answer["sent"] for answer in answers),
        "seconds": round(max(answer["seconds"] for answer in answers), 2),
    }


def memory(bench: Bench) -> dict[str, Any]:
    """Weigh a worker: ours against one that has imported PyJWT and requests; a full cache."""
    added, cached, entries = [], [], 0
    for number in range(bench.scale.memory_runs):
        bench.say(f"memory: {number + 1} of {bench.scale.memory_runs}")
        with bench.worker("memory", "open", BENCH_WITHOUT_OURS="1") as worker:
            base = worker.read()
        with bench.worker("memory", "ours", BENCH_ONLY_OURS="1") as worker:
            ours = worker.read()
        added.append((ours["started"] - base["started"]) / 2**20)
        cached.append((ours["full"] - ours["started"]) / 2**20)
        entries = ours["entries"]
    return {
        "added_mib": summarize(added).to_json(),
        "cache_mib": summarize(cached).to_json(),
        "entries": entries,
        "bytes_per_entry": round(statistics.median(cached) * 2**20 / entries),
    }


PARTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "verify": verify,
    "requests": requests,
    "gunicorn": gunicorn,
    "keys": keys,
    "memory": memory,
}


def now() -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
