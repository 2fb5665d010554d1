"""Make a key and the tokens of a run, in files: ``python -m bench.inside.mint NUMBER FLOOD``."""

from __future__ import annotations

import json
import secrets
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

from bench.inside.settings import GOOD, ISSUER, PARTY, WORK
from clerk_auth.core.tokens import ALGORITHM, SESSION_CATEGORY, Policy
from clerk_auth.issuer.bad_tokens import BAD_TOKENS
from clerk_auth.issuer.local import LocalIssuer

TOKEN_CHARACTERS = 1024
LIFETIME_SECONDS = 6 * 3600
CHUNK = 500


def make_payload(issuer: LocalIssuer, number: int, padding: int) -> dict[str, Any]:
    """Return claims as Clerk makes them, of the second version, in an organization."""
    return issuer.session_payload(
        f"user_{number:027d}",
        expires_in=LIFETIME_SECONDS,
        azp=PARTY,
        sid=f"sess_{number:027d}",
        jti=f"{number:012d}",
        fva=[3, -1],
        pla="o:pro",
        fea="o:reports,o:billing",
        o={"id": f"org_{1:027d}", "rol": "admin", "slg": "acme", "per": "read", "fpm": "1,1"},
        name="x" * padding,
    )


def sign(issuer: LocalIssuer, payload: dict[str, Any]) -> str:
    """Sign without whitespace, as Clerk does."""
    header = {"alg": ALGORITHM, "cat": SESSION_CATEGORY, "kid": issuer.kid, "typ": "JWT"}
    return issuer.sign_text(json.dumps(payload, separators=(",", ":")).encode(), header)


def find_padding(issuer: LocalIssuer) -> int:
    """Return how long a name makes the token as long as it should be."""
    missing = TOKEN_CHARACTERS - len(sign(issuer, make_payload(issuer, 0, 0)))
    if missing < 0:
        raise ValueError("the claims are longer than a token should be")
    return missing * 3 // 4


def sign_chunk(issuer_pem: bytes, kid: str, padding: int, start: int) -> list[str]:
    issuer = load(issuer_pem, kid)
    return [sign(issuer, make_payload(issuer, start + i, padding)) for i in range(CHUNK)]


def load(pem: bytes, kid: str) -> LocalIssuer:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key: Any = load_pem_private_key(pem, password=None)
    return LocalIssuer(key, ISSUER, kid=kid)


def make_bad(issuer: LocalIssuer, padding: int) -> dict[str, str]:
    """Return the bad tokens by name, and a good one of the same claims as ``GOOD``."""
    policy = Policy(issuers=frozenset({ISSUER}), authorized_parties=frozenset({PARTY}))
    payload = make_payload(issuer, 0, padding)
    # The bad ones shift times by two hours: an hour is long enough to be sent in.
    payload["exp"] = payload["iat"] + 3600
    tokens = {
        name: bad.make(issuer, payload) for name, bad in BAD_TOKENS.items() if bad.applies(policy)
    }
    return {**tokens, GOOD: sign(issuer, payload)}


def main(number: int, flood: int) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    kid = f"ins_{secrets.token_hex(14)[:27]}"
    issuer = load(pem, kid)
    padding = find_padding(issuer)
    starts = range(int(time.time()), int(time.time()) + number, CHUNK)
    with ProcessPoolExecutor() as pool, (WORK / "tokens.txt").open("w") as file:
        for tokens in pool.map(partial(sign_chunk, pem, kid, padding), starts):
            file.writelines(token + "\n" for token in tokens)
    stranger = LocalIssuer.generate(ISSUER)
    with (WORK / "flood.txt").open("w") as file:
        for i in range(flood):
            unknown = stranger.acting_as(ISSUER, kid=f"ins_{secrets.token_hex(14)[:27]}")
            file.write(sign(unknown, make_payload(unknown, i, padding)) + "\n")
    (WORK / "public.pem").write_text(issuer.public_pem)
    (WORK / "jwks.json").write_text(json.dumps(issuer.jwks))
    (WORK / "bad.json").write_text(json.dumps(make_bad(issuer, padding)))
    print(json.dumps({"characters": len(sign(issuer, make_payload(issuer, starts[0], padding)))}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
