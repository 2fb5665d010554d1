"""Processes that measure: a line in starts a piece of work, a line of JSON out is its result."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Self

from bench.environment import ROOT, Environment


class Worker:
    """A Python process of the environment that runs a module of ``bench.inside``.

    It imports from ``directory`` first: another state of the package may lie there.
    """

    def __init__(
        self,
        environment: Environment,
        module: str,
        *arguments: str,
        directory: Path = ROOT,
        **more: str,
    ) -> None:
        self._module = module
        self._process = subprocess.Popen(
            [str(environment.python), "-m", f"bench.inside.{module}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=directory,
            env=environment.variables(**more),
            text=True,
        )

    def ask(self, order: str = "go") -> Any:
        """Give an order, and wait for the result."""
        self.tell(order)
        return self.read()

    def tell(self, order: str = "go") -> None:
        assert self._process.stdin
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()

    def read(self) -> Any:
        """Return the next result; ``RuntimeError`` if the process has ended without one."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"bench.inside.{self._module} ended without a result")
        return json.loads(line)

    def stop(self) -> None:
        """End it: it ends by itself once its standard input is closed."""
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
