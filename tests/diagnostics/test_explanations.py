"""Words on a token: nothing of it steers a terminal, or fills one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clerk_auth.core.errors import REJECTIONS, KeysUnavailable, TokenMalformed
from clerk_auth.core.tokens import Policy
from clerk_auth.diagnostics import explanations
from clerk_auth.diagnostics.explanations import MAX_SHOWN, RULES, describe_time, expected_by, show
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
def test_value_is_written_in_printable_ascii(text):
    for value in (text, [text], {text: text}):
        assert show(value).isascii()
        assert show(value).isprintable()


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


def test_every_rule_expects_something_that_the_settings_decide():
    assert [rule for rule in RULES if not expected_by(rule, POLICY)] == ["user"]
    assert expected_by("issuer", POLICY) == 'iss "https://a.example" or "https://b.example"'
    assert expected_by("party", POLICY) == 'azp "https://app.example"'
    lax = replace(POLICY, party_required=False, accept_pending=True, kid_required=False)
    assert expected_by("party", lax) == 'azp "https://app.example" or none'
    assert "pending" in expected_by("session", lax)
    assert "pending" not in expected_by("session", POLICY)
    assert "JWT_KEY" in expected_by("key", lax)
    unset = replace(POLICY, authorized_parties=frozenset(), audiences=frozenset())
    assert expected_by("party", unset) == expected_by("audience", unset) == ""


@pytest.mark.parametrize("rule", RULES[:-1])
def test_every_refusal_has_a_remedy(rule):
    for error in REJECTIONS:
        assert explanations.remedy_for(rule, error())
    assert "clerk_selftest" in explanations.remedy_for(rule, KeysUnavailable())


def test_missing_key_id_has_the_remedy_of_a_wrong_header():
    wrong_header = explanations.remedy_for("header", TokenMalformed())
    assert explanations.remedy_for("key", TokenMalformed()) == wrong_header
