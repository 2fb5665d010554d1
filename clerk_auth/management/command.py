"""What our commands share: their instances, how they read a token, what is logged, how they end."""

from __future__ import annotations

import argparse
import getpass
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.cache import InvalidCacheBackendError
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from clerk_auth.conf import DEFAULT_INSTANCE
from clerk_auth.conf.aliases import is_alias
from clerk_auth.diagnostics.report import SCHEMA_VERSION
from clerk_auth.diagnostics.terminal import Page
from clerk_auth.logs import logger

__all__ = [
    "OperatorCommand", "add_instance_argument", "add_token_option", "end_if_it_cannot_run",
    "read_token", "without_log_lines",
]  # fmt: skip

# More than any token: longer input was piped in by mistake.
MAX_INPUT_BYTES = 1024 * 1024
# A terminal cuts its lines here, silently (POSIX: MAX_CANON).
MAX_LINE_CHARACTERS = 4095
# As shells say it: 128 and the number of the signal.
INTERRUPTED, READER_LEFT = 130, 141


class OperatorCommand(BaseCommand):
    """A command that prints lines for people, or one JSON document, and no log lines of ours.

    With ``--verbosity 2`` the log goes where the project sends it. Ctrl-C ends the command with
    status 130, and a reader that leaves, as ``head`` does, with 141. ``NO_COLOR`` is honoured.
    """

    # The commands report wrong settings themselves, with exit status 2.
    requires_system_checks = ()

    def execute(self, *args: Any, **options: Any) -> Any:
        if os.environ.get("NO_COLOR") and not options["force_color"]:
            options["no_color"] = True
        try:
            if options["verbosity"] > 1:
                return super().execute(*args, **options)
            with without_log_lines():
                return super().execute(*args, **options)
        except KeyboardInterrupt:
            self.stderr.write("\nInterrupted.", style_func=str)
            sys.exit(INTERRUPTED)
        except BrokenPipeError:
            if self.stdout._out is sys.stdout:
                # Otherwise Python reports at its exit that it cannot write the rest.
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.exit(READER_LEFT)


def add_instance_argument(parser: CommandParser, text: str, *, default: str | None = None) -> None:
    """Add ``--instance ALIAS``; :func:`conf.get_config` says which aliases there are.

    ``default`` is the alias where the option is absent; ``None`` if that means another thing.
    """
    parser.add_argument("--instance", type=_read_alias, default=default, metavar="ALIAS", help=text)


def _read_alias(text: str) -> str:
    if text == DEFAULT_INSTANCE or is_alias(text):
        return text
    # Not repeated: a token that was put here by mistake may go to a log.
    raise argparse.ArgumentTypeError(f"write {DEFAULT_INSTANCE}, or an alias of INSTANCES")


def add_token_option(parser: CommandParser, *, default: str | None, text: str) -> None:
    """Add ``--token -``, and catch a token among the arguments so that no error repeats it."""
    parser.add_argument("--token", nargs="?", const="-", default=default, metavar="-", help=text)
    parser.add_argument("unexpected", nargs="*", help=argparse.SUPPRESS)


def read_token(options: dict[str, Any]) -> str | None:
    """Return the token on standard input; ``None`` without ``--token``.

    Raises:
        CommandError: standard input holds none or too much, or the token is an argument.
    """
    if options["token"] not in (None, "-") or options["unexpected"]:
        # Not repeated: this may go to a log.
        raise CommandError(
            "A token is only read from standard input: other users of this machine see arguments, "
            "and shells remember them. Treat this token as compromised, and revoke its session.",
            returncode=2,
        )
    if options["token"] is None:
        return None
    token = _read_input()
    if not token.strip():
        raise CommandError("There is no token on standard input.", returncode=2)
    return token


def _read_input() -> str:
    if sys.stdin is None:  # it is closed
        return ""
    return _read_line() if sys.stdin.isatty() else _read_all()


def _read_line() -> str:
    try:
        line = getpass.getpass("Paste the token (it is not shown) and press Enter: ", sys.stderr)
    except EOFError:
        return ""
    if len(line) >= MAX_LINE_CHARACTERS:
        raise CommandError(
            f"A terminal cuts a line at {MAX_LINE_CHARACTERS} characters: put the token into a "
            "file, and redirect standard input.",
            returncode=2,
        )
    return line


def _read_all() -> str:
    data = sys.stdin.buffer.read(MAX_INPUT_BYTES + 1)
    if len(data) > MAX_INPUT_BYTES:
        raise CommandError("More than 1 MiB on standard input: this is not a token.", returncode=2)
    # As a web server decodes a header: every byte is a character, and a token has only ASCII.
    return data.decode("latin-1")


@contextmanager
def end_if_it_cannot_run(
    command: BaseCommand, options: dict[str, Any], headline: str, **document: object
) -> Iterator[None]:
    """End ``command`` with status 2 if the block raises, and say why.

    With ``--json``, ``document`` with the problem as ``error`` goes to standard output too.
    """
    try:
        yield
    except Exception as error:
        if options["traceback"]:
            raise
        is_known = isinstance(error, ImproperlyConfigured | CommandError)
        # Of other errors only the type: a message may quote a setting, and settings hold passwords.
        problem = f"{type(error).__name__}; --traceback shows all of it."
        if is_known and not isinstance(error, InvalidCacheBackendError):
            problem = str(error)
    else:
        return
    if options["json"]:
        document = {"schema_version": SCHEMA_VERSION, **document, "error": problem}
        command.stdout.write(json.dumps(document, indent=2))
    page = Page(command.stderr, command.style)
    for line in (headline, *problem.splitlines()):
        page.write(command.style.ERROR(line))
    sys.exit(2)


@contextmanager
def without_log_lines() -> Iterator[None]:
    """Keep our log records off standard output and error; files and services still get them."""
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
    if logging.lastResort:  # without any handler, it prints warnings
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
