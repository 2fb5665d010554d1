"""A local issuer: it signs session tokens with a key of its own, and is otherwise like Clerk.

The development mode, ``clerk_token``, the self-test, tests and the demo sign with it. Beside
``core.keys`` it is the only module that meets the JOSE library.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from clerk_auth.core.encoding import encode_base64url
from clerk_auth.core.keys import VerifyingKey
from clerk_auth.core.tokens import ALGORITHM, SESSION_CATEGORY

__all__ = [
    "ABSENT", "TOKEN_SECONDS", "LocalIssuer", "encode_segment", "make_private_pem", "merge",
    "throw_away_issuer",
]  # fmt: skip

_KID = "ins_local"
TOKEN_SECONDS = 60

# A claim or header member with this value is left out.
ABSENT = object()

_RS256 = RSAAlgorithm(RSAAlgorithm.SHA256)


class LocalIssuer:
    """Signs session tokens as Clerk does, for one issuer."""

    def __init__(self, private_key: rsa.RSAPrivateKey, issuer: str, *, kid: str = _KID) -> None:
        self._private_key = private_key
        self.issuer = issuer
        self.kid = kid
        numbers = private_key.public_key().public_numbers()
        self.verifying_key = VerifyingKey.from_numbers(kid, numbers.n, numbers.e)

    @classmethod
    def generate(cls, issuer: str, *, kid: str = _KID, bits: int = 2048) -> LocalIssuer:
        """Make an issuer with a new key, which is stored nowhere."""
        return cls(rsa.generate_private_key(65537, bits), issuer, kid=kid)

    @classmethod
    def from_pem(cls, pem: bytes, issuer: str) -> LocalIssuer:
        """Make an issuer that signs with the private key in ``pem``.

        Raises:
            ValueError: ``pem`` is not a private RSA key without a password, or the key is weak.
        """
        try:
            private_key = serialization.load_pem_private_key(pem, password=None)
        except (TypeError, UnsupportedAlgorithm) as error:
            raise ValueError("not a private key without a password") from error
        if not isinstance(private_key, rsa.RSAPrivateKey):
            raise ValueError("not an RSA key")
        return cls(private_key, issuer)

    def acting_as(self, issuer: str, *, kid: str | None = None) -> LocalIssuer:
        """Return an issuer with another name that signs with the same key."""
        return LocalIssuer(self._private_key, issuer, kid=kid or self.kid)

    @property
    def jwk(self) -> dict[str, str]:
        """The public key as a JWK (RFC 7517)."""
        return self.verifying_key.to_jwk()

    @property
    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The key set document that Clerk would serve."""
        return {"keys": [self.jwk]}

    @property
    def public_pem(self) -> str:
        """The public key as PEM, as ``JWT_KEY`` takes it."""
        return self.verifying_key.to_pem().decode("ascii")

    def session_payload(
        self,
        user_id: str = "user_dev",
        *,
        now: float | None = None,
        expires_in: float = TOKEN_SECONDS,
        **claims: Any,
    ) -> dict[str, Any]:
        """Return the claims of a session token, version 2, with ``claims`` over the defaults."""
        issued_at = int(time.time() if now is None else now)
        payload = {
            "iss": self.issuer,
            "sub": user_id,
            "sid": "sess_local",
            "iat": issued_at,
            "nbf": issued_at - 10,
            "exp": issued_at + expires_in,
            "sts": "active",
            "v": 2,
        }
        return merge(payload, claims)

    def sign(self, payload: Mapping[str, Any], header: Mapping[str, Any] | None = None) -> str:
        """Sign ``payload`` as it is; ``header`` goes over the defaults."""
        defaults = {"alg": ALGORITHM, "cat": SESSION_CATEGORY, "kid": self.kid, "typ": "JWT"}
        return self.sign_text(json.dumps(payload).encode("utf-8"), merge(defaults, header or {}))

    def sign_text(self, payload: bytes, header: Mapping[str, Any]) -> str:
        """Sign bytes that need not be claims, under exactly this header."""
        signing_input = f"{encode_segment(header)}.{encode_base64url(payload)}"
        signature = _RS256.sign(signing_input.encode("ascii"), self._private_key)
        return f"{signing_input}.{encode_base64url(signature)}"

    def token(self, user_id: str = "user_dev", **claims: Any) -> str:
        """Sign :meth:`session_payload`."""
        return self.sign(self.session_payload(user_id, **claims))


@cache
def throw_away_issuer(issuer: str, *, kid: str = _KID) -> LocalIssuer:
    """Return this process's issuer of that name; its key is made on first use, and never stored."""
    return LocalIssuer.generate(issuer, kid=kid)


def encode_segment(value: Mapping[str, Any]) -> str:
    """Encode a header or payload as a segment of a compact JWS."""
    return encode_base64url(json.dumps(value).encode("utf-8"))


def make_private_pem() -> bytes:
    """Return a new private key as PEM, as :meth:`LocalIssuer.from_pem` reads it."""
    return rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def merge(defaults: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``defaults`` with ``changes`` over them, without the members that are ``ABSENT``."""
    merged = {**defaults, **changes}
    return {name: value for name, value in merged.items() if value is not ABSENT}
