"""RSA verifying keys, read from a JWK set (RFC 7517) or from PEM.

A key is built only from ``n`` and ``e``, and identified by its thumbprint (RFC 7638): Clerk's
``kid`` is the id of the instance, so a rotated key may keep it.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType
from typing import Any, TypeGuard

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from clerk_auth.core.encoding import decode_base64url, encode_base64url, parse_json_object
from clerk_auth.core.errors import KeySetInvalid

__all__ = [
    "MAX_KEYS", "MAX_KEYS_PER_KID", "SKIP_REASONS", "KeySet", "KeyUnusable", "VerifyingKey",
    "describe_key", "hash_kid", "is_kid", "load_public_key", "parse_jwks",
]  # fmt: skip

MAX_KEYS = 256
MAX_KEYS_PER_KID = 4
_MAX_KID_LENGTH = 512
_MIN_BITS = 2048
_MAX_BITS = 8192
_MIN_EXPONENT = 65537
# Larger exponents cost time and add nothing (FIPS 186-5 section 5.1 allows them up to 2**256).
_MAX_EXPONENT = 2**33

_PKCS1V15, _SHA256 = PKCS1v15(), SHA256()
_KIND = {"kty": "RSA", "use": "sig", "alg": "RS256"}
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})
_PEM_BODY = re.compile(
    r"(?:-----BEGIN (?:RSA )?PUBLIC KEY-----)?"
    r"([A-Za-z0-9+/=\s]+)"
    r"(?:-----END (?:RSA )?PUBLIC KEY-----)?"
)


class KeyUnusable(ValueError):
    """One key that is left out of a set; ``reason`` is one of :data:`SKIP_REASONS`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


SKIP_REASONS = (
    *("malformed", "key_type", "private", "key_id", "use", "algorithm", "modulus", "exponent"),
    *("repeated", "too_many_for_key_id"),
)


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public RSA key that may verify RS256 signatures; ``kid`` is empty for a key from PEM.

    Two are equal when key id and thumbprint are.
    """

    kid: str
    thumbprint: str
    bits: int
    _public_key: RSAPublicKey = field(repr=False, compare=False)

    @classmethod
    def from_numbers(cls, kid: str, modulus: int, exponent: int) -> VerifyingKey:
        """Build a key of 2048 to 8192 bits; ``KeyUnusable`` when it is weak."""
        if not _MIN_BITS <= modulus.bit_length() <= _MAX_BITS or modulus % 2 == 0:
            raise KeyUnusable("modulus")
        if not _MIN_EXPONENT <= exponent < _MAX_EXPONENT or exponent % 2 == 0:
            raise KeyUnusable("exponent")
        return cls(
            kid,
            _thumbprint(modulus, exponent),
            modulus.bit_length(),
            RSAPublicNumbers(exponent, modulus).public_key(),
        )

    def verifies(self, signing_input: bytes, signature: bytes) -> bool:
        """Tell whether ``signature`` is RSASSA-PKCS1-v1_5 with SHA-256 over ``signing_input``."""
        try:
            self._public_key.verify(signature, signing_input, _PKCS1V15, _SHA256)
        except InvalidSignature:
            return False
        return True

    def to_jwk(self) -> dict[str, str]:
        """Return the public JWK, of the members that matter here only."""
        numbers = self._public_key.public_numbers()
        n, e = _encode_number(numbers.n), _encode_number(numbers.e)
        return {**_KIND, "kid": self.kid, "n": n, "e": e}

    def to_pem(self) -> bytes:
        """Return the public key as PEM (SubjectPublicKeyInfo)."""
        return self._public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True, slots=True, eq=False)
class KeySet:
    """An immutable set of keys, and four at most by key id; ``skipped`` was left out, by reason."""

    keys: tuple[VerifyingKey, ...]
    skipped: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    by_kid: Mapping[str, tuple[VerifyingKey, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        by_kid: dict[str, tuple[VerifyingKey, ...]] = {}
        for key in self.keys:
            by_kid[key.kid] = (*by_kid.get(key.kid, ()), key)
        object.__setattr__(self, "by_kid", MappingProxyType(by_kid))

    @property
    def thumbprints(self) -> frozenset[str]:
        return frozenset(key.thumbprint for key in self.keys)

    def to_jwks(self) -> dict[str, list[dict[str, str]]]:
        """Return the set as a public JWKS document."""
        return {"keys": [key.to_jwk() for key in self.keys]}


def describe_key(key: VerifyingKey) -> dict[str, str | int | None]:
    """Return what an operator compares of a key, JSON-ready; no key material."""
    return {
        "kid": key.kid or None,
        "kid_sha256": hash_kid(key.kid) if key.kid else None,
        **_KIND,
        "bits": key.bits,
        "thumbprint": key.thumbprint,
    }


def is_kid(value: object) -> TypeGuard[str]:
    """Tell whether ``value`` can be a key id: a string of 1 to 512 characters."""
    return isinstance(value, str) and 0 < len(value) <= _MAX_KID_LENGTH


def hash_kid(kid: str) -> str:
    """Return 8 hex digits that stand for a key id where a caller's string must not be: in a log."""
    return sha256(kid.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def parse_jwks(document: bytes) -> KeySet:
    """Read a JWKS document key by key; a key that cannot be used is left out and counted.

    Raises:
        KeySetInvalid: no JSON object with a list ``keys``, more than 256 entries, or no usable key.
    """
    try:
        entries = parse_json_object(document, by_entry=True).get("keys")
    except ValueError as error:
        raise KeySetInvalid("not_json") from error
    if not isinstance(entries, list):
        raise KeySetInvalid("not_a_key_set")
    if len(entries) > MAX_KEYS:
        raise KeySetInvalid("too_many_keys")
    key_set = _collect(entries)
    if not key_set.keys:
        raise KeySetInvalid("no_usable_key")
    return key_set


def load_public_key(text: str) -> VerifyingKey:
    """Read an RSA public key: PEM, PEM on one line or with ``\\n`` escapes, or its bare body.

    Raises:
        ValueError: not a public key, or one that is weak.
    """
    body = _PEM_BODY.fullmatch(text.replace("\\n", "\n").strip())
    if body is None:
        raise ValueError("not a PEM public key")
    # What carries no label is SubjectPublicKeyInfo: PKCS#1 is read where the text says so.
    label = "RSA PUBLIC KEY" if "RSA PUBLIC KEY" in text else "PUBLIC KEY"
    try:
        lines = base64.encodebytes(base64.b64decode("".join(body[1].split()), validate=True))
        pem = f"-----BEGIN {label}-----\n{lines.decode('ascii')}-----END {label}-----\n"
        public_key = load_pem_public_key(pem.encode("ascii"))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("not a PEM public key") from error
    if not isinstance(public_key, RSAPublicKey):
        raise ValueError("not an RSA key")
    numbers = public_key.public_numbers()
    return VerifyingKey.from_numbers("", numbers.n, numbers.e)


def _collect(entries: Iterable[object]) -> KeySet:
    keys: dict[str, VerifyingKey] = {}  # by thumbprint
    skipped: Counter[str] = Counter()
    per_kid: Counter[str] = Counter()
    for entry in entries:
        try:
            key = _parse_jwk(entry)
            if key.thumbprint in keys:
                raise KeyUnusable("repeated")
            if per_kid[key.kid] == MAX_KEYS_PER_KID:
                raise KeyUnusable("too_many_for_key_id")
        except KeyUnusable as unusable:
            skipped[unusable.reason] += 1
            continue
        keys[key.thumbprint] = key
        per_kid[key.kid] += 1
    return KeySet(tuple(keys.values()), MappingProxyType(dict(skipped)))


def _parse_jwk(jwk: object) -> VerifyingKey:
    if not isinstance(jwk, dict):
        raise KeyUnusable("malformed")
    if jwk.get("kty") != "RSA":
        raise KeyUnusable("key_type")
    if not _PRIVATE_MEMBERS.isdisjoint(jwk):
        raise KeyUnusable("private")
    kid = jwk.get("kid")
    if not is_kid(kid):
        raise KeyUnusable("key_id")
    if "alg" in jwk and jwk["alg"] != "RS256":
        raise KeyUnusable("algorithm")
    operations = jwk.get("key_ops", ["verify"])
    may_verify = isinstance(operations, list) and "verify" in operations
    if jwk.get("use", "sig") != "sig" or not may_verify:
        raise KeyUnusable("use")
    return VerifyingKey.from_numbers(kid, _decode_number(jwk, "n"), _decode_number(jwk, "e"))


def _decode_number(jwk: dict[str, Any], member: str) -> int:
    text = jwk.get(member)
    # Bounded before it is decoded: one byte over the largest modulus, in base64.
    if not isinstance(text, str) or len(text) > 2 * _MAX_BITS // 8:
        raise KeyUnusable("malformed")
    try:
        return int.from_bytes(decode_base64url(text), "big")
    except ValueError:
        raise KeyUnusable("malformed") from None


def _encode_number(number: int) -> str:
    return encode_base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _thumbprint(modulus: int, exponent: int) -> str:
    members = f'{{"e":"{_encode_number(exponent)}","kty":"RSA","n":"{_encode_number(modulus)}"}}'
    return encode_base64url(sha256(members.encode("ascii")).digest())
