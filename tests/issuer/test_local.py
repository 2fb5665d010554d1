"""The local issuer signs what it is told to, and shows nobody its private key."""

from __future__ import annotations

import base64
import json
import time

import pytest

from clerk_auth.core.errors import TokenRejected
from clerk_auth.core.keys import load_public_key, parse_jwks
from clerk_auth.issuer.local import ABSENT
from clerk_auth.jwks.source import StaticKeySource
from clerk_auth.verifier import Verifier
from tests.conftest import ISSUER, NOW, PARTY

pytestmark = pytest.mark.integration


def decode(token: str) -> tuple[dict, dict]:
    """Return header and payload, unverified."""
    header, payload, _ = token.split(".")
    read = base64.urlsafe_b64decode
    return json.loads(read(header + "==")), json.loads(read(payload + "=="))


def test_token_looks_as_clerks_do(local_issuer):
    header, payload = decode(local_issuer.token("user_1", now=NOW, azp=PARTY))
    assert header == {
        "alg": "RS256",
        "cat": "cl_B7d4PD111AAA",
        "kid": local_issuer.kid,
        "typ": "JWT",
    }
    assert payload == {
        "iss": ISSUER,
        "sub": "user_1",
        "sid": "sess_local",
        "iat": NOW,
        "nbf": NOW - 10,
        "exp": NOW + 60,
        "sts": "active",
        "v": 2,
        "azp": PARTY,
    }


def test_token_is_accepted_on_the_common_path(local_issuer, policy):
    verifier = Verifier(StaticKeySource((local_issuer.verifying_key,)), policy, now=lambda: NOW)
    claims = verifier.verify(local_issuer.token("user_1", now=NOW, azp=PARTY))
    assert (claims.user_id, claims.version) == ("user_1", 2)


def test_clock_is_read_where_no_time_is_given(local_issuer):
    before = int(time.time())
    issued_at = local_issuer.session_payload()["iat"]
    assert before <= issued_at <= time.time()


def test_claims_and_header_members_are_set_or_left_out(local_issuer):
    header, payload = decode(
        local_issuer.sign(
            local_issuer.session_payload(now=NOW, expires_in=5, sid=ABSENT, nbf=None, custom=[1]),
            {"cat": ABSENT, "kid": "other", "oiat": 1},
        )
    )
    assert header == {"alg": "RS256", "kid": "other", "typ": "JWT", "oiat": 1}
    assert "sid" not in payload
    assert (payload["exp"], payload["nbf"], payload["custom"]) == (NOW + 5, None, [1])


def test_bytes_that_are_no_claims_are_signed_too(local_issuer, policy):
    verifier = Verifier(StaticKeySource((local_issuer.verifying_key,)), policy)
    token = local_issuer.sign_text(b"[]", {"alg": "RS256", "kid": local_issuer.kid})
    with pytest.raises(TokenRejected) as caught:
        verifier.check(token)
    assert caught.value.code == "token_malformed"


def test_key_set_and_pem_show_the_public_key_alone(local_issuer):
    (key,) = parse_jwks(json.dumps(local_issuer.jwks).encode()).keys
    assert key.thumbprint == local_issuer.verifying_key.thumbprint
    assert set(local_issuer.jwk) == {"kty", "use", "alg", "kid", "n", "e"}
    assert load_public_key(local_issuer.public_pem).thumbprint == key.thumbprint
    assert "PRIVATE" not in local_issuer.public_pem


def test_private_key_is_in_no_representation(local_issuer):
    assert "PRIVATE" not in repr(local_issuer) + str(local_issuer)


def test_issuer_of_another_name_signs_with_the_same_key(local_issuer):
    other = local_issuer.acting_as("https://other.example", kid="ins_other")
    assert (other.issuer, other.kid) == ("https://other.example", "ins_other")
    assert other.verifying_key.thumbprint == local_issuer.verifying_key.thumbprint
    assert local_issuer.acting_as("https://other.example").kid == local_issuer.kid


def test_generated_keys_differ(local_issuer, other_issuer):
    assert local_issuer.verifying_key.thumbprint != other_issuer.verifying_key.thumbprint
    assert local_issuer.verifying_key.bits == 2048
