"""Every bad token is bad in the one way that its name says, and gets exactly its code."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from clerk_auth.core.errors import REJECTIONS, TokenRejected
from clerk_auth.core.tokens import Policy
from clerk_auth.issuer.bad_tokens import BAD_TOKENS
from clerk_auth.jwks.source import StaticKeySource
from clerk_auth.verifier import Verifier
from tests.conftest import ISSUER, NOW, PARTY

pytestmark = pytest.mark.integration

NAMES = [
    "expired",
    "not-yet-valid",
    "wrong-issuer",
    "wrong-party",
    "no-party",
    "wrong-audience",
    "no-expiry",
    "long-lived",
    "no-subject",
    "no-session",
    "pending",
    "machine",
    "template",
    "oauth",
    "forged",
    "tampered",
    "embedded-key",
    "alg-none-unsigned",
    "alg-none",
    "hs256",
    "unknown-kid",
    "malformed",
]
STRICT = Policy(
    issuers=frozenset({ISSUER}),
    authorized_parties=frozenset({PARTY}),
    audiences=frozenset({"api"}),
)
each_bad_token = pytest.mark.parametrize("bad", BAD_TOKENS.values(), ids=BAD_TOKENS)


@pytest.fixture(scope="module")
def payload(local_issuer) -> dict:
    return local_issuer.session_payload(now=NOW, azp=PARTY, aud="api")


def check(issuer, token: str, policy: Policy = STRICT, *, ignore_kid: bool = False):
    """Verify against the public key of ``issuer``, without network."""
    source = StaticKeySource((issuer.verifying_key,), ignore_kid=ignore_kid)
    return Verifier(source, policy, now=lambda: NOW).check(token)


def refusal(*args, **options) -> str:
    with pytest.raises(TokenRejected) as caught:
        check(*args, **options)
    return caught.value.code


def decode(segment: str) -> dict:
    return json.loads(base64.urlsafe_b64decode(segment + "=="))


def test_every_kind_has_its_name():
    assert list(BAD_TOKENS) == NAMES
    assert all(bad.name == name and bad.title for name, bad in BAD_TOKENS.items())
    assert len({bad.title for bad in BAD_TOKENS.values()}) == len(NAMES)


def test_kinds_that_need_no_private_key_are_those_of_the_header_and_the_signature():
    assert {name for name, bad in BAD_TOKENS.items() if not bad.by_claims} == {
        "forged",
        "tampered",
        "embedded-key",
        "alg-none-unsigned",
        "alg-none",
        "hs256",
        "unknown-kid",
        "malformed",
    }


def test_every_refusal_of_a_token_has_a_kind():
    assert {bad.code for bad in BAD_TOKENS.values()} == {
        error.code for error in REJECTIONS if not error.code.startswith("user_")
    }


def test_unaltered_token_is_accepted(local_issuer, payload):
    assert check(local_issuer, local_issuer.sign(payload)).user_id == "user_dev"


@each_bad_token
def test_bad_token_gets_exactly_its_code(bad, local_issuer, payload):
    assert refusal(local_issuer, bad.make(local_issuer, payload)) == bad.code
    assert bad.applies(STRICT)


@each_bad_token
def test_making_one_leaves_the_good_claims_as_they_were(bad, local_issuer, payload):
    before = json.dumps(payload)
    bad.make(local_issuer, payload)
    assert json.dumps(payload) == before


@pytest.mark.parametrize(
    "bad", [bad for bad in BAD_TOKENS.values() if bad.by_claims], ids=lambda bad: bad.name
)
def test_kind_by_claims_is_signed_by_the_issuer_itself(bad, local_issuer, payload):
    """It is refused for what it says: the signature would hold."""
    token = bad.make(local_issuer, payload)
    signing_input, _, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    assert local_issuer.verifying_key.verifies(signing_input.encode(), raw)


@pytest.mark.parametrize(
    "bad",
    [bad for bad in BAD_TOKENS.values() if not bad.by_claims and bad.name != "malformed"],
    ids=lambda bad: bad.name,
)
def test_other_kinds_carry_claims_that_would_be_accepted(bad, local_issuer, payload):
    claims = decode(bad.make(local_issuer, payload).split(".")[1])
    assert check(local_issuer, local_issuer.sign(claims)).issuer == ISSUER


@pytest.mark.parametrize(
    "bad", [bad for bad in BAD_TOKENS.values() if not bad.by_claims], ids=lambda bad: bad.name
)
def test_other_kinds_pretend_to_be_signed_with_the_genuine_key(
    bad, local_issuer, other_issuer, payload
):
    """Made by somebody who has the public key alone: ``other_issuer`` signs, if anybody."""
    token = bad.make(other_issuer, payload, local_issuer.verifying_key)
    assert refusal(local_issuer, token) == bad.code
    if bad.name not in ("unknown-kid", "malformed"):
        assert decode(token.split(".")[0])["kid"] == local_issuer.kid


@each_bad_token
def test_bad_token_gets_its_code_where_the_key_is_configured(bad, local_issuer, payload):
    """``JWT_KEY``: the key id is ignored."""
    policy = replace(STRICT, kid_required=False)
    token = bad.make(local_issuer, payload)
    if bad.applies(policy):
        assert refusal(local_issuer, token, policy, ignore_kid=True) == bad.code
    else:
        assert bad.name == "unknown-kid"
        assert check(local_issuer, token, policy, ignore_kid=True)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"authorized_parties": frozenset()}, {"wrong-party", "no-party"}),
        ({"party_required": False}, {"no-party"}),
        ({"audiences": frozenset()}, {"wrong-audience"}),
        ({"accept_pending": True}, {"pending"}),
        ({"uncategorized_token_max_seconds": 0}, {"long-lived"}),
        ({"uncategorized_token_max_seconds": 10**9}, set()),
        ({"kid_required": False}, {"unknown-kid"}),
        ({"leeway_seconds": 60}, set()),
        ({}, set()),
    ],
)
def test_kind_applies_unless_the_policy_lets_it_in(change, names, local_issuer, payload):
    policy = replace(STRICT, **change)
    assert {name for name, bad in BAD_TOKENS.items() if not bad.applies(policy)} == names
    for name in names:
        token = BAD_TOKENS[name].make(local_issuer, payload)
        assert check(local_issuer, token, policy, ignore_kid=not policy.kid_required)


def test_forger_is_nobody_that_is_trusted(local_issuer, other_issuer, payload):
    for name in ("forged", "embedded-key"):
        token = BAD_TOKENS[name].make(local_issuer, payload)
        assert refusal(other_issuer, token) == "signature_invalid"


def test_table_of_kinds_cannot_be_changed():
    with pytest.raises(TypeError):
        BAD_TOKENS["expired"] = None
