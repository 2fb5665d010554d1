"""Ways to verify a token, each as its documentation shows it, with what the others check too.

A verifier takes a token and returns what it read, or raises. Each is given the issuer and the
authorized parties wherever it has a place for them, and five seconds of leeway.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings
from django.test import override_settings

from bench.inside.settings import ISSUER, JWKS_URL, KEY_SERVER, LEEWAY_SECONDS, PARTY, WORK

Verify = Callable[[Any], Any]


@dataclass(frozen=True)
class Subject:
    """``make`` imports what it needs and returns the verifier.

    ``checks_claims`` is off for what verifies a signature and looks at nothing else;
    ``keeps_tokens`` is on for what remembers a token that it has verified. ``around`` is the
    context of its batches.
    """

    name: str
    title: str
    make: Callable[[], Verify]
    checks_claims: bool = True
    prepare: Callable[[Sequence[str]], Sequence[Any]] = list
    keeps_tokens: bool = False
    around: Callable[[], AbstractContextManager[None]] = nullcontext

    @property
    def is_ours(self) -> bool:
        return self.name.startswith("ours")


def public_pem() -> str:
    return (WORK / "public.pem").read_text()


@cache
def public_key() -> Any:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    return load_pem_public_key(public_pem().encode())


def _split(tokens: Sequence[str]) -> list[tuple[bytes, bytes]]:
    split = []
    for token in tokens:
        signing_input, _, signature = token.rpartition(".")
        split.append((base64.urlsafe_b64decode(signature + "=="), signing_input.encode()))
    return split


def make_raw() -> Verify:
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    verify, padding, sha256 = public_key().verify, PKCS1v15(), SHA256()
    return lambda token: verify(token[0], token[1], padding, sha256)


def _decode(token: str, key: Any) -> dict[str, Any]:
    import jwt

    claims = jwt.decode(
        token,
        key,
        algorithms=["RS256"],
        issuer=ISSUER,
        leeway=LEEWAY_SECONDS,
        options={"require": ["exp", "iat", "nbf", "sub"]},
    )
    if claims.get("azp") != PARTY:
        raise jwt.InvalidTokenError("azp")
    return claims


def make_pyjwt() -> Verify:
    key = public_key()
    return lambda token: _decode(token, key)


def make_pyjwkclient() -> Verify:
    import jwt

    client = jwt.PyJWKClient(JWKS_URL)
    return lambda token: _decode(token, client.get_signing_key_from_jwt(token).key)


def make_simplejwt() -> Verify:
    from rest_framework_simplejwt.authentication import JWTStatelessUserAuthentication

    authentication = JWTStatelessUserAuthentication()
    return lambda token: authentication.get_validated_token(token.encode())


def _make_sdk(**key: str) -> Verify:
    from clerk_backend_api.security.types import VerifyTokenOptions
    from clerk_backend_api.security.verifytoken import verify_token

    options = VerifyTokenOptions(api_url=KEY_SERVER, authorized_parties=[PARTY], **key)
    return lambda token: verify_token(token, options)


def make_sdk_pem() -> Verify:
    return _make_sdk(jwt_key=public_pem())


def make_sdk_jwks() -> Verify:
    return _make_sdk(secret_key="sk_test_of_the_benchmark")


def make_ours() -> Verify:
    from clerk_auth.verifier import get_verifier

    return get_verifier().verify


def _make_another(**changes: Any) -> Verify:
    """Return a verifier that shares nothing with that of the process."""
    from clerk_auth.verifier import get_verifier

    with override_settings(CLERK_AUTH={**settings.CLERK_AUTH, **changes}):
        return get_verifier().verify


def make_ours_without_cache() -> Verify:
    return _make_another(VERIFIED_TOKEN_CACHE_SIZE=0)


def make_ours_with_log() -> Verify:
    return _make_another()


@cache
def _sink() -> logging.Handler:
    handler = logging.FileHandler("/dev/null")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    return handler


@contextmanager
def log_successes() -> Iterator[None]:
    logger = logging.getLogger("clerk_auth")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(_sink())
    yield
    logger.removeHandler(_sink())
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


ALL = (
    Subject("raw", "raw RSA-2048 verify", make_raw, checks_claims=False, prepare=_split),
    Subject("pyjwt", "PyJWT, key at hand", make_pyjwt),
    Subject("pyjwkclient", "PyJWT and PyJWKClient", make_pyjwkclient),
    Subject("simplejwt", "simplejwt, `JWK_URL`", make_simplejwt),
    Subject("sdk_pem", "clerk-backend-api, PEM", make_sdk_pem),
    Subject("sdk_jwks", "clerk-backend-api, JWKS", make_sdk_jwks),
    Subject("ours", "clerk_auth", make_ours, keeps_tokens=True),
    Subject("ours_uncached", "clerk_auth, no token cache", make_ours_without_cache),
    Subject(
        "ours_log",
        "clerk_auth, log at INFO",
        make_ours_with_log,
        keeps_tokens=True,
        around=log_successes,
    ),
)
BY_NAME = {subject.name: subject for subject in ALL}
