"""The demo's table, in a wide and in a narrow terminal."""

from __future__ import annotations

import pytest

from project.demo.steps import Outcome
from project.demo.table import format_table

pytestmark = pytest.mark.integration

OUTCOMES = [
    Outcome("no token", "401", "401"),
    Outcome("expired", "401 token_expired", "200"),
]
WIDE = [
    "    request   expected           got",
    "ok  no token  401                401",
    "NO  expired   401 token_expired  200",
]
NARROW = [
    "    request   got",
    "ok  no token  401",
    "NO  expired   200",
    "    expected 401 token_expired",
]
# mark, request, expected, got, and the gaps between them
FULL_WIDTH = 2 + 8 + 17 + 3 + 3 * 2


@pytest.mark.parametrize(
    ("width", "lines"),
    [(FULL_WIDTH + 1, WIDE), (FULL_WIDTH, WIDE), (FULL_WIDTH - 1, NARROW)],
)
def test_table(width, lines):
    marks = {True: "ok", False: "NO"}
    assert list(format_table(OUTCOMES, width=width, marks=marks, paint=lambda text, _: text)) == (
        lines
    )


def test_colour_does_not_shift_columns():
    marks = {True: "ok", False: "NO"}
    lines = format_table(
        OUTCOMES, width=FULL_WIDTH, marks=marks, paint=lambda text, _: f"\x1b[1m{text}\x1b[0m"
    )
    assert [line.replace("\x1b[1m", "").replace("\x1b[0m", "") for line in lines] == WIDE
