"""Child processes that end with us, however we end.

The usual way out is ``stop``. When this process is killed without a chance to clean up, Linux
ends its children (``PR_SET_PDEATHSIG``); elsewhere they are left, and only a ``stop`` ends them.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
_STOP_SECONDS = 5.0
_SWEEP = str(Path(__file__).with_name("sweep.py"))


def start(
    argv: Sequence[str],
    *,
    output: IO[bytes] | int = subprocess.DEVNULL,
    environment: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program whose output goes to ``output``.

    To be called from a thread that lives as long as the child should: on Linux the end of that
    thread ends the child.
    """
    return subprocess.Popen(  # noqa: S603 - programs of ours, none of a request
        argv,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        pass_fds=pass_fds,
        cwd=cwd,
        # Ctrl-C in a terminal reaches a whole group: children must wait for us to end them in turn.
        start_new_session=True,
        preexec_fn=_die_with_parent(),
    )


def stop(child: subprocess.Popen[bytes]) -> None:
    """Ask a child to end, and end it if it does not."""
    child.terminate()
    try:
        child.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


@contextmanager
def temporary_directory(prefix: str) -> Iterator[Path]:
    """Yield a directory that goes away with us, even if we are killed.

    A process that waits for the end of a pipe sees to that: we hold the other end.
    """
    path = tempfile.mkdtemp(prefix=prefix)
    sweeper = subprocess.Popen(  # noqa: S603
        [sys.executable, "-I", "-S", _SWEEP, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield Path(path)
    finally:
        sweeper.communicate()


def _die_with_parent() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def ask_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the kernel was asked
            os._exit(1)

    return ask_kernel
