"""Keeps what we log out of a command's output, where it would stand between lines for people."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clerk_auth.logs import logger


@contextmanager
def without_log_lines() -> Iterator[None]:
    """Show no record of ours on standard output or error; files and services get it as ever."""
    handlers = [handler for handler in _find_handlers() if _is_shown(handler)]
    for handler in handlers:
        handler.addFilter(_is_foreign)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(_is_foreign)


def _is_foreign(record: logging.LogRecord) -> bool:
    return not f"{record.name}.".startswith(f"{logger.name}.")


def _find_handlers() -> Iterator[logging.Handler]:
    """Yield every handler that a record of ours comes to."""
    if logging.lastResort:  # where there is none, it prints warnings
        yield logging.lastResort
    passed: logging.Logger | None = logger
    while passed:
        yield from passed.handlers
        passed = passed.parent if passed.propagate else None


def _is_shown(handler: logging.Handler) -> bool:
    # rich's handler has a console in place of a stream.
    console = getattr(handler, "console", None)
    stream: Any = getattr(handler, "stream", None) or getattr(console, "file", None)
    if stream is None:
        return False
    if stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        return True
    try:  # /dev/stderr, as a file
        return any(os.path.sameopenfile(stream.fileno(), output) for output in (1, 2))
    except (AttributeError, OSError, ValueError):
        return False
