"""Clerk's own published test data, and where we disagree with its verdicts on purpose.

The data lies beside the repository and is not part of it. Clerk's JavaScript checks no issuer, so
every issuer of the data is a configured one here, and what is refused is refused for another
reason.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from clerk_auth.conf.instance import read_parties, read_publishable_key
from clerk_auth.conf.readers import Refused
from clerk_auth.core.credential import read_bearer_token
from clerk_auth.core.encoding import encode_base64url
from clerk_auth.core.errors import ClerkAuthError, KeySetInvalid, TokenRejected
from clerk_auth.core.keys import load_public_key, parse_jwks
from clerk_auth.core.tokens import Policy
from clerk_auth.exceptions import ReverificationRequired
from clerk_auth.jwks.source import StaticKeySource
from clerk_auth.verifier import Verifier
from tests.core import conftest
from tests.core.conftest import ACCEPTED

pytestmark = pytest.mark.integration

PATH = Path(__file__).resolve().parents[2].parent / "shared" / "vectors" / "clerk.json"
if not PATH.is_file():
    pytest.skip(
        "Clerk's published test data is not here (../shared/vectors/clerk.json)",
        allow_module_level=True,
    )

VECTORS: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
KEYS, CONSTANTS = VECTORS["keys"], VECTORS["constants"]
NO_CREDENTIAL = "no_credential"
ISSUERS = frozenset(CONSTANTS[name]["iss"] for name in ("payload", "m2m_payload", "oauth_payload"))

# Row -> why we decide otherwise; rules are those of DESIGN section 5.
ONLY_SESSIONS = "rule 4: session tokens alone are accepted, and no option accepts another class"
DISAGREEMENTS = {
    # Accepted by Clerk, refused by us.
    "verify/aud-array-match": ONLY_SESSIONS,
    "verify/oauth-jwt-header-types": ONLY_SESSIONS,
    "verify/oauth-jwt-application-typ": ONLY_SESSIONS,
    "verify/cat-template-low-level-verify": "rule 4: a JWT template outlives its session",
    "verify/sts-pending": "rule 11: a pending session is signed out; Clerk decides that later",
    "machine_jwt/oauth-at+jwt": ONLY_SESSIONS,
    "machine_jwt/oauth-application/at+jwt": ONLY_SESSIONS,
    "machine_jwt/m2m-valid-cat": ONLY_SESSIONS,
    "machine_jwt/m2m-valid-no-cat": ONLY_SESSIONS,
    "handshake_tokens/session": "rule 7: no exp, no session; they carry cookies and are no tokens",
    "handshake_tokens/ignore": "rule 7: as above",
    "handshake_tokens/none": "rule 7: as above",
    "authenticate_request/scheme-trailing-garbage": "rule 1: more than one part is malformed",
    "authenticate_request/raw-token": "rule 1: the scheme is required",
    "authenticate_request/other-scheme-falls-back-to-cookie": "rule 1: never from a cookie",
    # Refused by Clerk, accepted by us.
    "verify/jwt-required-at+jwt": "the row asks for an OAuth token, and this is a session token",
    "authenticate_request/scheme-double-space": "rule 1: one or more spaces (RFC 9110)",
    "authenticate_request/scheme-lowercase": "rule 1: the scheme is compared without case",
    "authenticate_request/accepts-array-machine-only-session-given": "the view asks for machines",
    "authenticate_request/accepts-m2m-session-given": "the view asks for machines",
    "machine_jwt/oauth-claims-but-typ-JWT": (
        "verified as an OAuth token, it lacks the type of one; it has all that a session token "
        "has, and only its issuer, which is configured here, tells that it is none"
    ),
}

# Clerk's reason -> our codes for it.
CODES = {
    "token-invalid": {"token_malformed", "token_class_not_accepted"},
    "token-invalid-algorithm": {"algorithm_not_allowed"},
    "token-invalid-signature": {"signature_invalid"},
    "token-invalid-authorized-parties": {"party_not_allowed"},
    "token-expired": {"token_expired"},
    "session-token-expired-refresh-non-eligible-no-refresh-cookie": {"token_expired"},
    "token-not-active-yet": {"token_not_yet_valid"},
    "token-iat-in-the-future": {"token_not_yet_valid"},
    "token-type-mismatch": {"token_class_not_accepted"},
    "token-verification-failed": {
        "claim_invalid",
        "algorithm_not_allowed",
        "token_class_not_accepted",
    },
    "jwk-kid-mismatch": {"key_not_found"},
    "jwk-remote-failed-to-load": {"key_set_invalid"},
}


def make_policy(issuers: Iterable[str], options: dict[str, Any], *, kid_required: bool) -> Policy:
    # A setting refuses the empty party and the leeway that is no number; JavaScript falls back.
    leeway_seconds = float(options.get("clock_skew_ms", 5000)) / 1000
    return Policy(
        issuers=frozenset(issuers),
        authorized_parties=frozenset(filter(None, options.get("authorized_parties", []))),
        audiences=frozenset({options["audience"]} if "audience" in options else ()),
        leeway_seconds=leeway_seconds if math.isfinite(leeway_seconds) else 5.0,
        kid_required=kid_required,
    )


def verify(token: str, row: dict[str, Any], issuers: Iterable[str] = ISSUERS) -> str:
    """Return what becomes of a token: ``ACCEPTED`` or a code."""
    options = row.get("options", {})
    is_pem = row.get("key", "jwks") != "jwks"
    try:
        if is_pem:
            keys = (load_public_key(KEYS[row["key"]]),)
        else:
            jwks = options.get("jwks_response", KEYS["jwks"])
            keys = parse_jwks(json.dumps(jwks).encode()).keys
        source = StaticKeySource(keys, ignore_kid=is_pem)
        policy = make_policy(issuers, options, kid_required=not is_pem)
        now = row.get("now", VECTORS["meta"]["frozen_now"])
        claims = Verifier(source, policy, now=lambda: now).check(token)
    except ClerkAuthError as error:
        return error.code
    expected = row.get("expect", {}).get("claims")
    assert expected is None or claims.payload == expected
    return ACCEPTED


def authenticate(row: dict[str, Any]) -> str:
    """Return what becomes of a request that carries this ``Authorization`` header."""
    try:
        token = read_bearer_token(row["headers"]["authorization"])
    except TokenRejected as error:
        return error.code
    if token is None:
        return NO_CREDENTIAL
    domain = read_publishable_key(CONSTANTS[row["publishable_key"]])
    return verify(token, row, [f"https://{domain}"])


def rows():
    """Yield a name, Clerk's verdict and reason, and ours."""
    for row in VECTORS["verify"]:
        expect = row["expect"]
        yield f"verify/{row['id']}", expect["ok"], expect.get("reason"), verify(row["token"], row)
    for row in VECTORS["authenticate_request"]:
        if "authorization" in row["headers"]:
            expect = row["expect"]
            is_accepted = expect["status"] == "signed-in"
            name = f"authenticate_request/{row['id']}"
            yield name, is_accepted, expect.get("reason"), authenticate(row)
    for row in VECTORS["machine_jwt"]:
        expect = row["expect"]
        outcome = verify(row["token"], row)
        yield f"machine_jwt/{row['id']}", expect["ok"], expect.get("code"), outcome
    for row in VECTORS["handshake_tokens"]:
        yield f"handshake_tokens/{row['id']}", row["ok"], None, verify(row["token"], row)


@pytest.fixture(scope="module")
def outcomes():
    return {name: outcome for name, *outcome in rows()}


def test_every_block_has_rows(outcomes):
    blocks = {name.partition("/")[0] for name in outcomes}
    assert blocks == {"verify", "authenticate_request", "machine_jwt", "handshake_tokens"}


def test_verdicts_are_clerks_but_for_the_listed_disagreements(outcomes):
    disagreements = {
        name: code for name, (ok, _, code) in outcomes.items() if ok is not (code == ACCEPTED)
    }
    assert disagreements.keys() == DISAGREEMENTS.keys(), disagreements


def test_what_both_refuse_has_the_code_of_clerks_reason(outcomes):
    other_codes = {
        name: code
        for name, (ok, reason, code) in outcomes.items()
        # A header that is not ours is left alone, whatever it holds.
        if reason and not ok and code not in {*CODES.get(reason, ()), ACCEPTED, NO_CREDENTIAL}
    }
    assert other_codes == {}


def test_empty_party_cannot_be_configured():
    """Why the rows that configure one run without it."""
    with pytest.raises(Refused):
        read_parties(["", CONSTANTS["payload"]["azp"]])


def test_permissions_of_version_2(local_issuer):
    for row in VECTORS["org_permissions_v2"]:
        claims = conftest.make_claims(local_issuer, fea=row["fea"], o=row["o"])
        assert claims.organization is not None
        assert list(claims.organization.permissions) == row["expect"], row


def read_frontend_api(key: str | None) -> str | None:
    try:
        return read_publishable_key(key)
    except Refused:
        return None


def test_publishable_keys():
    for row in VECTORS["publishable_keys"]:
        expected = row["expect"] and row["expect"]["frontend_api"]
        assert read_frontend_api(row["key"]) == expected, row["key"]


def test_pem_and_its_bare_body_are_one_key():
    body, modulus = KEYS["pem_parsing"]["pem_key_body"], KEYS["pem_parsing"]["expected_n"]
    wrapped = f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----"
    for text in (body, wrapped):
        jwk = load_public_key(text).to_jwk()
        assert (jwk["n"], jwk["e"]) == (modulus, encode_base64url(b"\1\0\1"))


def test_key_that_clerk_calls_unusable_is_no_key():
    document = json.dumps(KEYS["unusable_jwks_short_even_exponent"]).encode()
    with pytest.raises(KeySetInvalid) as caught:
        parse_jwks(document)
    assert caught.value.reason == "no_usable_key"


# Questions about roles, permissions, features, plans and step-up


def encode_state(state: dict[str, Any]) -> dict[str, Any]:
    """Write what Clerk's test gives its function as the claims of a version 2 token."""
    features, permissions = state["features"], state["org_permissions"]
    claims = {"fea": features, "pla": state["plans"], "fva": state["fva"]}
    if state["org_id"]:
        claims["o"] = {"id": state["org_id"], "rol": state["org_role"]}
    if permissions:
        ((_, feature, name),) = [permission.split(":") for permission in permissions]
        claims["o"] |= (
            {"per": name, "fpm": "0," * len(features.split(",")) + "1"}
            if isinstance(features, str)
            else {}
        )
        claims["fea"] = f"{features},o:{feature}" if isinstance(features, str) else features
    return claims


def test_questions_have_clerks_answers(local_issuer):
    rows = [row for row in VECTORS["has"] if row["state"]["user_id"]]
    assert len(rows) == len(VECTORS["has"]) - 1, "the row without a user is no token: rule 9"
    for row in rows:
        claims = conftest.make_claims(local_issuer, **encode_state(row["state"]))
        assert claims.has(**row["params"]) is row["expect"], row


def test_step_up_has_clerks_body():
    vector = VECTORS["reverification_error"]
    for example in vector["examples"]:
        error = ReverificationRequired(example["config"])
        assert (error.status_code, error.detail) == (vector["status"], example["body"])
