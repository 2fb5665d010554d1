"""Words on a token: nothing of it steers a terminal, or fills one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clerk_auth.core.tokens import Policy
from clerk_auth.diagnostics.explanations import (
    MAX_SHOWN,
    count,
    describe_time,
    format_duration,
    name_key,
    show,
)
from tests.conftest import NOW

pytestmark = pytest.mark.integration

POLICY = Policy(
    issuers=frozenset({"https://b.example", "https://a.example"}),
    authorized_parties=frozenset({"https://app.example"}),
    audiences=frozenset({"api"}),
)


@pytest.mark.parametrize(
    "text", ["\x1b[2J", "\x9b2J", "\x07", "\x7f", "\u202e", "\u2028", "\ud800", "é", "\r\n", "\0"]
)
def test_value_is_written_in_printable_ascii(text, local_issuer):
    name = name_key(replace(local_issuer.verifying_key, kid=text))
    for shown in (show(text), show([text]), show({text: text}), name):
        assert shown.isascii()
        assert shown.isprintable()


@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_value_is_shortened_beyond_a_length(excess):
    shown = show("x" * (MAX_SHOWN - 2 + excess))
    assert shown.endswith(f"({MAX_SHOWN + excess} characters)") == (excess > 0)
    assert len(shown) < MAX_SHOWN + 30


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (NOW - 12, "2027-01-15 07:59:48 UTC (12 s ago)"),
        (NOW, "2027-01-15 08:00:00 UTC (0 s ago)"),
        (NOW + 60.5, "2027-01-15 08:01:00 UTC (in 1 min 0 s)"),
        (0, "1970-01-01 00:00:00 UTC (20833 days ago)"),
        (253_402_300_799, "9999-12-31 23:59:59 UTC (in 2912063 days)"),
        (253_402_300_800, "253402300800"),
        (-1, "-1"),
        (1e308, "1e+308"),
        (True, "true"),
        ("1800000000", '"1800000000"'),
        (None, "null"),
    ],
)
def test_time_is_a_date_and_a_distance_where_it_can_be(value, words):
    assert describe_time(value, NOW) == words


def test_integer_of_any_size_is_no_date():
    assert describe_time(10**4000, NOW).startswith("1000")


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


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 keys"), (1, "1 key"), (2, "2 keys")], ids=lambda value: str(value)
)
def test_one_is_no_plural(number, said):
    assert count(number, "key") == said
    assert count(number, "party", "parties") == said.replace("keys", "parties").replace(
        "key", "party"
    )
