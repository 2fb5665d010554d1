"""The command: options, progress, and the order of things."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench.environment import ROOT, Environment, find_wrk, make_environment
from bench.issuer import KeyServer
from bench.parts import PARTS
from bench.plot import draw
from bench.report import render
from bench.revisions import export_package
from bench.session import QUICK, Bench, Scale
from bench.workers import Worker


class Progress:
    """One line that is overwritten on a terminal, and written at times elsewhere."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._shown = -10.0
        self._topic = ""

    def __call__(self, text: str) -> None:
        seconds = time.monotonic() - self._started
        topic = text.partition(":")[0]
        if sys.stderr.isatty():
            print(f"\r\033[K{seconds:4.0f} s  {text}", end="", file=sys.stderr, flush=True)
        elif topic != self._topic or seconds - self._shown >= 10:
            print(f"{seconds:4.0f} s  {text}", file=sys.stderr, flush=True)
            self._topic, self._shown = topic, seconds

    def end(self) -> None:
        if sys.stderr.isatty():
            print(file=sys.stderr)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench/run",
        description="Measure clerk_auth side by side with others, and write a report.",
    )
    parser.add_argument("--quick", action="store_true", help="a smoke run of a minute or two")
    parser.add_argument(
        "--only", action="append", choices=[*PARTS], metavar="PART", help=", ".join(PARTS)
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of the timed parts")
    parser.add_argument("--out", type=Path, metavar="DIRECTORY", help="where the report goes")
    parser.add_argument(
        "--before", default="", metavar="REVISION", help="measure clerk_auth of a commit in turn"
    )
    return parser


def main() -> int:
    arguments = make_parser().parse_args()
    scale = QUICK if arguments.quick else Scale()
    if arguments.rounds:
        scale = replace(scale, rounds=max(arguments.rounds, scale.processes))
    results = ROOT / "bench" / "results"
    out = arguments.out or (results / "quick" if arguments.quick else results)
    say = Progress()
    say("environment: making it, or finding it made")
    environment = make_environment()
    wrk = find_wrk()
    report: dict[str, Any] = {
        "schema_version": 2,
        "date": _now(),
        "quick": arguments.quick,
        "python": {name: environment.interpreter[name] for name in ("name", "build", "optimized")},
        "cores": os.cpu_count(),
        "system": platform.system(),
        "revision": _describe_revision(),
        "versions": environment.versions,
        "scale": asdict(scale),
        "parts": {},
    }
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clerk-auth-bench-")))
        issuer = KeyServer()
        stack.callback(issuer.stop)
        redis = stack.enter_context(_redis(environment, work))
        say("tokens: signing them")
        report["token_characters"] = _mint(environment, issuer, work, scale)
        report["redis"] = redis["version"] if redis else None
        redis_url = redis["url"] if redis else ""
        before = export_package(arguments.before, work / "before") if arguments.before else ""
        bench = Bench(environment, issuer, work, scale, redis_url, wrk, say, before)
        for name, measure in PARTS.items():
            if not arguments.only or name in arguments.only:
                report["parts"][name] = measure(bench)
                _write(report, out)
    say.end()
    print(render(report))
    return 0


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())


def _write(report: dict[str, Any], out: Path) -> None:
    """Write what there is: a part that fails takes no other with it."""
    report["ended"] = _now()
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    (out / "report.md").write_text(render(report))
    (out / "plot.svg").write_text(draw(report))


def _describe_revision() -> str:
    """Name the commit, and whether files differ from it; nothing where git cannot say."""
    git = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


@contextlib.contextmanager
def _redis(environment: Environment, work: Path) -> Iterator[dict[str, str] | None]:
    with Worker(environment, "redis_process", BENCH_WORK=str(work)) as worker:
        yield worker.read()


def _mint(environment: Environment, issuer: KeyServer, work: Path, scale: Scale) -> int:
    arguments = (str(scale.tokens), str(scale.flood))
    with Worker(environment, "mint", *arguments, BENCH_WORK=str(work)) as worker:
        characters: int = worker.read()["characters"]
    issuer.document = (work / "jwks.json").read_bytes()
    return characters
