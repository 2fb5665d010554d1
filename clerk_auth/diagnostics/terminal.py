"""What the commands share of a terminal: a token that comes in, lines that fit, how they end."""

from __future__ import annotations

import argparse
import getpass
import itertools
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.core.cache import InvalidCacheBackendError
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser, OutputWrapper
from django.core.management.color import Style

from clerk_auth.diagnostics.inspection import FAILED, NOT_CHECKED, PASSED
from clerk_auth.diagnostics.quiet import without_log_lines
from clerk_auth.diagnostics.selftest import SKIPPED, WARNED

# More than any token: what is longer was piped in by mistake.
MAX_INPUT_BYTES = 1024 * 1024
# A terminal's line ends here, without a word (POSIX: MAX_CANON).
MAX_LINE_CHARACTERS = 4095
# Where there is no terminal: a log or grep gets whole lines.
UNBOUNDED = sys.maxsize
# As shells say it: 128 and the number of the signal.
INTERRUPTED, READER_LEFT = 130, 141

_MARKS = {PASSED: "✓", WARNED: "!", FAILED: "✗", SKIPPED: "-", NOT_CHECKED: "-"}
_ASCII_MARKS = {PASSED: "ok", WARNED: "!!", FAILED: "XX", SKIPPED: "--", NOT_CHECKED: "--"}
# Text in a narrower column is hard to read: it goes below its name.
_NARROWEST = 24
_NOTE_INDENT = 6
_PIECE = re.compile("( *)([^ ]+)")
_COLOUR = re.compile(r"\x1b\[[\d;]*m")


class OperatorCommand(BaseCommand):
    """A command whose output is for people, or one JSON document; its log lines are in neither.

    With ``--verbosity 2`` the log is shown where the project shows it. Ctrl-C ends it with status
    130, and a reader that leaves, as ``head`` does, with 141. ``NO_COLOR`` is honoured.
    """

    # Problems in the settings are ours to report, with exit status 2.
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
                # Or Python complains at the end that it cannot write the rest.
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.exit(READER_LEFT)


def add_token_option(parser: CommandParser, *, default: str | None, text: str) -> None:
    """Add ``--token -``, and catch what else is written there so that nobody repeats it."""
    parser.add_argument("--token", nargs="?", const="-", default=default, metavar="-", help=text)
    parser.add_argument("unexpected", nargs="*", help=argparse.SUPPRESS)


def read_token(options: dict[str, Any]) -> str | None:
    """Return what standard input holds, ``None`` without ``--token``.

    Raises:
        CommandError: there is nothing or too much to read, or the token is an argument.
    """
    if options["token"] not in (None, "-") or options["unexpected"]:
        # Not repeated: this may go to a log.
        raise CommandError(
            "A token is read from standard input alone: others on this machine see arguments, and "
            "shells remember them. Treat this token as compromised, and revoke its session.",
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
        raise CommandError("More than 1 MiB on standard input: this is no token.", returncode=2)
    # As a web server decodes a header: any byte is a character, and no token has one above ASCII.
    return data.decode("latin-1")


@contextmanager
def end_if_it_cannot_run(
    command: BaseCommand, options: dict[str, Any], headline: str, **document: object
) -> Iterator[None]:
    """End ``command`` with status 2 where what is inside raises, and say why.

    With ``--json``, ``document`` goes to standard output too, with the problem as ``error``.
    """
    try:
        yield
    except Exception as error:
        if options["traceback"]:
            raise
        is_known = isinstance(error, ImproperlyConfigured | CommandError)
        # Of others only the type: a message may quote a setting, and settings hold passwords.
        problem = f"{type(error).__name__}; --traceback shows all of it."
        if is_known and not isinstance(error, InvalidCacheBackendError):
            problem = str(error)
    else:
        return
    if options["json"]:
        command.stdout.write(json.dumps({**document, "error": problem}, indent=2))
    page = Page(command.stderr, command.style)
    for line in (headline, *problem.splitlines()):
        page.write(command.style.ERROR(line))
    sys.exit(2)


def choose_marks(stream: OutputWrapper) -> dict[str, str]:
    """Return a mark for each status that ``stream`` can show."""
    encoding = getattr(stream, "encoding", None) or "ascii"
    try:
        "".join(_MARKS.values()).encode(encoding)
    except (LookupError, UnicodeEncodeError):
        return _ASCII_MARKS
    return _MARKS


def escape_for(stream: OutputWrapper, text: str) -> str:
    """Return ``text`` with escapes in place of what ``stream`` cannot show."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def measure_width(stream: OutputWrapper) -> int:
    """Return how many columns a line of ``stream`` may have; no terminal has no bound."""
    if not stream.isatty():
        return UNBOUNDED
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(stream.fileno()).columns or UNBOUNDED
    except (OSError, ValueError):
        return UNBOUNDED


def lay_out(line: str, width: int, *, hang: int = 0) -> list[str]:
    """Break ``line`` between words into lines of at most ``width`` columns.

    All but the first are indented by ``hang``; before that column nothing is broken. A word that is
    too long for a line is left whole, and can be copied. What stands between two blanks or more
    stays on one line, if it fits there.
    """
    lines: list[str] = []
    current, column = "", 0
    pieces = _PIECE.findall(line)
    for index, (gap, word) in enumerate(pieces):
        needed = _count_columns(word)
        if len(gap) > 1 and (field := _count_field(pieces[index:])) <= width - hang:
            needed = field
        if (lines or column > hang) and column + len(gap) + needed > width:
            lines.append(current)
            column = max(0, min(hang, width - _count_columns(word)))
            current = " " * column
        else:
            current += gap
            column += len(gap)
        current += word
        column += _count_columns(word)
    return [*lines, current]


def _count_field(pieces: list[tuple[str, str]]) -> int:
    """Return the columns of the first piece, and of what follows it after single blanks."""
    rest = itertools.takewhile(lambda piece: len(piece[0]) == 1, pieces[1:])
    return _count_columns(" ".join([pieces[0][1], *(word for _, word in rest)]))


def _count_columns(text: str) -> int:
    return len(_COLOUR.sub("", text))


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table: a ``status`` becomes a mark before it, ``notes`` stand below it."""

    name: str
    text: str
    status: str = ""
    notes: tuple[str, ...] = ()


class Page:
    """Writes lines that fit the terminal of ``stream``."""

    def __init__(self, stream: OutputWrapper, style: Style) -> None:
        self.style = style
        self._stream = stream
        self._width = measure_width(stream)
        paint = {PASSED: style.SUCCESS, WARNED: style.WARNING, FAILED: style.ERROR}
        self._marks = {
            status: paint.get(status, str)(mark) for status, mark in choose_marks(stream).items()
        }

    def write(self, line: str = "", *, hang: int = 0) -> None:
        """Write a line, broken as :func:`lay_out` does."""
        for part in lay_out(line, self._width, hang=hang):
            self._stream.write(escape_for(self._stream, part))

    def write_heading(self, text: str) -> None:
        """Write the title of what follows."""
        self.write(self.style.MIGRATE_HEADING(text))

    def write_table(self, rows: Sequence[Row], *, widest_name: int = sys.maxsize) -> None:
        """Write names and texts in two columns, or below each other where these would be narrow."""
        name_width = min(widest_name, max((len(row.name) for row in rows), default=0))
        words = [len(word) for row in rows for word in row.text.split()]
        widest_word = max((w for w in words if w <= self._width - _NOTE_INDENT), default=0)
        widest_text = max((len(row.text) for row in rows), default=0)
        needed = min(widest_text, max(widest_word, _NARROWEST))
        for row in rows:
            mark = f"{self._marks[row.status]} " if row.status else ""
            start = 2 + _count_columns(mark)
            hang = start + name_width + 2
            if self._width - hang < needed:
                self.write(f"  {mark}{row.name}", hang=start)
                self.write_note(row.text)
            else:
                self.write(f"  {mark}{row.name:<{name_width}}  {row.text}", hang=hang)
            for note in row.notes:
                self.write_note(note)

    def write_note(self, text: str) -> None:
        """Write text below a row, if there is any."""
        if text:
            self.write(" " * _NOTE_INDENT + text, hang=_NOTE_INDENT)


class Progress:
    """What happens meanwhile: a line each time, or on a terminal one line that changes."""

    def __init__(self, stream: OutputWrapper) -> None:
        self._stream = stream
        self._is_live = stream.isatty()
        self._shown = 0

    def show(self, text: str) -> None:
        """Show ``text`` in place of what was shown last."""
        text = escape_for(self._stream, text)
        if not self._is_live:
            self._stream.write(text, style_func=str)
            return
        text = text[: measure_width(self._stream) - 1]
        self._stream.write("\r" + text.ljust(self._shown), style_func=str, ending="")
        self._stream.flush()
        self._shown = len(text)

    def end(self) -> None:
        """Leave an empty line to whoever writes next."""
        if self._shown:
            self.show("")
            self._stream.write("\r", style_func=str, ending="")
            self._stream.flush()
