"""The inspection names each rule, and never says anything else than the verifier."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from django.core.cache import cache

from clerk_auth import metrics
from clerk_auth.conf import get_config
from clerk_auth.core.encoding import encode_base64url
from clerk_auth.diagnostics import inspection
from clerk_auth.diagnostics.inspection import (
    FAILED,
    NOT_CHECKED,
    PASSED,
    Finding,
    Inspection,
    inspect,
)
from clerk_auth.diagnostics.rules import NAMES
from clerk_auth.issuer.bad_tokens import BAD_TOKENS
from clerk_auth.issuer.local import ABSENT, LocalIssuer
from clerk_auth.verifier import get_verifier
from tests.conftest import ISSUER, NOW, PARTY
from tests.diagnostics.conftest import STRICT

pytestmark = pytest.mark.integration


def find(found: Inspection, rule: str) -> Finding:
    return found.findings[NAMES.index(rule)]


def statuses(found: Inspection) -> dict[str, str]:
    return {finding.rule: finding.status for finding in found.findings}


# The verdict


def test_good_token_passes_every_rule_that_can_be_checked(make, judge, local_issuer):
    found = judge(make())
    assert statuses(found) == dict.fromkeys(NAMES, PASSED) | {"user": NOT_CHECKED}
    assert found.key == local_issuer.verifying_key
    for code in ("user_unknown", "user_inactive"):
        assert code in find(found, "user").found


@pytest.mark.parametrize("bad", BAD_TOKENS.values(), ids=BAD_TOKENS)
@pytest.mark.parametrize("kid_required", [True, False])
def test_first_rule_to_fail_is_the_verdict(bad, kid_required, local_issuer, judge):
    policy = replace(STRICT, kid_required=kid_required)
    payload = local_issuer.session_payload(now=NOW, azp=PARTY, aud="api")
    found = judge(bad.make(local_issuer, payload), policy)
    assert found.code == (bad.code if bad.applies(policy) else None)
    for finding in found.findings:
        assert bool(finding.remedy) == bool(finding.code) == (finding.status == FAILED)
        assert finding.reason or finding.status == PASSED


# Each rule


@pytest.mark.parametrize(
    ("change", "rule", "found"),
    [
        ({"exp": NOW - 12}, "time", "(12 s ago)"),
        ({"exp": ABSENT, "nbf": ABSENT, "iat": ABSENT}, "time", "no times"),
        ({"exp": 10**400}, "time", "exp 1000"),
        ({"iat": NOW + 3600}, "time", "(in 1 h 0 min)"),
        ({"iss": None}, "issuer", "iss null"),
        ({"sub": "mch_1"}, "identity", 'sub "mch_1", sid "sess_local"'),
        ({"sid": ABSENT}, "identity", 'sub "user_dev", no sid'),
        ({"azp": ABSENT}, "party", "no azp"),
        ({"azp": "https://\x1b[2J"}, "party", r"\u001b[2J"),
        ({"aud": ["web", "x" * 500]}, "audience", "characters)"),
        ({"sts": "pending"}, "session", 'sts "pending"'),
    ],
)
def test_what_was_found_is_shown(change, rule, found, make, judge):
    finding = find(judge(make(**change)), rule)
    assert found in finding.found
    assert len(finding.found) < 600
    if change.get("exp") != 10**400:
        assert finding.status == FAILED


def test_every_rule_behind_the_first_is_judged_too(make, judge):
    found = judge(make({"cat": "cl_B7d4PD222AAA"}, exp=NOW - 5, iss="x", sts="pending"))
    failed = {f.rule: f.code for f in found.findings if f.status == FAILED}
    assert failed == {
        "class": "token_class_not_accepted",
        "time": "token_expired",
        "issuer": "issuer_not_allowed",
        "session": "session_pending",
    }
    assert find(found, "signature").status == PASSED


def test_claims_of_a_forged_token_are_read_and_not_believed(other_issuer, judge):
    found = judge(other_issuer.token("user_evil", now=NOW, azp=PARTY, aud="api"))
    assert (found.code, found.key) == ("signature_invalid", None)
    assert not found.as_dict()["is_signed"]
    assert found.payload["sub"] == "user_evil"
    assert find(found, "identity").status == PASSED


@pytest.mark.parametrize(
    ("text", "rule", "reason"),
    [
        ("", "credential", "malformed"),
        ("Bearer", "credential", "malformed"),
        ("Bearer\tx", "credential", "malformed"),
        ("Basic dXNlcjpwYXNz", "credential", "malformed"),
        ("a b", "credential", "malformed"),
        ("a.b.", "text", "not_compact"),
        ("a.b\n.c", "text", "not_compact"),
        ("é.b.c", "text", "not_ascii"),
        ("x" * 16385, "text", "too_long"),
    ],
    ids=lambda value: value[:12],
)
def test_what_is_no_token_is_said_and_the_rest_not_checked(text, rule, reason, judge):
    found = judge(text)
    assert find(found, rule).reason == reason
    place = NAMES.index(rule)
    assert {f.status for f in found.findings[:place]} <= {PASSED}
    assert {f.status for f in found.findings[place + 1 :]} == {NOT_CHECKED}


@pytest.mark.parametrize("text", ["ak_live", "mt_1.2.3", "oat_é"])
def test_credential_of_another_class_is_said_to_be_one(text, judge):
    found = judge(text)
    assert (found.code, found.header, found.payload) == ("token_class_not_accepted", None, None)
    finding = find(found, "class")
    assert finding.found == f'"{text.partition("_")[0]}_..."'
    assert (finding.subject, finding.reason) == ("token", "other_class")
    assert "ak_" in finding.remedy
    others = statuses(found)
    assert (others.pop("credential"), others.pop("class")) == (PASSED, FAILED)
    assert set(others.values()) == {NOT_CHECKED}


def test_too_long_a_life_is_said_with_the_limit(make, judge):
    token = make({"cat": ABSENT}, exp=NOW + 3700)
    finding = find(judge(token), "time")
    assert (finding.status, finding.code) == (FAILED, "claim_invalid")
    assert "without session category exp at most 3600 s ahead" in finding.expected
    assert "(in 1 h 1 min)" in finding.found
    assert "UNCATEGORIZED_TOKEN_MAX_SECONDS" in finding.remedy
    unlimited = replace(STRICT, uncategorized_token_max_seconds=0)
    finding = find(judge(token, unlimited), "time")
    assert finding.status == PASSED
    assert "category" not in finding.expected


@pytest.mark.parametrize("text", ["Bearer {}", "bearer   {}", "\n {}\r\n", "  BEARER {} \n"])
def test_header_value_and_white_space_around_are_taken(text, make, judge):
    assert judge(text.format(make())).verdict == "accepted"


def test_header_and_payload_that_cannot_be_read_are_said(local_issuer, judge, make):
    found = judge(encode_base64url(b"[1]") + "." + make().partition(".")[2])
    finding = find(found, "header")
    assert (finding.subject, finding.reason, finding.found) == ("header", "not_json", "")
    assert statuses(found)["key"] == statuses(found)["class"] == NOT_CHECKED
    found = judge(local_issuer.sign_text(b"\xff", {"alg": "RS256", "kid": local_issuer.kid}))
    finding = find(found, "payload")
    assert (finding.subject, finding.reason) == ("payload", "not_utf8")
    assert statuses(found)["session"] == NOT_CHECKED
    assert found.session is None


def test_what_the_settings_do_not_ask_for_is_not_checked(make, judge):
    policy = replace(STRICT, authorized_parties=frozenset(), audiences=frozenset())
    found = judge(make(azp="https://elsewhere.example", aud=7), policy)
    for rule, setting in (("party", "AUTHORIZED_PARTIES"), ("audience", "AUDIENCE")):
        finding = find(found, rule)
        assert (finding.status, finding.subject, finding.reason) == (
            NOT_CHECKED,
            setting,
            "not_set",
        )
    assert find(found, "party").found == 'azp "https://elsewhere.example"'
    assert found.verdict == "accepted"


def test_missing_key_id_is_not_taken_for_a_missing_key(make, judge):
    finding = find(judge(make({"kid": ABSENT})), "key")
    assert (finding.code, finding.found) == ("token_malformed", 'no kid; held: "ins_local"')
    assert "instance" not in finding.remedy


def test_without_keys_nobody_knows_unless_it_is_no_token(make):
    found = inspect(make(), STRICT, (), now=NOW)
    assert (found.verdict, found.code) == ("unknown", "keys_unavailable")
    assert "clerk_selftest" in find(found, "key").remedy
    assert find(found, "signature").status == NOT_CHECKED
    assert find(found, "party").status == PASSED
    assert inspect("x", STRICT, (), now=NOW).verdict == "refused"


# What the application sees


def test_session_is_shown_as_claims_shows_it(make, judge):
    organization = {"id": "org_1", "rol": "admin", "slg": "acme", "per": "read", "fpm": "1"}
    token = make(o=organization, fea="o:reports", pla="u:pro", fva=[3, -1], act={"sub": "user_2"})
    assert judge(token).session == {
        "version": 2,
        "organization": {
            "id": "org_1",
            "slug": "acme",
            "role": "org:admin",
            "permissions": ["org:reports:read"],
        },
        "features": ["o:reports"],
        "plans": ["u:pro"],
        "factor_ages": [3, -1],
        "actor": {"sub": "user_2"},
    }


def test_session_of_malformed_claims_is_empty(make, judge):
    session = judge(make(o=[1], fea=7, pla=None, fva="x", act="user_2")).session
    assert (session["organization"], session["features"], session["factor_ages"]) == (
        None,
        [],
        None,
    )
    assert session["actor"] == {}


def test_dict_has_a_stable_shape(make, judge):
    document = json.loads(json.dumps(judge(make()).as_dict()))
    assert list(document) == [
        "schema_version",
        "verdict",
        "code",
        "subject",
        "reason",
        "checked_at",
        "rules",
        "kid",
        "kid_sha256",
        "key",
        "is_signed",
        "claims",
        "session",
    ]
    assert document["schema_version"] == 1
    assert document["claims"]["sub"] == "user_dev"
    assert list(document["rules"][0]) == [
        "rule",
        "status",
        "found",
        "expected",
        "subject",
        "reason",
        "code",
        "remedy",
    ]


def test_dict_holds_neither_token_nor_signature(make, judge):
    for token in (make(), make(exp=NOW - 5), make({"alg": "none"})):
        text = json.dumps(judge(token).as_dict())
        assert all(segment not in text for segment in token.split("."))


# Keys, and what an inspection costs


def test_keys_are_those_the_fleet_shares(configured):
    assert get_verifier().verify(configured.signer.token(azp=PARTY))
    configured.stop()
    assert [key.kid for key in inspection.load_keys(get_config())] == ["ins_server"]


def test_keys_that_nobody_holds_are_fetched_and_not_stored(configured):
    for fetches in (1, 2):
        assert [key.kid for key in inspection.load_keys(get_config())] == ["ins_server"]
        assert configured.fetches == fetches
    assert cache._cache == {}


def test_keys_that_cannot_be_had_are_none_and_back_nobody_off(configured):
    configured.stop()
    assert inspection.load_keys(get_config()) == ()
    assert cache._cache == {}
    configured.start()
    assert get_verifier().verify(configured.signer.token(azp=PARTY))


def test_configured_key_is_used_as_it_is(settings, local_issuer):
    settings.CLERK_AUTH = {"ISSUER": ISSUER, "JWT_KEY": local_issuer.public_pem.strip()}
    assert inspection.load_keys(get_config())[0].thumbprint == local_issuer.verifying_key.thumbprint


def test_inspection_spends_no_cooldown_and_counts_nothing(configured, other_issuer):
    assert get_verifier().verify(configured.signer.token(azp=PARTY))
    before = metrics.totals()
    config = get_config()
    for forger in (
        other_issuer.acting_as(configured.issuer, kid="ins_server"),
        other_issuer.acting_as(configured.issuer, kid="ins_unknown"),
    ):
        keys = inspection.load_keys(config)
        found = inspect(forger.token(azp=PARTY), config.policy, keys, now=NOW)
        assert found.code in {"signature_invalid", "key_not_found"}
    after = {
        k: v for k, v in metrics.totals().items() if k[0] in (metrics.VERIFIED, metrics.REFUSED)
    }
    assert {k: before[k] for k in after} == after
    for fetches in (2, 3):
        configured.signers = [LocalIssuer.generate(configured.issuer, kid="ins_rotated_in")]
        assert get_verifier().verify(configured.signer.token(azp=PARTY))
        assert configured.fetches == fetches
