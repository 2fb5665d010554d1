"""Which processes run, and waiting for them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path


def list_processes() -> dict[int, int]:
    """Return the parent of every process that runs; a zombie does not."""
    rows = _read_proc() if Path("/proc/self/stat").exists() else _ask_ps()
    return {int(pid): int(parent) for pid, state, parent in rows if not state.startswith("Z")}


def is_running(pid: int) -> bool:
    return pid in list_processes()


def list_descendants(pid: int) -> set[int]:
    """Return the children of a process, and theirs."""
    processes = list_processes()
    found = {pid}
    while more := {child for child, parent in processes.items() if parent in found} - found:
        found |= more
    return found - {pid}


def wait_until(
    is_so: Callable[[], bool], what: str = "it is so", *, patience_seconds: float = 10.0
) -> None:
    """Return once it is so; fail where that takes too long."""
    deadline = time.monotonic() + patience_seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not in {patience_seconds:g} seconds: {what}"
        time.sleep(0.05)


def _read_proc() -> Iterator[tuple[str, str, str]]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text(errors="replace")
        except OSError:  # it has ended since
            continue
        state, parent = text.rpartition(")")[2].split()[:2]
        yield path.parent.name, state, parent


def _ask_ps() -> Iterator[tuple[str, str, str]]:
    done = subprocess.run(
        ["ps", "-eo", "pid=,state=,ppid="], capture_output=True, text=True, check=True
    )
    for line in done.stdout.splitlines():
        pid, state, parent = line.split()
        yield pid, state, parent
