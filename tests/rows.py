"""Tables of many small rows that one test runs: its fixtures are set up once, not once a row."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

# The last two are no `Exception`: a row that skips would take the rows behind it along.
FAILURES = (Exception, pytest.fail.Exception, pytest.skip.Exception)


def each_row(
    names: str | Sequence[str],
    rows: Iterable[Any],
    ids: Iterable[str] | Callable[[Any], object] = ascii,
) -> Callable[..., Any]:
    """Run a test for each row; written as ``pytest.mark.parametrize`` is, and may be stacked.

    All rows run, and those that fail are named: no failure hides another. What a test asks for
    besides its row is the same object in every row, so this is for tests that change nothing, or
    set all that they read. Where a row needs something fresh, ``parametrize`` is the way.
    """
    read = [_read_row(row, is_single=isinstance(names, str)) for row in rows]
    names = (names,) if isinstance(names, str) else names
    table = [(label, dict(zip(names, values, strict=True))) for label, values in read]
    if not table:
        raise ValueError("a table without rows tests nothing")
    if not callable(ids):
        table = [(own or label, row) for label, (own, row) in zip(ids, table, strict=True)]

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(*self: Any, **fixtures: Any) -> None:
            labels, failures = [], []
            for label, row in table:
                try:
                    test(*self, **fixtures, **row)
                except FAILURES as failure:
                    labels.append(label or _describe(row.values(), ids))
                    failure.add_note(f"row: {labels[-1]}")
                    failures.append(failure)
            if failures:
                message = f"{len(failures)} of {len(table)} rows fail: {', '.join(labels)}"
                raise BaseExceptionGroup(message, failures)

        signature = inspect.signature(test)
        others = [value for name, value in signature.parameters.items() if name not in names]
        if len(others) + len(names) != len(signature.parameters):
            raise TypeError(f"{test.__name__} takes not all of {', '.join(names)}")
        run.__signature__ = signature.replace(parameters=others)
        return run

    return decorate


def _read_row(row: Any, *, is_single: bool) -> tuple[str | None, Sequence[Any]]:
    # What `pytest.param` returns.
    if hasattr(row, "marks"):
        if row.marks:
            raise ValueError("a mark is for a test, not for a row")
        return row.id, row.values
    return None, (row,) if is_single else row


def _describe(values: Iterable[Any], describe: Callable[[Any], object]) -> str:
    return "-".join(str(describe(value) or ascii(value))[:60] for value in values)
