"""What a request may cost, in operations and not in seconds: exact numbers."""

from __future__ import annotations

import logging
from contextlib import suppress

import pytest

from clerk_auth.core.errors import TokenMalformed
from clerk_auth.permissions import HasPermission
from clerk_auth.verifier import get_verifier
from tests.conftest import PARTY
from tests.operations import count_operations, count_our_calls
from tests.test_authentication import WhoAmI, call


@pytest.fixture
def warm(configured, caplog):
    """A process that has served a token of the same key, and logs no successes."""
    caplog.set_level(logging.WARNING, "clerk_auth")
    get_verifier().verify(configured.signer.token(azp=PARTY))
    return configured


def test_new_token_costs_one_signature_one_hash_and_one_parse(warm):
    token = warm.signer.token("user_new", azp=PARTY)
    _header, payload, signature = token.split(".")
    assert count_operations(lambda: get_verifier().verify(token)) == {
        "sha256": 1,
        "rsa": 1,
        "json": 1,
        "base64": 2,
        "wrapper": 1,
        "decoded_bytes": len(payload) + len(signature),
    }


def test_what_a_permission_asks_is_read_once_per_token(warm):
    token = warm.signer.token(azp=PARTY, o={"id": "org_1"}, fea="o:a", pla="o:pro")

    def ask() -> None:
        claims = get_verifier().verify(token)
        assert claims.organization
        assert claims.has(feature="a", plan="pro")

    ask()
    assert count_operations(ask) == {"sha256": 1, "wrapper": 1}


def test_repeated_token_costs_one_hash(warm):
    token = warm.signer.token("user_new", azp=PARTY)
    get_verifier().verify(token)
    assert count_operations(lambda: get_verifier().verify(token)) == {
        "sha256": 1,
        "wrapper": 1,
    }


@pytest.mark.parametrize(("room", "hashes"), [(-1, 0), (0, 1), (1, 1)])
def test_text_over_the_limit_is_not_hashed(warm, settings, room, hashes):
    token = warm.signer.token(azp=PARTY)
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "MAX_TOKEN_BYTES": len(token) + room}
    verifier = get_verifier()

    def judge() -> None:
        with suppress(TokenMalformed):
            verifier.check(token)

    judge()  # which fetches the keys
    assert count_operations(judge) == {"wrapper": 1} | ({"sha256": hashes} if hashes else {})


def test_first_token_of_another_header_costs_one_more_parse(warm):
    payload = warm.signer.session_payload("user_new", azp=PARTY)
    token = warm.signer.sign(payload, {"oiat": "another"})
    assert count_operations(lambda: get_verifier().verify(token))["json"] == 2


def test_forged_token_is_not_parsed_before_its_signature(warm, other_issuer):
    forger = other_issuer.acting_as(warm.issuer, kid=warm.signer.kid)
    verifier = get_verifier()
    verifier.source._desk.quiet_until["signature"] = float("inf")
    token = forger.token(azp=PARTY, expires_in=-3600)

    def refuse() -> None:
        with pytest.raises(Exception, match="signature"):
            verifier.check(token)

    counts = count_operations(refuse)
    assert counts["rsa"] == 1
    assert counts["json"] <= 1
    assert "cache" not in counts


@pytest.mark.parametrize("shape", ["repeated", "new"])
def test_request_with_a_known_key_takes_no_thread_and_no_cache_call(warm, shape):
    token = warm.signer.token(azp=PARTY)
    call(WhoAmI, "Bearer " + token)
    if shape == "new":
        token = warm.signer.token("user_other", azp=PARTY)
    statuses = []
    counts = count_operations(lambda: statuses.append(call(WhoAmI, "Bearer " + token).status_code))
    assert statuses == [200]
    assert {name: counts.get(name, 0) for name in ("thread", "cache", "rsa", "wrapper")} == {
        "thread": 0,
        "cache": 0,
        "wrapper": 2,
        "rsa": int(shape == "new"),
    }
    assert warm.fetches == 1


class Reports(WhoAmI):
    permission_classes = (HasPermission("org:reports:read"),)


@pytest.mark.parametrize(
    ("view", "shape", "calls"),
    [
        pytest.param(WhoAmI, "new", 52, id="new"),
        pytest.param(WhoAmI, "repeated", 18, id="repeated"),
        pytest.param(Reports, "new", 77, id="new-permission"),
        pytest.param(Reports, "repeated", 25, id="repeated-permission"),
    ],
)
def test_request_makes_so_many_calls_of_ours(warm, view, shape, calls):
    organization = {"id": "org_1", "slg": "acme", "rol": "admin", "per": "read", "fpm": "1"}
    claims = {"azp": PARTY, "o": organization, "fea": "o:reports"}
    token = warm.signer.token(**claims)
    call(view, "Bearer " + token)
    if shape == "new":
        token = warm.signer.token("user_other", **claims)
    statuses = []
    made = count_our_calls(lambda: statuses.append(call(view, "Bearer " + token).status_code))
    assert statuses == [200]
    assert made == calls
