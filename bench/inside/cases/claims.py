"""Claims that are absent, malformed, not allowed, or on the border, one or several at once."""

from __future__ import annotations

import json
import math
import random
from typing import Any

from bench.inside.cases.sessions import (
    ALIAS,
    AUDIENCE,
    ISSUER,
    OTHER_AUDIENCE,
    OTHER_PARTY,
    PARTY,
    POLICIES,
    make_claims,
    make_header,
)
from bench.inside.cases.signing import Signer, encode_text

TIMES = ("exp", "nbf", "iat")
SCALARS = (
    *(None, True, False, 0, 1, -1, 2, 1.0, 2.0, 1.5, -0.0, 1e308, 10**30, -(10**400)),
    *("", "x", "1", "true", "null", [], {}, [None], [""], {"": None}, [["x"]], {"a": {"b": []}}),
)
IDS = (
    *("user_1", "x", "é", "漢字", " ", "a b"),
    *(letter * length for letter in "xé" for length in (254, 255, 256)),
    *("a\0b", "a\n", "\x1f", "\x7f", "\x80", "a\u00a0b", "a\u200bb", "\u202ea", "\u2066", "\ufeff"),
    *("\u2028", "\u3164", "\u115f", "\u2800", "\uffa0", "\ud800", "\U0001f600", "e\u0301", "\xad"),
    *("mch_1", "mch_", "MCH_1", " mch_1", "user_mch_", "machine", "user_1 ", "\tuser_1"),
)
ROLES = ("admin", "org:admin", "org:", "", "org:org:admin", "a b", "admin,member", "é", "\u202e")
# What the compact claims are put together from: scopes, names, masks, and what is none of them.
SCOPED = (
    *("o:reports", "u:beta", "uo:billing", "ou:chat", "reports", ":reports", "o:", "x:reports"),
    *("o:a:b", " o:reports ", "", ",", "o :x", "O:reports", "oo:x", "o:é", "o:a b", "o:\u202e"),
)
PERMISSIONS = ("read", "manage", "a:b", "", " read ", "é", "a b", "read:all", "\0")
MASKS = (
    *("0", "1", "2", "3", " 3 ", "03", "", "-1", "+1", "1.0", "0x3", "x", "٣"),
    *("9" * digits for digits in (30, 4301)),
)


def _join(order: random.Random, pieces: tuple[str, ...]) -> str:
    return ",".join(order.choices(pieces, k=order.randrange(5)))


def _near(order: random.Random, good: list[str]) -> Any:
    """Return what is allowed, or nearly."""
    text = order.choice(good)
    changed = [
        *(text, text + "/", text + " ", " " + text, text.upper(), text[:-1], text * 2, "é" + text),
        *(text + end for end in (".evil.example", "\0", ":443", "#")),
        *(text.replace("s:", ":", 1), "x" * 3000, "", None, 1, True, {text: 1}),
        *([text], [text, text], ["x", text], ["x"], [], [text, 1], [None], [[text]]),
    ]
    return order.choice(changed)


def _make_time(order: random.Random, policy: dict[str, Any], now: float) -> Any:
    """Return a time at one of the limits, just before it or just after it; or none at all."""
    leeway = policy.get("leeway_seconds", 5)
    ahead = policy.get("uncategorized_token_max_seconds", 3600)
    at = now + order.choice([0, leeway, -leeway, -leeway, leeway, ahead, ahead + leeway])
    at += order.choice([0, 0, 0, 1, -1, 0.5, -0.5, 1e-3, -1e-3])
    match order.randrange(8):
        case 0:
            return math.nextafter(at, order.choice([0, math.inf]))
        case 1:
            return int(at)
        case 2:
            return order.choice([str(int(at)), [at], float(at) * 1000, -at, at * 10**300, 10**400])
        case 3:
            return order.choice(SCALARS)
    return at


def _make_organization(order: random.Random) -> Any:
    organization = {
        "id": order.choice(["org_1", "org_1", order.choice(IDS), order.choice(SCALARS)]),
        "rol": order.choice([*ROLES, order.choice(SCALARS)]),
        "slg": order.choice(["acme", order.choice(IDS), order.choice(SCALARS)]),
        "per": order.choice([_join(order, PERMISSIONS), "read,manage", order.choice(SCALARS)]),
        "fpm": order.choice([_join(order, MASKS), _join(order, MASKS), order.choice(SCALARS)]),
    }
    for name in order.sample([*organization], order.choice([0, 0, 1, 2])):
        del organization[name]
    return organization


def _make_value(order: random.Random, name: str, policy: dict[str, Any], now: float) -> Any:
    """Return a value for a claim that has something of what the claim should be."""
    match name:
        case "exp" | "nbf" | "iat":
            return _make_time(order, policy, now)
        case "iss":
            return _near(order, [ISSUER, ALIAS])
        case "azp":
            return _near(order, [PARTY, OTHER_PARTY])
        case "aud":
            return _near(order, [AUDIENCE, OTHER_AUDIENCE])
        case "sub" | "sid" | "org_id" | "org_slug":
            return order.choice(IDS)
        case "sts":
            return order.choice(["active", *2 * ["pending"], "Active", "expired", "", "a" * 200])
        case "v":
            return order.choice([1, 2, 2, 2.0, 1.0, 3, 0, "2", True, -2, 2.5, [2], 10**400])
        case "o":
            return _make_organization(order)
        case "fea" | "pla":
            return _join(order, SCOPED)
        case "org_role":
            return order.choice(ROLES)
        case "org_permissions":
            return order.choices([*ROLES, *SCALARS, "org:reports:read"], k=order.randrange(5))
        case "fva":
            ages = [0, 5, 9.5, 10, -1, -1.0, -2, -0.5, 0.0, 60, 1e308, True, "5", None, 10**30]
            return order.choices(ages, k=order.choice([2, 2, 2, 2, 0, 1, 3]))
        case "act":
            return order.choice([{}, {"sub": "user_2"}, {"sub": 1}, {"act": {"sub": "x"}}, "x"])
    return order.choice(SCALARS)


CHECKED = ("exp", "nbf", "iat", "iss", "sub", "sid", "azp", "aud", "sts")
OPTIONAL = (
    *("v", "o", "fea", "pla", "fva", "act", "org_id", "org_slug", "org_role", "org_permissions"),
    *("jti", "metadata", "exp ", "EXP", "__proto__", "", "é", "\ud800", "payload", "verified"),
)


def sign_claims(order: random.Random, signer: Signer, policy: str, now: float) -> tuple[str, float]:
    """Return a signed token, and when to look at it again."""
    header, claims = make_header(order), make_claims(order, now)
    changes = order.choice([0, 1, 1, 1, 1, 2, 2, 3, 4])
    names = order.choice([CHECKED, CHECKED, OPTIONAL, OPTIONAL, CHECKED + OPTIONAL])
    for name in order.sample(names, changes):
        match order.randrange(8):
            case 0:
                claims.pop(name, None)
            case 1:
                claims[name] = order.choice(SCALARS)
            case 2:  # which is malformed, and not absent
                claims[name] = None
            case _:
                claims[name] = _make_value(order, name, POLICIES[policy], now)
    separators = order.choice([(",", ":"), (",", ":"), (", ", ": ")])
    payload = json.dumps(claims, separators=separators, ensure_ascii=order.randrange(2) == 0)
    token = signer.token(json.dumps(header).encode(), encode_text(payload))
    return token, _choose_later(order, claims, POLICIES[policy], now)


def _choose_later(
    order: random.Random, claims: dict[str, Any], policy: dict[str, Any], now: float
) -> float:
    """Return when to look again: at once, or at a limit of one of the claims, or beside it.

    The clock may go back, as one that is set right does.
    """
    time = claims.get(order.choice(TIMES))
    if (
        type(time) not in (int, float)
        or not now - 10_000 < time < now + 10_000
        or order.randrange(3) == 0
    ):
        return now
    leeway = policy.get("leeway_seconds", 5)
    ahead = policy.get("uncategorized_token_max_seconds", 3600)
    limit = time + order.choice([leeway, leeway, -leeway, -ahead, 0])
    return limit + order.choice([0, 0, -1, 1, -1e-3, 1e-3])
