"""What a CSV file holds: named columns, the type of each, and the number of rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from project.uploads.column_type import ColumnType, infer_type, is_value
from project.uploads.records import CSVRejected, decode, read_records

# A file of nothing but commas would otherwise make five million columns.
MAX_COLUMNS = 1_000


@dataclass(frozen=True, slots=True)
class Column:
    """``type`` covers every cell that is not empty; ``nullable`` tells that some are empty."""

    name: str
    type: ColumnType
    nullable: bool


@dataclass(frozen=True, slots=True)
class Table:
    """``text`` is the file without its byte order mark; ``row_count`` leaves the header out."""

    columns: tuple[Column, ...]
    row_count: int
    text: str


def parse_csv(data: bytes) -> Table:
    """Read a CSV file, all of it; its first record names the columns.

    Returns:
        The table. A column without any value, as in a file that has only a header, is ``text``.

    Raises:
        CSVRejected: the first fault found.
    """
    text = decode(data)
    records = read_records(text)
    names = _read_header(records)
    types: list[ColumnType | None] = [None] * len(names)
    nullable = [False] * len(names)
    row_count = 0
    for line, fields in records:
        if len(fields) != len(names):
            held = "1 field" if len(names) == 1 else f"{len(names)} fields"
            reason = f"the header has {held} and this row {len(fields)}"
            raise CSVRejected("row_ragged", line, reason)
        row_count += 1
        for position, field in enumerate(fields):
            if cell := field.strip():
                types[position] = infer_type(cell, types[position])
            else:
                nullable[position] = True
    columns = map(Column, names, (kind or "text" for kind in types), nullable)
    return Table(columns=tuple(columns), row_count=row_count, text=text)


def _read_header(records: Iterator[tuple[int, list[str]]]) -> list[str]:
    """Return the names, stripped.

    A name that reads as a number, a date or a boolean is taken for data: a missing header would
    otherwise swallow the first row in silence.
    """
    line, header = next(records, (1, None))
    if header is None:
        raise CSVRejected("file_empty", line, "the file is empty")
    if len(header) > MAX_COLUMNS:
        reason = f"{len(header)} columns, and at most {MAX_COLUMNS} are taken"
        raise CSVRejected("too_many_columns", line, reason)
    names = [name.strip() for name in header]
    for number, name in enumerate(names, start=1):
        if not name:
            raise CSVRejected("header_blank", line, f"column {number} has no name")
        if is_value(name):
            reason = f"column {number} is named like a value, so the header seems to be missing"
            raise CSVRejected("header_missing", line, reason)
    for number, name in enumerate(names):
        if name in names[:number]:
            reason = f"column {number + 1} has the name of an earlier one"
            raise CSVRejected("header_duplicate", line, reason)
    return names
