"""What the tests of core share: good tokens, public keys made of numbers, and hostile JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from clerk_auth.core.claims import Claims
from clerk_auth.core.encoding import encode_base64url
from clerk_auth.core.errors import TokenRejected
from clerk_auth.core.keys import VerifyingKey
from clerk_auth.core.tokens import Policy, check_claims, find_signing_key, read_token
from clerk_auth.issuer.local import LocalIssuer
from tests.conftest import ISSUER, NOW, PARTY

ACCEPTED = "accepted"
UNBOUNDED = 10**6
POLICY = Policy(issuers=frozenset({ISSUER}), authorized_parties=frozenset({PARTY}))


def verify(token: str, keys: Iterable[VerifyingKey], *, now: float = NOW, **policy: Any) -> Claims:
    """Verify a token as a verifier does that has found its keys; ``policy`` changes the rules."""
    rules = replace(POLICY, **policy)
    unverified = read_token(token, rules)
    find_signing_key(unverified, keys)
    return Claims(*check_claims(unverified, rules, now=now))


def make_claims(issuer: LocalIssuer, **claims: Any) -> Claims:
    """Return the claims of a verified token that carries ``claims`` beside those of a session."""
    payload = issuer.session_payload("user_1", now=NOW, **{"azp": PARTY, **claims})
    return verify(issuer.sign(payload), [issuer.verifying_key], max_token_bytes=UNBOUNDED)


def make_jwk(number: int = 0, *, bits: int = 2048, **members: Any) -> dict[str, Any]:
    """Return the ``number``-th of many public keys that nobody holds the private half of."""
    modulus = (1 << bits - 1) + 2 * number + 1
    jwk = {"kty": "RSA", "kid": f"ins_{number}", "n": encode_number(modulus), "e": "AQAB"}
    return {name: value for name, value in {**jwk, **members}.items() if value is not ...}


def encode_number(number: int) -> str:
    return encode_base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))


@pytest.fixture(scope="session")
def make_token(local_issuer: LocalIssuer) -> Callable[..., str]:
    """Sign a good session token; a claim or header member can be changed, or be ``ABSENT``."""

    good = local_issuer.sign(local_issuer.session_payload("user_1", now=NOW, azp=PARTY))

    def make(*, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
        if not header and not claims:
            return good
        payload = local_issuer.session_payload("user_1", now=NOW, **{"azp": PARTY, **claims})
        return local_issuer.sign(payload, header)

    return make


@pytest.fixture(scope="session")
def refusal(local_issuer: LocalIssuer) -> Callable[..., TokenRejected]:
    """Verify a token that must be refused, and return the refusal."""

    def refuse(token: str, **options: Any) -> TokenRejected:
        with pytest.raises(TokenRejected) as caught:
            verify(token, [local_issuer.verifying_key], **options)
        return caught.value

    return refuse


@pytest.fixture(scope="session")
def outcome(local_issuer: LocalIssuer) -> Callable[..., str]:
    """Verify a token, and return its code or ``ACCEPTED``."""

    def judge(token: str, **options: Any) -> str:
        try:
            verify(token, [local_issuer.verifying_key], **options)
        except TokenRejected as refused:
            return refused.code
        return ACCEPTED

    return judge


def _with(member: bytes) -> Callable[[bytes], bytes]:
    return lambda document: document[:-1] + b"," + member + b"}"


# Each takes a JSON object of at least one member, and returns what no strict parser takes.
HOSTILE_JSON: dict[str, Callable[[bytes], bytes]] = {
    "duplicate-member": _with(b'"x":1,"x":1'),
    "duplicate-by-escape": _with(rb'"x":1,"\u0078":2'),
    "duplicate-in-an-object": _with(b'"x":{"a":1,"a":2}'),
    "duplicate-three-levels-down": _with(b'"x":[{"a":[{"b":1,"b":2}]}]'),
    "nan": _with(b'"x":NaN'),
    "infinity": _with(b'"x":Infinity'),
    "negative-infinity": _with(b'"x":[-Infinity]'),
    "float-out-of-range": _with(b'"x":1e999'),
    "negative-float-out-of-range": _with(b'"x":{"y":-1e999}'),
    "integer-of-5000-digits": _with(b'"x":' + b"9" * 5000),
    "lists-nested-too-deep": _with(b'"x":' + b"[" * 50_000 + b"]" * 50_000),
    "objects-nested-too-deep": _with(b'"x":' + b'{"y":' * 50_000 + b"1" + b"}" * 50_000),
    "byte-order-mark": lambda document: b"\xef\xbb\xbf" + document,
    "vertical-tab-before": lambda document: b"\x0b" + document,
    "no-break-space-behind": lambda document: document + "\xa0".encode(),
    "utf-16": lambda document: document.decode().encode("utf-16"),
    "utf-16-without-mark": lambda document: document.decode().encode("utf-16-le"),
    "utf-32": lambda document: document.decode().encode("utf-32"),
    "latin-1": _with('"x":"é"'.encode("latin-1")),
    "surrogate-in-utf-8": _with(b'"x":"\xed\xa0\x80"'),
    "overlong-utf-8": _with(b'"x":"\xc0\xaf"'),
    "control-character": _with(b'"x":"\n"'),
    "trailing-comma": _with(b""),
    "comment": lambda document: document + b"/**/",
    "single-quotes": _with(b"'x':1"),
    "leading-zero": _with(b'"x":01'),
    "text-behind": lambda document: document + b"x",
    "capital-behind": lambda document: document + b"X",
    "capital-before": lambda document: b"X" + document,
    "capitals-around": lambda document: b"XX" + document + b"XX",
    "nul-behind": lambda document: document + b"\0",
    "two-objects": lambda document: document + document,
    "cut-off": lambda document: document[:-1],
    "list": lambda document: b"[" + document + b"]",
    "text": lambda document: json.dumps(document.decode()).encode(),
    "null": lambda document: b"null",
    "true": lambda document: b"true",
    "number": lambda document: b"1",
    "blank": lambda document: b" ",
}
# Of these, what spoils one entry of a list and no other.
ENTRY_AT_FAULT = {
    "duplicate-in-an-object",
    "duplicate-three-levels-down",
    "nan",
    "infinity",
    "negative-infinity",
    "float-out-of-range",
    "negative-float-out-of-range",
    "integer-of-5000-digits",
}
