"""Words for people on a token: what a rule expects, what was found, and what to do about it.

What comes from a token is written in printable ASCII, which steers no terminal, and not at length.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clerk_auth.core.claims import is_number
from clerk_auth.core.errors import ClerkAuthError, KeysUnavailable, TokenMalformed
from clerk_auth.core.keys import hash_kid
from clerk_auth.core.tokens import ALGORITHM, IGNORED_CATEGORY, SESSION_CATEGORY, Policy
from clerk_auth.jwks.source import Keys

MAX_SHOWN = 160
_YEAR_10000 = 253_402_300_800

# In the order of the verifier; what to do about a token that fails there.
_REMEDIES = {
    "credential": "Give the token alone, or Bearer and the token.",
    "text": "Copy the whole token, without line breaks.",
    "header": "Send what Clerk's getToken() returns.",
    "class": "Call getToken() without a template; API keys (ak_), machine tokens (mt_) and OAuth "
    "tokens (oat_) are not accepted.",
    "key": "It is of another Clerk instance, often the development one: compare the front end's "
    "publishable key with FRONTEND_API. A key that Clerk has just rotated in is fetched by the "
    "first request that needs it, or by clerk_keys refresh.",
    "signature": "It was forged, or damaged on its way. With JWT_KEY: a rotated key, possibly.",
    "payload": "Clerk writes no such payload: see who made the token.",
    "time": "exp: ask getToken() before each request. nbf, iat: the clock of this host is behind; "
    "clerk_selftest compares it. Too far ahead: call getToken() without a template, or see "
    "UNCATEGORIZED_TOKEN_MAX_SECONDS.",
    "issuer": "FRONTEND_API or ISSUER is of another instance than the front end's key, or lacks a "
    "proxy's alias.",
    "identity": "Call getToken() without a template: a token without sid belongs to no session, "
    "and one of a machine (mch_) to no user.",
    "party": "Add the origin to AUTHORIZED_PARTIES if it is yours. For tokens without azp, of "
    "native apps and servers, see AZP_POLICY.",
    "audience": "Give the session's claims this aud in Clerk's dashboard, or correct AUDIENCE.",
    "session": "Let the user finish the session's tasks, or see ACCEPT_PENDING.",
    "user": "",
}
RULES = tuple(_REMEDIES)

_EXPECTED = {
    "credential": "one word, or Bearer and one word",
    "header": f'a JSON object: alg "{ALGORITHM}", typ "JWT" or none, neither crit nor b64',
    "class": f'cat "{SESSION_CATEGORY}" (session), "{IGNORED_CATEGORY}" or none',
    "signature": "made by the key, or one of the keys, under this key id",
    "payload": "a JSON object in UTF-8 without duplicate members",
    "identity": "sub and sid of 1 to 255 visible characters, sub of no machine (mch_)",
}


def remedy_for(rule: str, error: ClerkAuthError, *, key_directory: Path | None = None) -> str:
    """Say what to do about a token that ``rule`` refuses with ``error``.

    ``key_directory`` is where the development key lies, if it is that which decides.
    """
    if isinstance(error, KeysUnavailable):
        return "Run clerk_selftest: it says why the keys cannot be had."
    if rule == "key" and isinstance(error, TokenMalformed):
        return _REMEDIES["header"]
    if rule == "signature" and key_directory is not None:
        return (
            f"The key in force is that of {key_directory}. A token made with another BASE_DIR, or "
            "before this key was made, has another key: make it again, with this project's "
            "clerk_token."
        )
    return _REMEDIES[rule]


def expected_by(rule: str, policy: Policy) -> str:
    """Say what ``rule`` asks for, empty where the policy asks for nothing."""
    match rule:
        case "text":
            limit = count(policy.max_token_bytes, "character")
            return f"ASCII, at most {limit}, three parts of base64url"
        case "key":
            return "a key id of the key set" if policy.kid_required else "any: JWT_KEY ignores it"
        case "time":
            seconds = policy.uncategorized_token_max_seconds
            bound = f"; without session category exp at most {seconds:g} s ahead" if seconds else ""
            return f"exp to come, nbf and iat past; {policy.leeway_seconds:g} s of leeway{bound}"
        case "issuer":
            return f"iss {_any_of(policy.issuers)}"
        case "party" if policy.authorized_parties:
            parties = _any_of(policy.authorized_parties)
            return f"azp {parties}" if policy.party_required else f"azp {parties} or none"
        case "audience" if policy.audiences:
            return f"aud {_any_of(policy.audiences)}"
        case "session":
            pending = ', "pending"' if policy.accept_pending else ""
            return f'sts "active"{pending} or none'
    return _EXPECTED.get(rule, "")


def show(value: object) -> str:
    """Write a value of a token as JSON."""
    text = json.dumps(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}... ({len(text)} characters)"


def show_members(members: Mapping[str, Any], *names: str) -> str:
    """Write the named members, and which of them are missing."""
    return ", ".join(f"{n} {show(members[n])}" if n in members else f"no {n}" for n in names)


def show_kid(header: Mapping[str, Any], keys: Keys) -> str:
    """Write a header's key id, the hash that stands for it in the log, and those of ``keys``."""
    kid = header.get("kid")
    digest = f" (SHA-256 {hash_kid(kid)})" if isinstance(kid, str) else ""
    held = ", ".join(sorted({show(key.kid) for key in keys if key.kid})) or count(len(keys), "key")
    return f"{show_members(header, 'kid')}{digest}; held: {held}"


def describe_time(value: object, now: float) -> str:
    """Write a time claim as a date, and how far it is from ``now``."""
    # Compared before it is reckoned with: an integer of any size is a number.
    if not is_number(value) or not 0 <= value < _YEAR_10000:
        return show(value)
    when = datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    distance = format_duration(abs(value - now))
    return f"{when} ({distance} ago)" if value <= now else f"{when} (in {distance})"


def format_duration(seconds: float) -> str:
    """Write a time span of 0 seconds or more: ``12 s``, ``3 h 5 min``, ``40 days``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} days"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def count(number: int, thing: str, things: str = "") -> str:
    """Write how many there are; ``things`` where it is not ``thing`` with an s."""
    return f"{number} {thing}" if number == 1 else f"{number} {things or thing + 's'}"


def _any_of(values: Collection[str]) -> str:
    return " or ".join(map(show, sorted(values)))
