"""Running a management command as its caller sees it: what it read, what it wrote, how it ended."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass

from django.core.management import CommandError, call_command


@dataclass(frozen=True)
class Outcome:
    """What a run of a command left behind."""

    status: int
    out: str
    err: str


def run_command(
    name: str, *arguments: str, given: str | bytes | None = b"", encoding: str = "utf-8"
) -> Outcome:
    """Run a command in this process, with ``given`` on its standard input; ``None`` closes that."""
    data = given.encode() if isinstance(given, str) else given
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    status, before = 0, sys.stdin
    sys.stdin = None if data is None else io.TextIOWrapper(io.BytesIO(data))
    try:
        call_command(name, "--no-color", *arguments, stdout=out, stderr=err)
    except SystemExit as end:
        status = end.code
    except CommandError as error:
        status = error.returncode
        err.write(str(error))
    finally:
        sys.stdin = before
    written = []
    for stream in (out, err):
        stream.flush()
        written.append(stream.buffer.getvalue().decode(encoding))
    return Outcome(status, *written)
