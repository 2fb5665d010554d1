"""Which type the cells of a column have in common.

======== =========================================================================
integer  optional sign, no leading zero: ``007`` is an identifier and stays text
number   decimal point or exponent; integers beside such cells are numbers too
boolean  ``true`` or ``false`` in any case
date     ``2026-11-21``, if the calendar has it
datetime a date, ``T`` or a space, and a time (ISO 8601); dates beside such cells too
text     everything else
======== =========================================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Literal

ColumnType = Literal["integer", "number", "boolean", "date", "datetime", "text"]

_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_BOOLEAN = re.compile(r"true|false", re.IGNORECASE | re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DATETIME = re.compile(rf"{_DATE.pattern}([T ][0-9]{{2}}:[0-9]{{2}}.*)?")


def infer_type(cell: str, so_far: ColumnType | None) -> ColumnType:
    """Return the narrowest type that ``cell`` shares with the column's cells ``so_far``.

    ``cell`` is stripped and not empty. Meant to be folded over a column: once a column is
    ``text``, it stays so at no cost.
    """
    if so_far is None:
        return next(kind for kind, matches in _MATCHERS.items() if matches(cell))
    if _MATCHERS[so_far](cell):
        return so_far
    wider = _WIDER.get(so_far, "text")
    return wider if _MATCHERS[wider](cell) else "text"


def is_value(cell: str) -> bool:
    """Tell whether ``cell`` has a narrower type than text."""
    return infer_type(cell, None) != "text"


def _is_calendar(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    def matches(cell: str) -> bool:
        if not pattern.fullmatch(cell):
            return False
        try:
            datetime.fromisoformat(cell)
        except ValueError:
            return False
        return True

    return matches


def _is_text(cell: str) -> bool:
    return True


# Narrowest first: an integer is a number too, and a date a datetime.
_MATCHERS: dict[ColumnType, Callable[[str], object]] = {
    "integer": _INTEGER.fullmatch,
    "number": _NUMBER.fullmatch,
    "boolean": _BOOLEAN.fullmatch,
    "date": _is_calendar(_DATE),
    "datetime": _is_calendar(_DATETIME),
    "text": _is_text,
}
_WIDER: dict[ColumnType, ColumnType] = {"integer": "number", "date": "datetime"}
