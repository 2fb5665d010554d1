"""Running a management command at a terminal of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

from django.conf import settings


def run_at_terminal(
    *arguments: str,
    environment: dict[str, str],
    typed: str = "",
    after: str = "",
    columns: int = 80,
    program: tuple[str, ...] = ("manage.py",),
) -> tuple[int, str]:
    """Return the exit status, and all that was shown; ``typed`` comes when ``after`` is shown."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen(
        # As a login does it: Ctrl-C is a signal to what runs at its controlling terminal.
        [sys.executable, "-c", _TAKE_TERMINAL, sys.executable, *program, *arguments],
        cwd=settings.BASE_DIR,
        env={name: value for name, value in environment.items() if name != "COLUMNS"},
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    )
    os.close(its)
    shown = b""
    while typed and after.encode() not in shown and (read := _read(ours)):
        shown += read
    os.write(ours, typed.encode())
    while read := _read(ours):
        shown += read
    os.close(ours)
    return process.wait(), shown.decode()


# A shell without job control has what it starts in the background ignore Ctrl-C.
_TAKE_TERMINAL = (
    "import fcntl, os, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
)


def without_colours(shown: str) -> list[str]:
    """Return the lines as they are seen."""
    return re.sub(r"\x1b\[[\d;]*m", "", shown).splitlines()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the process has ended
        return b""
