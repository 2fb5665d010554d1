"""Lines, tables and progress that fit the terminal, in characters that it can show."""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from django.core.management.base import OutputWrapper
from django.core.management.color import Style

from clerk_auth.diagnostics.report import FAILED, NOT_CHECKED, PASSED, SKIPPED, WARNED

__all__ = ["Page", "Progress", "Row", "escape_for", "lay_out", "measure_width"]

# Without a terminal: a log or grep gets whole lines.
UNBOUNDED = sys.maxsize

_MARKS = {PASSED: "✓", WARNED: "!", FAILED: "✗", SKIPPED: "-", NOT_CHECKED: "-"}
_ASCII_MARKS = {PASSED: "ok", WARNED: "!!", FAILED: "XX", SKIPPED: "--", NOT_CHECKED: "--"}
# A narrower column is hard to read: its content goes below the name.
_NARROWEST = 24
_NOTE_INDENT = 6
_PIECE = re.compile("( *)([^ ]+)")
_COLOUR = re.compile(r"\x1b\[[\d;]*m")


def _choose_marks(stream: OutputWrapper) -> dict[str, str]:
    """Return a mark for each status that ``stream`` can show."""
    encoding = getattr(stream, "encoding", None) or "ascii"
    try:
        "".join(_MARKS.values()).encode(encoding)
    except (LookupError, UnicodeEncodeError):
        return _ASCII_MARKS
    return _MARKS


def escape_for(stream: OutputWrapper, text: str) -> str:
    """Return ``text``, with escapes for characters that ``stream`` cannot show."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def measure_width(stream: OutputWrapper) -> int:
    """Return how many columns a line of ``stream`` may have; without a terminal any number."""
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

    All but the first are indented by ``hang``; before that column no line is broken. A word that is
    too long for a line is left whole, so that it can be copied. Words between gaps of two spaces or
    more stay together, if one line can hold them.
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
    """Return the columns of the first piece and of those that follow after single spaces."""
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
            status: paint.get(status, str)(mark) for status, mark in _choose_marks(stream).items()
        }

    def write(self, line: str = "", *, hang: int = 0) -> None:
        """Write a line, broken as :func:`lay_out` does."""
        for part in lay_out(line, self._width, hang=hang):
            self._stream.write(escape_for(self._stream, part))

    def write_heading(self, text: str) -> None:
        """Write the title of what follows."""
        self.write(self.style.MIGRATE_HEADING(text))

    def write_table(self, rows: Sequence[Row], *, widest_name: int = sys.maxsize) -> None:
        """Write two columns, or the second below the first if it would be too narrow beside it."""
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
    """What a command is doing: one line for each step, or on a terminal one line that changes."""

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
        line = "\r" + text.ljust(self._shown)
        # Before it is written: Ctrl-C may come as soon as the line can be seen.
        self._shown = len(text)
        self._stream.write(line, style_func=str, ending="")
        self._stream.flush()

    def end(self) -> None:
        """Clear the line for the output that follows."""
        if self._shown:
            self.show("")
            self._stream.write("\r", style_func=str, ending="")
            self._stream.flush()
