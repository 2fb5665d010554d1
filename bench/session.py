"""What all parts of a run share: how much is measured, and with what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.environment import ROOT, Environment, Wrk
from bench.issuer import KeyServer
from bench.tokens import TOKEN_CACHE_SIZE
from bench.workers import Worker


@dataclass(frozen=True)
class Scale:
    """How much is measured. Rounds of the timed parts are shared out among fresh processes.

    ``verify_batch`` is half of a token cache, so that each round drops one generation of it.
    ``fill`` new tokens are sent before the rounds under load: more than its two workers keep.
    """

    rounds: int = 40
    processes: int = 4
    verify_batch: int = TOKEN_CACHE_SIZE // 2
    request_batch: int = 240
    sink_batch: int = 240
    asgi_batch: int = 120
    load_rounds: int = 5
    load_seconds: float = 3.0
    fill: int = 3 * TOKEN_CACHE_SIZE
    herd_processes: int = 8
    herd_threads: int = 8
    herd_delay_seconds: float = 0.3
    flood: int = 1000
    memory_runs: int = 5
    tokens: int = 4 * TOKEN_CACHE_SIZE


QUICK = Scale(
    rounds=6,
    processes=1,
    verify_batch=30,
    request_batch=12,
    sink_batch=30,
    asgi_batch=12,
    load_rounds=1,
    load_seconds=1.0,
    fill=0,
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
