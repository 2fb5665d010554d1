"""Spans of time as people say them."""

from __future__ import annotations

import pytest
from clerk_auth.diagnostics.durations import format_duration

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (86_400, "24 h 0 min"),
        (48 * 3600 - 1, "47 h 59 min"),
        (48 * 3600, "2 days"),
        (253_402_300_799, "2932896 days"),
    ],
)
def test_largest_two_units_are_named(seconds, words):
    assert format_duration(seconds) == words
