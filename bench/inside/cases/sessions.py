"""Policies that judge, and headers and claims that every one of them accepts."""

from __future__ import annotations

import json
import random
from typing import Any

from bench.inside.cases.signing import KID

ISSUER, ALIAS = "https://clerk.example.com", "https://clerk.satellite.example"
PARTY, OTHER_PARTY = "https://app.example.com", "http://localhost:3000"
AUDIENCE, OTHER_AUDIENCE = "reports", "https://api.example.com"
NOW = 1_800_000_000
SESSION, IGNORED = "cl_B7d4PD111AAA", "cl_I7d4PD111III"
SHORT_BYTES = 1100

_PARTIES = {"authorized_parties": [PARTY, OTHER_PARTY]}
_AUDIENCES = {"audiences": [AUDIENCE, OTHER_AUDIENCE]}
# What differs from the package's defaults, by name; the issuers are set in each.
POLICIES: dict[str, dict[str, Any]] = {
    "parties": _PARTIES,
    "defaults": {},
    "party if present": {**_PARTIES, "party_required": False},
    "audiences": _AUDIENCES,
    "pending": {"accept_pending": True},
    "any key id": {**_PARTIES, "kid_required": False},
    "no leeway": {"leeway_seconds": 0},
    "no limit without category": {"uncategorized_token_max_seconds": 0, "leeway_seconds": 60},
    "short limit without category": {"uncategorized_token_max_seconds": 90},
    "short": {"max_token_bytes": SHORT_BYTES},
    "everything": {**_PARTIES, **_AUDIENCES, "accept_pending": True, "leeway_seconds": 2.5},
}


def make_header(order: random.Random) -> dict[str, Any]:
    """Return a header as Clerk writes it, or as a token without category has it."""
    header = {"alg": "RS256", "cat": SESSION, "kid": KID, "typ": "JWT"}
    match order.randrange(10):
        case 0:
            del header["cat"]
        case 1:
            header["cat"] = IGNORED
        case 2:
            del header["typ"]
        case 3:
            header["oiat"] = order.randrange(NOW)
    return header


def make_claims(order: random.Random, now: float) -> dict[str, Any]:
    """Return claims of a session, of either version, in an organization or outside one."""
    number = order.getrandbits(40)
    claims = {
        "azp": order.choice([PARTY, PARTY, OTHER_PARTY]),
        "aud": order.choice([AUDIENCE, [OTHER_AUDIENCE, "x"]]),
        "exp": now + 50,
        "fva": [order.randrange(20), order.choice([-1, 3])],
        "iat": now - 10,
        "iss": order.choice([ISSUER, ISSUER, ALIAS]),
        "jti": f"{number:x}",
        "nbf": now - 15,
        "sid": f"sess_{number}",
        "sub": f"user_{number % 1000}",
    }
    match order.randrange(4):
        case 0:
            claims |= {
                "org_id": "org_1",
                "org_slug": "acme",
                "org_role": "org:admin",
                "org_permissions": ["org:reports:read", "org:billing:manage"],
            }
        case 1 | 2:
            claims |= {
                "v": 2,
                "sts": "active",
                "pla": "o:pro,u:free",
                "fea": "o:reports,u:beta,uo:billing",
                "o": {"id": "org_1", "rol": "admin", "slg": "acme", "per": "read,manage"},
            }
            claims["o"]["fpm"] = f"{order.randrange(4)},0,{order.randrange(4)}"
    if not order.randrange(8):
        claims["act"] = {"sub": "user_staff", "iss": "https://dashboard.clerk.com"}
    return claims


def write(members: dict[str, Any]) -> bytes:
    """Write JSON as Clerk does: without whitespace."""
    return json.dumps(members, separators=(",", ":")).encode()
