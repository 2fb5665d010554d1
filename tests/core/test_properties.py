"""Whatever comes in, our errors come out, and a changed token or key document wins nothing."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from clerk_auth.core.encoding import decode_base64url, encode_base64url
from clerk_auth.core.errors import KeySetInvalid
from clerk_auth.core.keys import load_public_key, parse_jwks
from clerk_auth.core.tokens import may_be_ours, read_token
from clerk_auth.issuer.local import ABSENT
from tests.conftest import ISSUER, NOW, PARTY
from tests.core.conftest import ACCEPTED, POLICY, make_jwk, verify
from tests.core.test_claims import read_everything
from tests.core.test_encoding import is_base64url

pytestmark = pytest.mark.integration

# The same examples in each run, few of them: a search belongs to whoever changes a parser.
few = settings(max_examples=25, deadline=None, derandomize=True, database=None)

# Any code point, surrogates among them; st.text() alone spends a second on Unicode's tables first.
CHARACTER = st.integers(0, 0x10FFFF).map(chr) | st.sampled_from('\0\n .:,="\\é\u202e\ud800')
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(CHARACTER, max_size=12)
    | st.sampled_from([10**400, -1, 2, NOW, 1e308, "", "RS256", "JWT", ISSUER, PARTY])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(CHARACTER, max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)
BASE64URL = st.text(st.sampled_from(string.ascii_letters + string.digits + "-_"), max_size=20)
SEGMENT = BASE64URL | st.binary(max_size=20).map(encode_base64url) | st.text(CHARACTER, max_size=8)
TOKEN = st.text(CHARACTER) | st.lists(SEGMENT, min_size=1, max_size=5).map(".".join)

HEADER_MEMBERS = ["alg", "typ", "cat", "kid", "crit", "b64", "jwk", "x"]
CLAIMS = ["exp", "nbf", "iat", "iss", "sub", "sid", "azp", "aud", "sts"]
OPTIONAL_CLAIMS = ["v", "o", "fea", "pla", "fva", "act", "org_id", "org_role", "org_permissions"]
JWK_MEMBERS = ["kty", "kid", "n", "e", "use", "alg", "key_ops", "d", "x"]


def members(names: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(names), JSON | st.just(ABSENT), max_size=3)


def encode(value: object) -> str:
    return encode_base64url(json.dumps(value).encode())


@few
@given(token=TOKEN)
def test_any_text_is_refused_as_a_token(token, outcome):
    assert outcome(token) in {"token_malformed", "algorithm_not_allowed"}


@few
@given(header=JSON, payload=JSON)
def test_any_json_is_refused_as_header_and_payload(header, payload, outcome):
    token = f"{encode(header)}.{encode(payload)}.AAAA"
    assert outcome(token) in {"token_malformed", "algorithm_not_allowed"}


@few
@given(header=members(HEADER_MEMBERS))
def test_any_header_is_accepted_or_refused(header, make_token, outcome):
    assert outcome(make_token(header=header)) in {
        ACCEPTED,
        "token_malformed",
        "algorithm_not_allowed",
        "token_class_not_accepted",
    }


@few
@given(data=st.binary(max_size=64) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_under_a_good_signature_are_refused(data, local_issuer, outcome):
    header = {"alg": "RS256", "kid": local_issuer.kid}
    token = local_issuer.sign_text(data or b" ", header)
    assert outcome(token) in {"token_malformed", "claim_invalid"}
    assert not may_be_ours(read_token(token, POLICY), POLICY, now=NOW)


@few
@given(claims=members(CLAIMS))
def test_any_checked_claim_is_accepted_or_refused(claims, make_token, outcome):
    token = make_token(**claims)
    code = outcome(token, audiences=frozenset({PARTY}) if "aud" in claims else frozenset())
    may_be = may_be_ours(read_token(token, POLICY), POLICY, now=NOW)
    assert may_be or code not in {ACCEPTED, "party_not_allowed"}


@few
@given(claims=members(OPTIONAL_CLAIMS))
def test_any_optional_claim_is_read_without_an_error(claims, make_token, local_issuer):
    verified = verify(make_token(**claims), [local_issuer.verifying_key])
    values = read_everything(verified)
    for name, claim in claims.items():
        if claim is not ABSENT:
            assert json.dumps(claim) == json.dumps(values[name], default=dict)


@few
@given(
    place=st.integers(0, 10_000),
    removed=st.integers(0, 3),
    text=BASE64URL | st.text(CHARACTER, max_size=2),
)
def test_changed_text_of_a_token_is_never_accepted(place, removed, text, make_token, outcome):
    token = make_token()
    place %= len(token) + 1
    changed = token[:place] + text + token[place + removed :]
    assume(changed != token)
    assert outcome(changed) in {
        "token_malformed",
        "algorithm_not_allowed",
        "token_class_not_accepted",
        "signature_invalid",
    }


@few
@given(data=st.binary(max_size=40))
def test_bytes_have_one_spelling(data):
    text = encode_base64url(data)
    assert not data or decode_base64url(text) == data
    assert is_base64url(text) is bool(data)


@few
@given(text=BASE64URL | st.text(max_size=12))
def test_what_is_base64url_is_what_encodes_back(text):
    if is_base64url(text):
        assert encode_base64url(decode_base64url(text)) == text


@few
@given(
    document=st.binary()
    | JSON.map(lambda value: json.dumps(value).encode())
    | JSON.map(lambda value: json.dumps({"keys": value}).encode())
    | st.lists(JSON | members(JWK_MEMBERS), max_size=4).map(
        lambda keys: json.dumps({"keys": keys}, default=str).encode()
    )
)
def test_any_document_without_a_key_is_refused(document):
    try:
        key_set = parse_jwks(document)
    except KeySetInvalid:
        return
    raise AssertionError(f"a key out of nothing: {key_set}")


@few
@given(before=st.lists(members(JWK_MEMBERS) | JSON, max_size=3), behind=st.lists(JSON, max_size=3))
def test_bad_keys_never_cost_a_good_one(before, behind):
    entries = [{**make_jwk(1), **entry} if isinstance(entry, dict) else entry for entry in before]
    good = make_jwk(2)
    document = json.dumps({"keys": [*entries, good, *behind]}, default=str).encode()
    key_set = parse_jwks(document)
    assert good["n"] in {key.to_jwk()["n"] for key in key_set.by_kid[good["kid"]]}
    assert len(key_set.keys) + sum(key_set.skipped.values()) == len([*entries, good, *behind])


@few
@given(place=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_one_changed_byte_costs_one_key_or_the_document(place, byte):
    document = bytearray(json.dumps({"keys": [make_jwk(1), make_jwk(2)]}).encode())
    document[place % len(document)] = byte
    try:
        keys = parse_jwks(bytes(document)).keys
    except KeySetInvalid as error:
        invalid = error
    else:
        assert {key.to_jwk()["n"] for key in keys} & {make_jwk(1)["n"], make_jwk(2)["n"]}
        return
    assert invalid.reason in {"not_json", "not_a_key_set"}


@few
@given(text=st.text(CHARACTER) | BASE64URL | st.binary(max_size=40).map(encode_base64url))
def test_any_text_is_refused_as_a_public_key(text):
    try:
        load_public_key(text)
    except ValueError:
        return
    raise AssertionError("a key out of nothing")
