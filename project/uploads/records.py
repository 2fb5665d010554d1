"""The records of a CSV file, each with the number of the line it starts on.

The dialect is RFC 4180: commas, double quotes, UTF-8 with or without a byte order mark, any of the
three line endings. Blank lines are skipped.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Literal

MAX_BYTES = 5 * 1024 * 1024

Code = Literal[
    "file_too_large",
    "file_empty",
    "encoding_invalid",
    "nul_byte",
    "header_missing",
    "header_blank",
    "header_duplicate",
    "too_many_columns",
    "row_ragged",
    "quote_unterminated",
    "quoting_invalid",
    "field_too_large",
]


class CSVRejected(ValueError):
    """A file that cannot be taken as a table.

    ``line`` is the number of the line at fault, from 1 (for a record of several lines, of its
    first); ``detail`` is one sentence for the person who made the file, and quotes none of it.
    """

    def __init__(self, code: Code, line: int, reason: str) -> None:
        self.code = code
        self.line = line
        self.detail = f"Line {line}: {reason}."
        super().__init__(self.detail)


def decode(data: bytes) -> str:
    """Return the text of a file, without a byte order mark.

    A caller that must not hold a large file may cut it anywhere past ``MAX_BYTES``.

    Raises:
        CSVRejected: too large, a NUL byte, or not UTF-8.
    """
    if len(data) > MAX_BYTES:
        line = _line_at(data, MAX_BYTES)
        raise CSVRejected("file_too_large", line, f"the file passes {MAX_BYTES} bytes here")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = _line_at(data, error.start)
        raise CSVRejected("encoding_invalid", line, "it is not UTF-8") from error
    nul = data.find(b"\0")
    if nul >= 0:
        raise CSVRejected("nul_byte", _line_at(data, nul), "there is a NUL byte in it")
    return text.removeprefix("\N{BYTE ORDER MARK}")


def read_records(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and fields of each record.

    Raises:
        CSVRejected: a quote out of place or left open, or a field past the csv module's limit.
    """
    exhausted = False

    def lines() -> Iterator[str]:
        nonlocal exhausted
        yield from io.StringIO(text, newline="")
        exhausted = True

    reader = csv.reader(lines(), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _translate(error, line, exhausted=exhausted) from error
        if fields:
            yield line, fields


def _line_at(data: bytes, offset: int) -> int:
    line_feeds, returns, pairs = (data.count(end, 0, offset) for end in (b"\n", b"\r", b"\r\n"))
    return line_feeds + returns - pairs + 1


def _translate(error: csv.Error, line: int, *, exhausted: bool) -> CSVRejected:
    # The csv module has one exception for everything; its limit can only be told by the text.
    if str(error).startswith("field larger"):
        reason = f"a field has over {csv.field_size_limit()} characters, or a quote is left open"
        return CSVRejected("field_too_large", line, reason)
    if exhausted:
        return CSVRejected("quote_unterminated", line, "a quote opens here and never closes")
    return CSVRejected("quoting_invalid", line, "no comma follows a closing quote")
