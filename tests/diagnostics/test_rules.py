"""The table of rules, held to the verifier's order and to what the docs number."""

from __future__ import annotations

import inspect as python
import re
from dataclasses import replace
from itertools import combinations

import pytest

from clerk_auth.core import credential, tokens
from clerk_auth.core.errors import REASONS, REJECTIONS, KeysUnavailable, TokenMalformed
from clerk_auth.core.tokens import Policy
from clerk_auth.diagnostics.inspection import FAILED, inspect
from clerk_auth.diagnostics.rules import NAMES, RULES, remedy_for
from clerk_auth.issuer.local import ABSENT
from tests.conftest import NOW
from tests.diagnostics.conftest import STRICT

pytestmark = pytest.mark.integration

POLICY = Policy(
    issuers=frozenset({"https://b.example", "https://a.example"}),
    authorized_parties=frozenset({"https://app.example"}),
    audiences=frozenset({"api"}),
)
LAX = replace(POLICY, party_required=False, accept_pending=True, kid_required=False)
BY_NAME = {rule.name: rule for rule in RULES}

# One fault for each rule that a signed token can break: changes of the header, and of the claims.
FAULTS: dict[str, tuple[dict, dict]] = {
    "header": ({"typ": "text"}, {}),
    "class": ({"cat": "cl_B7d4PD222AAA"}, {}),
    "key": ({"kid": "ins_unknown"}, {}),
    "time": ({}, {"exp": NOW - 60}),
    "issuer": ({}, {"iss": "https://b.example"}),
    "identity": ({}, {"sid": ABSENT}),
    "party": ({}, {"azp": ABSENT}),
    "audience": ({}, {"aud": 7}),
    "session": ({}, {"sts": "pending"}),
}


@pytest.mark.parametrize("pair", list(combinations(FAULTS, 2)), ids="-".join)
def test_of_two_faults_the_verifier_names_the_one_whose_rule_is_first(pair, judge, make):
    (header, claims), (more_header, more_claims) = (FAULTS[name] for name in pair)
    # ``judge`` holds the first rule that fails to the verifier's code.
    found = judge(make({**header, **more_header}, **claims, **more_claims))
    failed = [finding.rule for finding in found.findings if finding.status == FAILED]
    assert failed[0] == pair[0]
    assert set(failed) <= set(pair)
    assert NAMES.index(pair[0]) < NAMES.index(pair[1])


def test_forged_signature_comes_before_every_claim(other_issuer, judge):
    found = judge(other_issuer.token(now=NOW, exp=NOW - 60, iss="x"))
    assert found.code == "signature_invalid"


def test_numbers_are_those_in_the_comments_of_the_code():
    numbers = [rule.number for rule in RULES if rule.number]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(1, 12))
    written = [
        int(number)
        for module in (credential, tokens)
        for number in re.findall(r"# (\d+): ", python.getsource(module))
    ]
    assert set(numbers) - set(written) == {5}  # which the key source decides


def test_names_are_all_different():
    assert len(set(NAMES)) == len(RULES) == 14


def test_every_rule_expects_something_that_the_settings_decide():
    assert [rule.name for rule in RULES if not rule.expects(POLICY)] == ["user"]
    assert BY_NAME["issuer"].expects(POLICY) == 'iss "https://a.example" or "https://b.example"'
    assert BY_NAME["party"].expects(POLICY) == 'azp "https://app.example"'
    assert BY_NAME["party"].expects(LAX) == 'azp "https://app.example" or none'
    assert "pending" in BY_NAME["session"].expects(LAX)
    assert "pending" not in BY_NAME["session"].expects(POLICY)
    assert "JWT_KEY" in BY_NAME["key"].expects(LAX)
    for lax in (POLICY, LAX):
        unset = replace(lax, authorized_parties=frozenset(), audiences=frozenset())
        assert BY_NAME["party"].expects(unset) == BY_NAME["audience"].expects(unset) == ""


@pytest.mark.parametrize("rule", RULES[:-1], ids=NAMES[:-1])
def test_every_refusal_has_a_remedy(rule):
    for error in REJECTIONS:
        assert remedy_for(rule, error())
    assert "clerk_selftest" in remedy_for(rule, KeysUnavailable())


def test_missing_key_id_has_the_remedy_of_a_wrong_header():
    wrong_header = remedy_for(BY_NAME["header"], TokenMalformed())
    assert remedy_for(BY_NAME["key"], TokenMalformed()) == wrong_header


def test_reason_of_every_refusal_is_of_the_closed_list(make, local_issuer):
    keys = (local_issuer.verifying_key,)
    for header, claims in FAULTS.values():
        for finding in inspect(make(header, **claims), STRICT, keys, now=NOW).findings:
            assert finding.status != FAILED or finding.reason in REASONS
