"""Every rule a token must pass, in the order in which it is asked.

The sections follow ``docs/security.md``; each row breaks one thing in a token that is good.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from clerk_auth.core.claims import Claims
from clerk_auth.core.encoding import decode_base64url, encode_base64url
from clerk_auth.core.errors import TokenRejected
from clerk_auth.core.keys import MAX_KEYS_PER_KID, VerifyingKey, parse_jwks
from clerk_auth.core.tokens import may_be_ours, read_token
from clerk_auth.issuer.local import ABSENT
from tests.conftest import ISSUER, NOW, PARTY
from tests.core.conftest import (
    ACCEPTED,
    HOSTILE_JSON,
    POLICY,
    UNBOUNDED,
    make_jwk,
    verify,
)

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def with_segment(token: str, place: int, change: Callable[[str], str]) -> str:
    segments = token.split(".")
    segments[place] = change(segments[place])
    return ".".join(segments)


def with_bytes(token: str, place: int, change: Callable[[bytes], bytes]) -> str:
    def encoded(segment: str) -> str:
        return encode_base64url(change(decode_base64url(segment)))

    return with_segment(token, place, encoded)


@pytest.fixture(scope="session")
def sign_bytes(local_issuer) -> Callable[[bytes], str]:
    """Sign a payload that need not be JSON."""
    header = {"alg": "RS256", "kid": local_issuer.kid, "typ": "JWT"}
    return lambda payload: local_issuer.sign_text(payload, header)


@pytest.fixture(scope="session")
def payload(local_issuer) -> bytes:
    """A good payload, as JSON."""
    return json.dumps(local_issuer.session_payload(now=NOW, azp=PARTY)).encode()


def test_good_token_is_accepted(make_token, local_issuer):
    claims = verify(make_token(sid="sess_1"), [local_issuer.verifying_key])
    assert isinstance(claims, Claims)
    assert (claims.user_id, claims.session_id, claims.issuer) == ("user_1", "sess_1", ISSUER)
    assert (claims.issued_at, claims.expires_at) == (NOW, NOW + 60)


# 2: text.


@pytest.mark.parametrize(
    ("room", "expected"), [(-1, "token_malformed"), (0, ACCEPTED), (1, ACCEPTED)]
)
def test_token_has_at_most_max_token_bytes(room, expected, make_token, outcome):
    token = make_token()
    assert outcome(token, max_token_bytes=len(token) + room) == expected


def test_default_limit_is_16_kibibytes(sign_bytes, payload, outcome):
    # 11 769 bytes of payload are 15 692 characters of base64; the rest is header and signature.
    token = sign_bytes(payload)
    padding = (16384 - len(token)) // 4 * 3
    token = sign_bytes(payload + b" " * padding)
    assert 16384 - 4 < len(token) <= 16384
    assert outcome(token) == ACCEPTED
    assert outcome(sign_bytes(payload + b" " * (padding + 6))) == "token_malformed"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(" ", id="blank"),
        pytest.param(".", id="one-dot"),
        pytest.param("..", id="two-dots"),
        pytest.param("...", id="three-dots"),
        pytest.param("null", id="null"),
        pytest.param("undefined", id="undefined"),
        pytest.param("test_header_token", id="word"),
        pytest.param("AK_LCWGdaM8mv8K4PC", id="api-key-in-upper-case"),
        pytest.param("ak-LCWGdaM8mv8K4PC", id="no-prefix-of-an-api-key"),
        pytest.param("xak_LCWGdaM8mv8K4PC", id="prefix-inside"),
        pytest.param(" mt_8XOIucKvqHVr5tYP", id="blank-before-a-prefix"),
        pytest.param("sk_test_abcdefghijklmnop", id="secret-key"),
        pytest.param('{"payload":"e30","signatures":[]}', id="json-serialization"),
        pytest.param("." * 16384, id="dots-to-the-limit"),
        pytest.param("A" * 16385, id="over-the-limit"),
        pytest.param("é" * 100, id="not-ascii"),
        pytest.param("\ud800", id="surrogate"),
        pytest.param("\0", id="nul"),
    ],
)
def test_what_is_no_token_is_malformed(text, refusal):
    assert refusal(text).code == "token_malformed"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda token: " " + token, id="blank-before"),
        pytest.param(lambda token: token + " ", id="blank-behind"),
        pytest.param(lambda token: token + "\n", id="newline-behind"),
        pytest.param(lambda token: token + "\0", id="nul-behind"),
        pytest.param(lambda token: token.replace(".", " .", 1), id="blank-inside"),
        pytest.param(lambda token: token.replace(".", "\n.", 1), id="newline-inside"),
        pytest.param(lambda token: token.replace(".", "\t.", 1), id="tab-inside"),
        pytest.param(lambda token: token + ".", id="dot-behind"),
        pytest.param(lambda token: "." + token, id="dot-before"),
        pytest.param(lambda token: token.replace(".", "..", 1), id="two-dots-together"),
        pytest.param(lambda token: token.rpartition(".")[0], id="two-parts"),
        pytest.param(lambda token: token.partition(".")[2], id="without-header"),
        pytest.param(lambda token: token + ".AAAA", id="four-parts"),
        pytest.param(lambda token: token + ".AAAA.AAAA", id="five-parts-as-encrypted"),
        pytest.param(lambda token: token + "," + token, id="two-tokens"),
        pytest.param(lambda token: f'"{token}"', id="quoted"),
        pytest.param(lambda token: "Bearer " + token, id="scheme-before"),
        pytest.param(lambda token: token + "é", id="not-ascii-behind"),
        pytest.param(lambda token: token.replace(".", "。", 1), id="other-full-stop"),
        pytest.param(lambda token: "ｅ" + token[1:], id="full-width-letter"),
        pytest.param(lambda token: token + "\ud800", id="surrogate-behind"),
    ],
)
def test_text_around_or_inside_a_token_is_malformed(change, make_token, refusal):
    assert refusal(change(make_token())).code == "token_malformed"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda segment: "", id="empty"),
        pytest.param(lambda segment: segment + "=", id="padded"),
        pytest.param(lambda segment: segment + "==", id="padded-twice"),
        pytest.param(lambda segment: "+" + segment[1:], id="plus"),
        pytest.param(lambda segment: segment[:-5] + "/" + segment[-4:], id="slash"),
        pytest.param(lambda segment: segment[:8] + "\n" + segment[8:], id="line-break"),
        pytest.param(lambda segment: segment[:8] + "%2D" + segment[8:], id="percent"),
        pytest.param(lambda segment: segment[: len(segment) // 4 * 4] + "A", id="one-over"),
        pytest.param(lambda segment: "A", id="one-character"),
    ],
)
def test_segment_is_strict_base64url(change, make_token, refusal):
    for place in range(3):
        changed = with_segment(make_token(), place, change)
        assert refusal(changed).code == "token_malformed", place


@pytest.mark.parametrize("place", [0, 1, 2], ids=["header", "payload", "signature"])
@pytest.mark.parametrize("blanks", [1, 2], ids=["two-bits", "four-bits"])
def test_unused_bits_are_zero(blanks, place, make_token, refusal):
    def spell_otherwise(segment: str) -> str:
        return segment[:-1] + ALPHABET[ALPHABET.index(segment[-1]) + 1]

    def leave_bits_unused(data: bytes) -> bytes:
        # JSON allows blanks; the signature's 256 bytes leave bits unused as they are.
        return data if place == 2 else data + b" " * (-(len(data) + blanks) % 3)

    token = with_bytes(make_token(), place, leave_bits_unused)
    assert refusal(with_segment(token, place, spell_otherwise)).code == "token_malformed"


def test_every_other_spelling_of_a_signature_is_malformed(make_token, refusal):
    token = make_token()
    others = [
        token[:-1] + last for last in ALPHABET if last not in "AQgw"
    ]  # in those four the unused bits are zero
    assert {refusal(other).code for other in others} == {"token_malformed"}


# 3: header.


def test_header_is_changed_without_breaking_it_otherwise(make_token, outcome):
    """The control of the tests below: it is not the rebuilding that is refused."""
    assert outcome(with_bytes(make_token(), 0, lambda header: header)) == ACCEPTED


def test_header_is_a_strict_json_object(make_token, refusal):
    for name, damage in HOSTILE_JSON.items():
        error = refusal(with_bytes(make_token(), 0, damage), max_token_bytes=UNBOUNDED)
        assert error.code == "token_malformed", name
        assert error.facts["part"] == "header", name


@pytest.mark.parametrize(
    "algorithm",
    [
        "none",
        "None",
        "NONE",
        "",
        "rs256",
        "RS256 ",
        " RS256",
        "RS256\0",
        "RS384",
        "RS512",
        "PS256",
        "ES256",
        "HS256",
        "EdDSA",
        "ЅS256",
        ABSENT,
        None,
        True,
        256,
        ["RS256"],
        ["none"] * 500,
        {"RS256": "RS256"},
        "R" * 5000,
    ],
    ids=lambda value: ascii(value)[:12],
)
def test_only_rs256_is_allowed(algorithm, make_token, refusal):
    error = refusal(make_token(header={"alg": algorithm}))
    assert error.code == "algorithm_not_allowed"


@pytest.mark.parametrize(
    "member",
    [
        pytest.param({"crit": []}, id="critical-empty"),
        pytest.param({"crit": ["exp"]}, id="critical-known"),
        pytest.param({"crit": None}, id="critical-null"),
        pytest.param({"crit": "b64", "b64": True}, id="critical-text"),
        pytest.param({"b64": False}, id="payload-not-encoded"),
        pytest.param({"b64": None}, id="b64-null"),
        pytest.param({"b64": 1}, id="b64-number"),
        pytest.param({"b64": "true"}, id="b64-text"),
        pytest.param({"typ": "jwt"}, id="type-in-lower-case"),
        pytest.param({"typ": "application/jwt"}, id="type-with-prefix"),
        pytest.param({"typ": "JWT "}, id="type-with-blank"),
        pytest.param({"typ": "JOSE"}, id="type-of-no-token"),
        pytest.param({"typ": "custom-type"}, id="type-unknown"),
        pytest.param({"typ": ""}, id="type-empty"),
        pytest.param({"typ": None}, id="type-null"),
        pytest.param({"typ": ["JWT"]}, id="type-list"),
        pytest.param({"typ": 1}, id="type-number"),
        pytest.param({"kid": ABSENT}, id="key-id-missing"),
        pytest.param({"kid": ""}, id="key-id-empty"),
        pytest.param({"kid": None}, id="key-id-null"),
        pytest.param({"kid": 1}, id="key-id-number"),
        pytest.param({"kid": True}, id="key-id-boolean"),
        pytest.param({"kid": ["ins_local"]}, id="key-id-list"),
        pytest.param({"kid": {"ins_local": 1}}, id="key-id-object"),
    ],
)
def test_header_that_is_not_allowed_is_malformed(member, make_token, refusal):
    assert refusal(make_token(header=member)).code == "token_malformed"


@pytest.mark.parametrize(
    ("length", "expected"),
    [(1, ACCEPTED), (511, ACCEPTED), (512, ACCEPTED), (513, "token_malformed")],
)
def test_key_id_has_at_most_512_characters(length, expected, make_token, outcome):
    assert outcome(make_token(header={"kid": "k" * length})) == expected
    assert outcome(make_token(header={"kid": "é" * length})) == expected


@pytest.mark.parametrize("kid", ["../../etc/passwd", "' OR 1=1 --", "\ud800", "a\r\nb", "\u202e"])
def test_key_id_is_handed_over_as_it_is(kid, make_token):
    assert read_token(make_token(header={"kid": kid}), POLICY).kid == kid


@pytest.mark.parametrize("kid", [ABSENT, "", None, 1, ["k"], "k" * 600, "ins_other"])
def test_key_id_is_not_looked_at_where_none_is_required(kid, make_token, outcome):
    token = make_token(header={"kid": kid})
    assert read_token(token, replace(POLICY, kid_required=False)).kid == ""
    assert outcome(token, kid_required=False) == ACCEPTED


@pytest.mark.parametrize("is_required", [True, False], ids=["required-first", "required-last"])
def test_header_is_judged_by_the_policy_at_hand(is_required, make_token, outcome):
    token = make_token(header={"kid": ABSENT, "order": is_required})
    codes = {
        required: outcome(token, kid_required=required)
        for required in (is_required, not is_required)
    }
    assert codes == {True: "token_malformed", False: ACCEPTED}


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"typ": ABSENT}, id="type-absent"),
        pytest.param({"b64": True}, id="b64-true"),
        pytest.param({"oiat": NOW}, id="clerk's-own"),
        pytest.param({"cty": "JWT", "x": [1, {"y": None}], "": 0}, id="unknown"),
        pytest.param({"jku": "https://evil.example/jwks", "x5u": 1}, id="addresses-of-keys"),
        pytest.param({"jwk": "junk", "x5c": {}, "x5t": [], "x5t#S256": None}, id="keys-as-junk"),
    ],
)
def test_other_members_are_ignored(members, make_token, outcome):
    assert outcome(make_token(header=members)) == ACCEPTED


@pytest.mark.parametrize("member", ["jwk", "x5c", "jku"])
def test_key_that_the_token_brings_is_not_used(member, local_issuer, other_issuer, refusal):
    brought = {
        "jwk": other_issuer.jwk,
        "x5c": [other_issuer.public_pem],
        "jku": f"{ISSUER}/.well-known/jwks.json",
    }
    payload = other_issuer.session_payload(now=NOW, azp=PARTY)
    token = other_issuer.sign(payload, {member: brought[member]})
    assert refusal(token).code == "signature_invalid"


# 4: class.


@pytest.mark.parametrize(
    "category", ["cl_B7d4PD111AAA", "cl_I7d4PD111III", ABSENT], ids=["session", "ignore", "absent"]
)
def test_session_token_by_its_category(category, make_token, outcome):
    assert outcome(make_token(header={"cat": category})) == ACCEPTED


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"cat": "cl_B7d4PD222AAA"}, id="template"),
        pytest.param({"cat": "cl_B7d4PD333AAA"}, id="machine"),
        pytest.param({"cat": "cl_some_future_unknown_cat"}, id="unknown"),
        pytest.param({"cat": "cl_b7d4pd111aaa"}, id="session-in-lower-case"),
        pytest.param({"cat": "cl_B7d4PD111AAA "}, id="session-with-blank"),
        pytest.param({"cat": ""}, id="empty"),
        pytest.param({"cat": None}, id="null"),
        pytest.param({"cat": ["cl_B7d4PD111AAA"]}, id="list"),
        pytest.param({"cat": {}}, id="object"),
        pytest.param({"cat": 1}, id="number"),
        pytest.param({"typ": "at+jwt"}, id="oauth"),
        pytest.param({"typ": "AT+JWT"}, id="oauth-in-upper-case"),
        pytest.param({"typ": "application/at+jwt"}, id="oauth-with-prefix"),
        pytest.param({"typ": "logout+jwt"}, id="logout"),
        pytest.param({"typ": "at+jwt", "cat": ABSENT}, id="oauth-without-category"),
    ],
)
def test_other_class_of_token_is_not_accepted(members, make_token, refusal):
    assert refusal(make_token(header=members)).code == "token_class_not_accepted"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("ak_LCWGdaM8mv8K4PC/57IICZQXAeWfCgF30DZaFXHoGn9=", id="api-key"),
        pytest.param("oat_8XOIucKvqHVr5tYP123456789abcdefghij", id="opaque-oauth-token"),
        pytest.param("mt_8XOIucKvqHVr5tYP123456789abcdefghij", id="opaque-machine-token"),
        pytest.param("ak_", id="nothing-else"),
        pytest.param("mt_é\ud800\0", id="not-ascii"),
        pytest.param("oat_e30.e30.AAAA", id="in-three-parts"),
    ],
)
def test_credential_of_another_class_is_told_by_its_prefix(text, refusal):
    assert refusal(text).code == "token_class_not_accepted"


@pytest.mark.parametrize("prefix", ["ak_", "mt_", "oat_"])
@pytest.mark.parametrize(
    ("room", "expected"),
    [(-1, "token_malformed"), (0, "token_class_not_accepted"), (1, "token_class_not_accepted")],
)
def test_length_is_judged_before_the_prefix(room, expected, prefix, outcome):
    text = prefix.ljust(100, "x")
    assert outcome(text, max_token_bytes=len(text) + room) == expected


# 5 and 6: key and signature.


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            lambda token: with_bytes(token, 0, lambda header: header + b" "), id="header-changed"
        ),
        pytest.param(
            lambda token: with_bytes(token, 1, lambda payload: payload + b" "),
            id="payload-changed",
        ),
        pytest.param(
            lambda token: with_bytes(token, 2, lambda signature: signature[:-1]),
            id="signature-cut-off",
        ),
        pytest.param(
            lambda token: with_bytes(token, 2, lambda signature: signature + b"\0"),
            id="signature-longer",
        ),
        pytest.param(
            lambda token: with_bytes(token, 2, lambda signature: b"\0" + signature),
            id="signature-with-leading-zero",
        ),
        pytest.param(
            lambda token: with_bytes(token, 2, lambda signature: bytes(256)),
            id="signature-of-zeros",
        ),
        pytest.param(
            lambda token: with_bytes(token, 2, lambda signature: b"\xff" * 256),
            id="signature-above-the-modulus",
        ),
        pytest.param(
            lambda token: with_bytes(token, 2, lambda signature: b"x" * 8000),
            id="signature-of-8000-bytes",
        ),
        pytest.param(
            lambda token: with_bytes(token, 2, lambda signature: b"x"), id="signature-of-1-byte"
        ),
    ],
)
def test_changed_token_has_no_valid_signature(change, make_token, refusal):
    assert refusal(change(make_token())).code == "signature_invalid"


def test_signature_of_another_token_is_not_valid(make_token, refusal):
    token, other = make_token(), make_token(sub="user_2")
    swapped = token.rpartition(".")[0] + "." + other.rpartition(".")[2]
    assert refusal(swapped).code == "signature_invalid"


def test_signature_of_another_key_is_not_valid(other_issuer, refusal):
    assert refusal(other_issuer.token(now=NOW, azp=PARTY)).code == "signature_invalid"


def test_no_key_makes_no_signature_valid(make_token):
    with pytest.raises(TokenRejected) as caught:
        verify(make_token(), [])
    assert caught.value.code == "signature_invalid"


def parse_keys(kid: str, genuine: VerifyingKey, place: int) -> tuple[VerifyingKey, ...]:
    """Read a document with the genuine key at ``place`` behind others of the same key id."""
    jwks: list[dict[str, Any]] = [make_jwk(number, kid=kid) for number in range(5)]
    jwks[place] = genuine.to_jwk()
    return parse_jwks(json.dumps({"keys": jwks}).encode()).by_kid[kid]


@pytest.mark.parametrize("place", range(MAX_KEYS_PER_KID))
def test_every_key_under_a_key_id_is_tried(place, local_issuer, make_token):
    keys = parse_keys(local_issuer.kid, local_issuer.verifying_key, place)
    assert verify(make_token(), keys).user_id == "user_1"


def test_fifth_key_under_a_key_id_is_not_tried(local_issuer, make_token):
    keys = parse_keys(local_issuer.kid, local_issuer.verifying_key, MAX_KEYS_PER_KID)
    with pytest.raises(TokenRejected) as caught:
        verify(make_token(), keys)
    assert caught.value.code == "signature_invalid"


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"[]", b"null", b'{"exp":1,"exp":2}', b'{"iss":"https://evil.example"}'],
)
def test_payload_is_not_parsed_before_the_signature(payload, other_issuer, refusal):
    header = {"alg": "RS256", "kid": other_issuer.kid}
    token = other_issuer.sign_text(payload or b"\0", header)
    assert refusal(token).code == "signature_invalid"


# 7: payload.


def test_payload_of_bytes_is_accepted_when_it_is_good(sign_bytes, payload, outcome):
    """The control of the tests below."""
    assert outcome(sign_bytes(payload)) == ACCEPTED


def test_payload_is_a_strict_json_object(sign_bytes, payload, refusal):
    for name, damage in HOSTILE_JSON.items():
        error = refusal(sign_bytes(damage(payload)), max_token_bytes=UNBOUNDED)
        assert error.code == "token_malformed", name
        assert error.facts["part"] == "payload", name


@pytest.mark.parametrize("depth", [1, 10])
def test_claim_may_be_nested(depth, sign_bytes, payload, local_issuer):
    nested = payload[:-1] + b',"x":' + b'[{"y":' * depth + b"1" + b"}]" * depth + b"}"
    claims = verify(sign_bytes(nested), [local_issuer.verifying_key])
    assert claims.payload["x"] == claims.get("x")


@pytest.mark.parametrize("depth", [100, 300, 500, 900, 1500, 3000, 5000])
@pytest.mark.parametrize(
    ("opening", "core", "closing"),
    [(b"[", b"", b"]"), (b'{"y":', b"1", b"}")],
    ids=["lists", "objects"],
)
def test_deep_claim_is_refused_or_can_be_read(
    opening, core, closing, depth, sign_bytes, local_issuer, outcome
):
    session = json.dumps(local_issuer.session_payload(now=NOW, azp=PARTY, v=ABSENT)).encode()
    deep = opening * depth + core + closing * depth
    token = sign_bytes(session[:-1] + b',"act":%b,"org_id":%b}' % (deep, deep))
    result = outcome(token, max_token_bytes=UNBOUNDED)
    assert result in (ACCEPTED, "token_malformed")
    if result == ACCEPTED:
        claims = verify(token, [local_issuer.verifying_key], max_token_bytes=UNBOUNDED)
        assert claims.organization is None
        assert claims.actor is not None
        assert claims.payload["org_id"]
        assert claims.get("org_id")


@pytest.mark.parametrize("leeway", [0, 5, 60])
@pytest.mark.parametrize(
    ("beyond", "expected"),
    [
        (-1, "token_expired"),
        (-0.001, "token_expired"),
        (0, "token_expired"),
        (0.001, ACCEPTED),
        (1, ACCEPTED),
    ],
)
def test_token_expires_at_exp_and_leeway(beyond, expected, leeway, make_token, outcome):
    token = make_token(exp=NOW - leeway + beyond)
    assert outcome(token, leeway_seconds=leeway) == expected


@pytest.mark.parametrize("leeway", [0, 5, 60])
@pytest.mark.parametrize(
    ("beyond", "expected"),
    [
        (-1, ACCEPTED),
        (-0.001, ACCEPTED),
        (0, ACCEPTED),
        (0.001, "token_not_yet_valid"),
        (1, "token_not_yet_valid"),
    ],
)
def test_token_is_valid_from_nbf_and_iat(beyond, expected, leeway, make_token, outcome):
    for claim in ("nbf", "iat"):
        token = make_token(**{claim: NOW + leeway + beyond})
        assert outcome(token, leeway_seconds=leeway) == expected, claim


@pytest.mark.parametrize(
    ("offset", "expected"), [(54.999, ACCEPTED), (65, "token_expired"), (64.999, ACCEPTED)]
)
def test_clock_of_the_verifier_decides(offset, expected, make_token, outcome):
    assert outcome(make_token(exp=NOW + 60), now=NOW + offset) == expected


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        pytest.param({"exp": 0}, "token_expired", id="epoch"),
        pytest.param({"exp": -1}, "token_expired", id="negative"),
        pytest.param({"exp": NOW * 1000}, ACCEPTED, id="in-milliseconds"),
        pytest.param({"exp": 1e308}, ACCEPTED, id="largest-float"),
        pytest.param({"exp": 10**4000}, ACCEPTED, id="4001-digits"),
        pytest.param({"exp": -(10**4000)}, "token_expired", id="minus-4001-digits"),
        pytest.param({"nbf": 10**4000}, "token_not_yet_valid", id="never"),
        pytest.param({"nbf": -(10**4000), "iat": -1e308}, ACCEPTED, id="for-ever"),
        pytest.param({"iat": 253402300800}, "token_not_yet_valid", id="issued-in-year-10000"),
        pytest.param({"exp": 253402300800}, ACCEPTED, id="expires-in-year-10000"),
        pytest.param({"nbf": NOW + 100, "exp": NOW + 50}, "token_not_yet_valid", id="never-valid"),
    ],
)
def test_times_are_compared_as_numbers(claims, expected, make_token, outcome):
    assert outcome(make_token(**claims)) == expected


# A token that does not say that it is a session's may be a template's, and live for years.

UNCATEGORIZED = ({"cat": ABSENT}, {"cat": "cl_I7d4PD111III"})


@pytest.mark.parametrize("header", UNCATEGORIZED, ids=["absent", "ignore"])
@pytest.mark.parametrize("limit", [2, 60.5, 3600])
@pytest.mark.parametrize(
    ("beyond", "expected"),
    [
        (-1, ACCEPTED),
        (-0.001, ACCEPTED),
        (0, ACCEPTED),
        (0.001, "claim_invalid"),
        (1, "claim_invalid"),
        (5, "claim_invalid"),
    ],
)
def test_token_without_session_category_lives_so_long(
    beyond, expected, limit, header, make_token, outcome
):
    token = make_token(header=header, exp=NOW + limit + beyond)
    for leeway in (0, 5, 60):  # which is for clocks, and not for this
        options = {"leeway_seconds": leeway, "uncategorized_token_max_seconds": limit}
        assert outcome(token, **options) == expected
        assert is_worth_a_look(token, **options) is (expected == ACCEPTED)
    assert outcome(token, uncategorized_token_max_seconds=0) == ACCEPTED
    assert is_worth_a_look(token, uncategorized_token_max_seconds=0)


@pytest.mark.parametrize(("beyond", "expected"), [(0, ACCEPTED), (1, "claim_invalid")])
def test_token_without_session_category_lives_for_an_hour_by_default(
    beyond, expected, make_token, outcome
):
    assert outcome(make_token(header={"cat": ABSENT}, exp=NOW + 3600 + beyond)) == expected


@pytest.mark.parametrize("limit", [0.001, 0.5, 1])
def test_any_limit_above_0_is_one(limit, make_token, outcome):
    token = make_token(header={"cat": ABSENT}, exp=NOW + 2)
    assert outcome(token, uncategorized_token_max_seconds=limit) == "claim_invalid"


@pytest.mark.parametrize("exp", [NOW + 3601, NOW * 1000, 1e308, 10**4000])
def test_session_token_lives_as_long_as_clerk_says(exp, make_token, refusal, outcome):
    assert outcome(make_token(exp=exp)) == ACCEPTED
    for header in UNCATEGORIZED:
        error = refusal(make_token(header=header, exp=exp))
        assert (error.code, error.claim) == ("claim_invalid", "exp")
        assert (error.reason, error.facts["limit"]) == ("too_far_ahead", 3600)


def test_too_long_a_life_is_said_before_a_clock_that_is_behind(make_token, outcome):
    times = {"exp": NOW + 7260, "nbf": NOW + 7200, "iat": NOW + 7200}
    assert outcome(make_token(**times)) == "token_not_yet_valid"
    assert outcome(make_token(header={"cat": ABSENT}, **times)) == "claim_invalid"


@pytest.mark.parametrize(
    "value", [None, True, False, "", str(NOW + 30), "NaN", [NOW + 30], [], {}, {"exp": NOW + 30}]
)
def test_times_are_numbers(value, make_token, refusal):
    for claim in ("exp", "nbf", "iat"):
        error = refusal(make_token(**{claim: value}))
        assert (error.code, error.claim) == ("claim_invalid", claim)


# 8: issuer.


@pytest.mark.parametrize(
    "issuer",
    [
        "",
        "https://other.example.com",
        ISSUER + "/",
        ISSUER + ".evil.example",
        "https://evil.example/" + ISSUER,
        ISSUER[:-1],
        ISSUER.upper(),
        ISSUER.replace("https", "http"),
        ISSUER.removeprefix("https://"),
        ISSUER + " ",
        ISSUER + "\0",
        ISSUER.replace("e", "е", 1),
        "\ud800",
        [ISSUER],
        {ISSUER: ISSUER},
        True,
        1,
    ],
)
def test_issuer_is_compared_exactly(issuer, make_token, refusal):
    error = refusal(make_token(iss=issuer))
    assert (error.code, error.claim) == ("issuer_not_allowed", "iss")


@pytest.mark.parametrize("issuer", [ISSUER, "https://clerk.satellite.example"])
def test_any_configured_issuer_is_accepted(issuer, make_token, local_issuer):
    issuers = frozenset({ISSUER, "https://clerk.satellite.example"})
    token = make_token(iss=issuer)
    assert verify(token, [local_issuer.verifying_key], issuers=issuers).issuer == issuer


# 9: identity.


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "a b",
        " user_1",
        "user_1\n",
        "user\0_1",
        "user_\x7f",
        "\u202euser_1",
        "user_\u200b1",
        "user\xa01",
        "user_\ud800",
        True,
        1,
        1.5,
        [],
        ["user_1"],
        {"user_1": 1},
    ],
)
def test_identity_is_visible_text(value, make_token, refusal):
    for claim in ("sub", "sid"):
        error = refusal(make_token(**{claim: value}))
        assert (error.code, error.claim) == ("claim_invalid", claim)


@pytest.mark.parametrize(
    ("length", "expected"),
    [(1, ACCEPTED), (254, ACCEPTED), (255, ACCEPTED), (256, "claim_invalid")],
)
def test_identity_has_1_to_255_characters(length, expected, make_token, outcome):
    for claim in ("sub", "sid"):
        assert outcome(make_token(**{claim: "x" * length})) == expected, claim
        assert outcome(make_token(**{claim: "é" * length})) == expected, claim


@pytest.mark.parametrize("subject", ["mch_1", "mch_", "mch_user_1"])
@pytest.mark.parametrize("category", ["cl_B7d4PD111AAA", ABSENT], ids=["session", "absent"])
def test_machine_is_no_user(category, subject, make_token, refusal):
    error = refusal(make_token(sub=subject, header={"cat": category}))
    assert (error.code, error.claim) == ("token_class_not_accepted", "sub")


@pytest.mark.parametrize("subject", ["mch", "xmch_1", "MCH_1", "user_mch_1"])
def test_only_the_prefix_makes_a_machine(subject, make_token, outcome):
    assert outcome(make_token(sub=subject)) == ACCEPTED


# 10: for whom.

OTHER_PARTY = "https://admin.example.com"


@pytest.mark.parametrize(
    "party",
    [
        "",
        "https://evil.example",
        PARTY + "/",
        PARTY + ":443",
        PARTY + ".evil.example",
        PARTY.upper(),
        PARTY.replace("https", "http"),
        PARTY.removeprefix("https://"),
        "\ud800",
        None,
        True,
        1,
        [],
        [PARTY],
        {PARTY: 1},
    ],
)
def test_party_is_compared_exactly(party, make_token, refusal):
    for is_required in (True, False):
        error = refusal(make_token(azp=party), party_required=is_required)
        assert (error.code, error.claim) == ("party_not_allowed", "azp")


@pytest.mark.parametrize(
    ("claim", "value", "found"),
    [
        ("azp", "https://evil.example", '"https://evil.example"'),
        ("azp", None, "null"),
        ("azp", ["a", {"b": 1}], '["a",{"b":1}]'),
        ("azp", 'a" \n\x1b\x7f\u202eé', r'"a\"\u0020\n\u001b\u007f\u202e\u00e9"'),
        ("azp", "x" * 157, '"' + "x" * 157 + '"'),
        ("azp", "x" * 159, '"' + "x" * 159),
        ("azp", "x" * 9000, '"' + "x" * 159),
        ("sts", "on fire", r'"on\u0020fire"'),
        ("sts", None, "null"),
    ],
)
def test_what_clerk_wrote_is_found_in_one_printable_word(claim, value, found, make_token, refusal):
    error = refusal(make_token(**{claim: value}))
    assert (error.claim, error.found) == (claim, found)
    assert found.isascii()
    assert found.isprintable()
    assert " " not in found


@pytest.mark.parametrize(
    "claims",
    [
        {"azp": ABSENT},
        {"iss": "https://evil.example"},
        {"sub": "a b"},
        {"sid": "a b"},
        {"exp": "soon"},
        {"aud": "other"},
        {"sts": "pending"},
    ],
)
def test_nothing_is_found_of_other_claims(claims, make_token, refusal):
    error = refusal(make_token(**{"aud": "api", **claims}), **CHECKED)
    assert error.found is None


def test_nothing_is_found_of_a_token_that_nobody_signed(other_issuer, refusal):
    for claim in ("azp", "sts"):
        token = other_issuer.token(now=NOW, **{"azp": PARTY, claim: "https://evil.example"})
        error = refusal(token)
        assert (error.code, error.found) == ("signature_invalid", None)


def test_missing_party_is_refused_where_one_is_required(make_token, refusal):
    error = refusal(make_token(azp=ABSENT))
    assert (error.code, error.claim) == ("party_not_allowed", "azp")


def test_missing_party_is_accepted_where_it_is_checked_if_present(make_token, local_issuer):
    token = make_token(azp=ABSENT)
    claims = verify(token, [local_issuer.verifying_key], party_required=False)
    assert claims.authorized_party is None


@pytest.mark.parametrize("party", [PARTY, OTHER_PARTY])
@pytest.mark.parametrize("is_required", [True, False], ids=["required", "if-present"])
def test_any_authorized_party_is_accepted(is_required, party, make_token, local_issuer):
    claims = verify(
        make_token(azp=party),
        [local_issuer.verifying_key],
        authorized_parties=frozenset({PARTY, OTHER_PARTY}),
        party_required=is_required,
    )
    assert claims.authorized_party == party


@pytest.mark.parametrize(
    ("party", "expected"),
    [
        (PARTY, PARTY),
        ("https://evil.example", "https://evil.example"),
        (ABSENT, None),
        (None, None),
        (1, None),
        ([PARTY], None),
    ],
)
def test_party_is_not_checked_where_none_is_configured(party, expected, make_token, local_issuer):
    claims = verify(
        make_token(azp=party), [local_issuer.verifying_key], authorized_parties=frozenset()
    )
    assert claims.authorized_party == expected


AUDIENCES = frozenset({"api", "https://api.example.com"})


@pytest.mark.parametrize(
    "audience", ["api", "https://api.example.com", ["api"], ["other", "api"], ["api", "api"]]
)
def test_one_accepted_audience_is_enough(audience, make_token, outcome):
    assert outcome(make_token(aud=audience), audiences=AUDIENCES) == ACCEPTED


@pytest.mark.parametrize(
    "audience",
    [
        ABSENT,
        None,
        "",
        "other",
        "API",
        "api ",
        "ap",
        "https://api.example.com/",
        "api,other",
        "\ud800",
        [],
        ["other"],
        [["api"]],
        ["api", 1],
        ["api", None],
        ["api", ["other"]],
        [{}],
        {"api": 1},
        True,
        1,
    ],
    ids=lambda value: "absent" if value is ABSENT else ascii(value),
)
def test_audience_is_compared_exactly(audience, make_token, refusal):
    error = refusal(make_token(aud=audience), audiences=AUDIENCES)
    assert (error.code, error.claim) == ("audience_not_allowed", "aud")


@pytest.mark.parametrize("audience", [ABSENT, None, "other", ["other"], [], {}, 1])
def test_audience_is_not_looked_at_where_none_is_configured(audience, make_token, outcome):
    assert outcome(make_token(aud=audience)) == ACCEPTED


# 11: session.


@pytest.mark.parametrize("status", ["active", ABSENT], ids=["active", "absent"])
@pytest.mark.parametrize("accept_pending", [True, False])
def test_active_session_is_accepted(accept_pending, status, make_token, local_issuer):
    token = make_token(sts=status)
    claims = verify(token, [local_issuer.verifying_key], accept_pending=accept_pending)
    assert claims.status == "active"


def test_pending_session_is_refused(make_token, refusal):
    error = refusal(make_token(sts="pending"))
    assert (error.code, error.claim) == ("session_pending", "sts")


def test_pending_session_is_accepted_where_it_may_be(make_token, local_issuer):
    claims = verify(make_token(sts="pending"), [local_issuer.verifying_key], accept_pending=True)
    assert claims.status == "pending"


@pytest.mark.parametrize(
    "status", ["", "Active", "PENDING", "pending ", "ended", None, True, 1, [], ["active"], {}]
)
def test_unknown_status_is_refused(status, make_token, refusal):
    for accept_pending in (True, False):
        error = refusal(make_token(sts=status), accept_pending=accept_pending)
        assert (error.code, error.claim) == ("claim_invalid", "sts")


# All claims together.

CHECKED = {"authorized_parties": frozenset({PARTY}), "audiences": frozenset({"api"})}


@pytest.mark.parametrize(
    ("claim", "when_null", "when_absent"),
    [
        ("exp", "claim_invalid", "claim_invalid"),
        ("nbf", "claim_invalid", ACCEPTED),
        ("iat", "claim_invalid", ACCEPTED),
        ("iss", "issuer_not_allowed", "issuer_not_allowed"),
        ("sub", "claim_invalid", "claim_invalid"),
        ("sid", "claim_invalid", "claim_invalid"),
        ("azp", "party_not_allowed", "party_not_allowed"),
        ("aud", "audience_not_allowed", "audience_not_allowed"),
        ("sts", "claim_invalid", ACCEPTED),
    ],
)
def test_null_is_malformed_and_not_absent(claim, when_null, when_absent, make_token, outcome):
    good = {"aud": "api"}
    assert outcome(make_token(**good), **CHECKED) == ACCEPTED
    assert outcome(make_token(**{**good, claim: None}), **CHECKED) == when_null
    assert outcome(make_token(**{**good, claim: ABSENT}), **CHECKED) == when_absent


# Each is broken in everything that is asked later, too.
ORDER = [
    ({"exp": None}, "claim_invalid"),
    ({"exp": NOW - 60}, "token_expired"),
    ({"nbf": NOW + 60}, "token_not_yet_valid"),
    ({"iss": "https://evil.example"}, "issuer_not_allowed"),
    ({"sub": "mch_1"}, "token_class_not_accepted"),
    ({"sid": ABSENT}, "claim_invalid"),
    ({"azp": "https://evil.example"}, "party_not_allowed"),
    ({"aud": "other"}, "audience_not_allowed"),
    ({"sts": "pending"}, "session_pending"),
]


@pytest.mark.parametrize("place", range(len(ORDER)), ids=[code for _, code in ORDER])
def test_first_broken_rule_is_the_answer(place, make_token, outcome):
    broken: dict[str, object] = {"aud": "api"}
    for claims, _ in reversed(ORDER[place:]):
        broken |= claims
    assert outcome(make_token(**broken), **CHECKED) == ORDER[place][1]


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ({"alg": "none", "cat": "other", "kid": ""}, "algorithm_not_allowed"),
        ({"typ": "at+jwt", "kid": ""}, "token_class_not_accepted"),
        ({"cat": "other", "kid": ABSENT}, "token_class_not_accepted"),
    ],
)
def test_header_is_judged_before_claims_and_signature(header, code, other_issuer, refusal):
    payload = other_issuer.session_payload(now=0, iss="https://evil.example")
    assert refusal(other_issuer.sign(payload, header)).code == code


CANARY = "canary"


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        ({"alg": CANARY}, {}),
        ({"typ": CANARY}, {}),
        ({"typ": f"{CANARY}+jwt"}, {}),
        ({"cat": CANARY}, {}),
        ({"crit": [CANARY]}, {}),
        ({"kid": [CANARY]}, {}),
        ({}, {"exp": CANARY}),
        ({}, {"iss": CANARY}),
        ({}, {"sub": f"{CANARY} "}),
        ({}, {"sub": f"mch_{CANARY}"}),
        ({}, {"sid": [CANARY]}),
        ({}, {"azp": CANARY}),
        ({}, {"aud": CANARY}),
        ({}, {"sts": CANARY}),
    ],
)
def test_refusal_holds_no_part_of_the_token(header, claims, make_token, refusal):
    error = refusal(make_token(header=header, **{"aud": "api", **claims}), **CHECKED)
    facts = {**error.facts, "found": None}  # of claims that the signature vouches for
    assert CANARY not in f"{error!r} {error} {error.reason} {error.detail} {error.claim} {facts}"


@pytest.mark.parametrize("place", [0, 1], ids=["header", "payload"])
def test_refusal_of_unreadable_json_holds_no_part_of_it(place, sign_bytes, make_token, refusal):
    broken = b'{"canary": canary}'
    token = sign_bytes(broken) if place else with_bytes(make_token(), 0, lambda header: broken)
    error = refusal(token)
    assert CANARY not in f"{error!r} {error} {error.reason} {error.facts}"
    assert error.__suppress_context__


# A token whose key id is unknown: may it cost a look at the shared keys?


def is_worth_a_look(token: str, *, now: float = NOW, **policy: Any) -> bool:
    rules = replace(POLICY, **policy)
    return may_be_ours(read_token(token, rules), rules, now=now)


@pytest.mark.parametrize(("beyond", "expected"), [(-1, False), (0, False), (1, True)])
def test_expired_token_is_not_worth_a_look(beyond, expected, make_token):
    for leeway in (0, 5, 60):
        token = make_token(exp=NOW - leeway + beyond)
        assert is_worth_a_look(token, leeway_seconds=leeway) is expected, leeway


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"iss": ISSUER + "/"},
        {"iss": ABSENT},
        {"iss": None},
        {"iss": [ISSUER]},
        {"exp": ABSENT},
        {"exp": None},
        {"exp": True},
        {"exp": str(NOW + 30)},
        {"exp": [NOW + 30]},
    ],
)
def test_token_of_another_issuer_or_without_expiry_is_not_worth_a_look(claims, make_token):
    assert not is_worth_a_look(make_token(**claims))


def test_unreadable_payload_is_not_worth_a_look(sign_bytes, payload):
    taken = [
        name
        for name, damage in HOSTILE_JSON.items()
        if is_worth_a_look(sign_bytes(damage(payload)), max_token_bytes=UNBOUNDED)
    ]
    assert taken == []


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"sub": "mch_1"},
        {"sid": ABSENT},
        {"azp": "https://evil.example"},
        {"sts": "pending"},
        {"nbf": NOW + 60},
    ],
)
def test_nothing_else_of_the_payload_is_looked_at(claims, make_token):
    assert is_worth_a_look(make_token(**claims))


def test_token_of_an_unknown_key_is_worth_a_look(other_issuer):
    payload = other_issuer.session_payload(now=NOW)
    assert is_worth_a_look(other_issuer.sign(payload, {"kid": "ins_new"}))
