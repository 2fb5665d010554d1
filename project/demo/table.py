"""Outcomes as a table that fits the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from project.demo.steps import Outcome

_GAP = "  "
_HEADER = ("request", "expected", "got")


def format_table(
    outcomes: Sequence[Outcome],
    *,
    width: int,
    marks: Mapping[bool, str],
    paint: Callable[[str, bool], str],
) -> Iterator[str]:
    """Yield the lines, each with its painted mark in front; marks are of one length.

    A terminal too narrow for it loses the column of what was expected, and then a line that came
    out otherwise is followed by it.
    """
    rows = [(outcome.title, outcome.expected, outcome.got) for outcome in outcomes]
    widths = [max(map(len, column)) for column in zip(_HEADER, *rows, strict=True)]
    indent = " " * len(marks[True])
    is_wide = sum(widths) + len(indent) + 3 * len(_GAP) <= width
    shown = (0, 1, 2) if is_wide else (0, 2)

    def join(start: str, cells: Sequence[str]) -> str:
        return _GAP.join((start, *(cells[i].ljust(widths[i]) for i in shown))).rstrip()

    yield join(indent, _HEADER)
    for outcome, row in zip(outcomes, rows, strict=True):
        is_expected = outcome.is_expected
        yield join(paint(marks[is_expected], is_expected), row)
        if not (is_wide or is_expected):
            yield f"{indent}{_GAP}expected {outcome.expected}"
