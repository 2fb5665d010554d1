"""A local issuer: it signs tokens with a key of its own, and nothing else is different.

Development mode swaps the key source for it; every rule still runs. ``clerk_token``, the self-test
and the demo sign with it too.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from jwt.algorithms import RSAAlgorithm

from clerk_auth.core.encoding import encode_base64url
from clerk_auth.core.keys import VerifyingKey
from clerk_auth.core.tokens import ALGORITHM, SESSION_CATEGORY
from clerk_auth.issuer import key_file

DEV_DIRECTORY = Path(".clerk-dev")
DEV_KID = "ins_local"
TOKEN_SECONDS = 60

# A claim or header member with this value is left out.
ABSENT = object()

_RS256 = RSAAlgorithm(RSAAlgorithm.SHA256)


class LocalIssuer:
    """Signs session tokens as Clerk does, for one issuer."""

    def __init__(self, private_key: rsa.RSAPrivateKey, issuer: str, *, kid: str = DEV_KID) -> None:
        self._private_key = private_key
        self.issuer = issuer
        self.kid = kid
        numbers = private_key.public_key().public_numbers()
        self.verifying_key = VerifyingKey.from_numbers(kid, numbers.n, numbers.e)

    @classmethod
    def generate(cls, issuer: str, *, kid: str = DEV_KID, bits: int = 2048) -> LocalIssuer:
        """Make an issuer with a new key, which is nowhere stored."""
        return cls(rsa.generate_private_key(65537, bits), issuer, kid=kid)

    def acting_as(self, issuer: str, *, kid: str | None = None) -> LocalIssuer:
        """Return an issuer of another name that signs with the same key."""
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


def encode_segment(value: Mapping[str, Any]) -> str:
    """Encode a header or payload as a segment of a compact JWS."""
    return encode_base64url(json.dumps(value).encode("utf-8"))


def find_dev_directory() -> Path:
    """Return where the development key lies: ``.clerk-dev`` of the project.

    That is ``BASE_DIR`` where the settings have one, so that each process of a project finds the
    same key, and the working directory elsewhere.
    """
    try:
        base = getattr(settings, "BASE_DIR", None)
    except ImproperlyConfigured:  # there are no settings at all
        base = None
    here = Path(base) if isinstance(base, str | Path) and str(base) else Path()
    return Path(os.path.abspath(here)) / DEV_DIRECTORY


def load_local_issuer(issuer: str) -> LocalIssuer:
    """Return the development issuer; its key is made on first use, in :func:`find_dev_directory`.

    Raises:
        KeyFileRefused: the key cannot be had, or is not for its owner alone.
    """
    directory = find_dev_directory()
    pem = key_file.load_or_make(directory, _make_pem)
    try:
        private_key = serialization.load_pem_private_key(pem, password=None)
        if not isinstance(private_key, rsa.RSAPrivateKey):
            raise ValueError
        return LocalIssuer(private_key, issuer)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise key_file.refuse(directory, "does not hold a PEM private key of RSA") from None


def _make_pem() -> bytes:
    return rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def merge(defaults: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of both; ``changes`` go over ``defaults``, and ``ABSENT`` ones go out."""
    merged = {**defaults, **changes}
    return {name: value for name, value in merged.items() if value is not ABSENT}
