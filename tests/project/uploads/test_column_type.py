"""The type that the cells of a column have in common."""

from __future__ import annotations

import itertools
from functools import reduce

import pytest

from project.uploads.column_type import infer_type

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("0", "integer"),
        ("-17", "integer"),
        ("+5", "integer"),
        ("9" * 400, "integer"),
        ("007", "text"),
        ("1_000", "text"),
        ("1,000", "text"),
        ("٣", "text"),
        ("0.5", "number"),
        ("-1.5e-3", "number"),
        ("1E9", "number"),
        (".5", "text"),
        ("5.", "text"),
        ("NaN", "text"),
        ("Infinity", "text"),
        ("0x10", "text"),
        ("true", "boolean"),
        ("FALSE", "boolean"),
        ("yes", "text"),
        ("2026-02-28", "date"),
        ("2024-02-29", "date"),
        ("2026-02-29", "text"),
        ("2026-W09-6", "text"),
        ("20260228", "integer"),
        ("2026-02-28T23:59", "datetime"),
        ("2026-02-28 23:59:59.5+02:00", "datetime"),
        ("2026-02-28T23:59:59Z", "datetime"),
        ("2026-02-28T25:00", "text"),
        ("2026-02-28T", "text"),
        ("28/02/2026", "text"),
    ],
)
def test_one_cell(cell, kind):
    assert infer_type(cell, None) == kind


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (("1", "2"), "integer"),
        (("1", "2.5"), "number"),
        (("2026-02-28", "2026-02-28T10:00"), "datetime"),
        (("1", "true"), "text"),
        (("1", "2026-02-28"), "text"),
        (("1", "2.5", "x"), "text"),
        (("true", "false", "maybe"), "text"),
    ],
)
def test_column_whatever_its_order(cells, kind):
    for order in itertools.permutations(cells):
        assert reduce(lambda so_far, cell: infer_type(cell, so_far), order, None) == kind
