"""The eleven rules as one table, in the order of the verifier.

The verifier has its calls written out in ``clerk_auth.core.tokens``; a test holds the two together.
The table is here because of its remedies, which name settings and commands: core knows neither.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from clerk_auth.core import tokens
from clerk_auth.core.credential import read_bearer_token
from clerk_auth.core.errors import ClerkAuthError, KeysUnavailable, TokenMalformed
from clerk_auth.core.tokens import OPAQUE_PREFIXES, Policy, UnverifiedToken
from clerk_auth.diagnostics.explanations import count, describe_time, show, show_kid, show_members
from clerk_auth.jwks.source import Keys, StaticKeySource
from clerk_auth.jwks.waiting import finish

__all__ = ["NAMES", "RULES", "Evidence", "Rule", "Unchecked", "read_credential", "remedy_for"]


class Unchecked(Exception):
    """A rule was not checked: ``subject``, an earlier rule, the token or a setting, says why."""

    def __init__(self, subject: str, reason: str) -> None:
        super().__init__(subject, reason)
        self.subject, self.reason = subject, reason


class Evidence:
    """What is known of one token: by the name of each rule that it passed, what the rule read."""

    def __init__(self, token: str, policy: Policy, source: StaticKeySource, now: float) -> None:
        self.pasted, self.policy, self.source, self.now = token, policy, source, now
        self.known: dict[str, Any] = {}
        self.read_header: dict[str, Any] | None = None

    def __getitem__(self, rule: str) -> Any:
        if rule not in self.known:
            raise Unchecked(rule, "not_passed")
        return self.known[rule]

    @property
    def header(self) -> dict[str, Any]:
        """The header as it was read, allowed or not."""
        return self["header"] if self.read_header is None else self.read_header

    @property
    def is_opaque(self) -> bool:
        """Whether the token says of which class it is by how it starts, and has no header."""
        token = self["credential"]
        return token.startswith(OPAQUE_PREFIXES) and len(token) <= self.policy.max_token_bytes

    def split(self) -> tuple[bytes, UnverifiedToken]:
        """Return the header, decoded, and the rest as it goes on to the signature."""
        if self.is_opaque:
            raise Unchecked("token", "other_class")
        token = self["credential"]
        signing_input, header, payload, signature = tokens.split_token(token, self.policy)
        rest = UnverifiedToken(signing_input, payload, signature, kid="", has_category=False)
        return tokens.decode_segment(header), rest

    def check_header(self) -> dict[str, Any]:
        self.read_header = tokens.parse_part("header", self["text"][0])
        tokens.check_header(self.read_header)
        return self.read_header

    def check_class(self) -> bool:
        if self.is_opaque:  # which this refuses
            tokens.split_token(self["credential"], self.policy)
        return tokens.check_class(self.header)

    def find_keys(self) -> Keys:
        kid = tokens.read_kid(self["header"]) if self.policy.kid_required else ""
        keys = self.source.keys_for(kid)
        return keys or finish(self.source.load(kid) if keys is None else self.source.search(kid))

    def find_signing_key(self) -> object:
        return tokens.find_signing_key(self["text"][1], self["key"])

    def check_times(self) -> None:
        times, has_category = tokens.read_times(self["payload"]), self.known.get("class", False)
        tokens.check_times(times, self.policy, has_category=has_category, now=self.now)

    def describe_class(self) -> str:
        """Write what the class is told by."""
        if self.is_opaque:
            return show(self["credential"].partition("_")[0] + "_...")
        return show_members(self.header, "cat", "typ")

    def describe_times(self) -> str:
        """Write the times, as dates."""
        times = [claim for claim in ("exp", "nbf", "iat") if claim in self["payload"]]
        shown = [f"{claim} {describe_time(self['payload'][claim], self.now)}" for claim in times]
        return ", ".join(shown) or "no times"


@dataclass(frozen=True, slots=True)
class Rule:
    """What one rule reads, asks and advises.

    ``number`` is that of ``docs/security.md``; ``claims`` are the members of header or payload that
    the rule reads. ``check`` returns what later rules need. ``unchecked_if`` names the setting that
    turns the rule off.
    """

    number: int | None
    name: str
    check: Callable[[Evidence], object]
    claims: tuple[str, ...]
    expected: str | Callable[[Policy], str]
    remedy: str
    unchecked_if: Callable[[Policy], str | None] = lambda policy: None
    found: Callable[[Evidence], str] | None = None

    def expects(self, policy: Policy) -> str:
        """Say what the rule asks for, empty where the policy asks for nothing."""
        return self.expected if isinstance(self.expected, str) else self.expected(policy)

    def judge(self, evidence: Evidence) -> None:
        """Check the rule, and add what it has read.

        Raises:
            Unchecked: it need not or cannot be checked.
            ClerkAuthError: the token does not pass.
        """
        if setting := self.unchecked_if(evidence.policy):
            raise Unchecked(setting, "not_set" if self.number else "not_run")
        evidence.known[self.name] = self.check(evidence)

    def describe(self, evidence: Evidence) -> str:
        """Say what the token has where the rule looks; empty where that cannot be read."""
        try:
            if self.found is not None:
                return self.found(evidence)
            return show_members(evidence["payload"], *self.claims)
        except Unchecked:
            return ""


def remedy_for(rule: Rule, error: ClerkAuthError, *, key_directory: Path | None = None) -> str:
    """Say what to do about a token that ``rule`` refuses with ``error``.

    ``key_directory`` is where the development key lies, if it is that which decides.
    """
    if isinstance(error, KeysUnavailable):
        return "Run clerk_selftest: it says why the keys cannot be had."
    if rule.name == "key" and isinstance(error, TokenMalformed):
        return _GET_TOKEN
    if rule.name == "signature" and key_directory is not None:
        return (
            f"The key in force is that of {key_directory}. A token made with another BASE_DIR, or "
            "before this key was made, has another key: make it again, with this project's "
            "clerk_token."
        )
    return rule.remedy


def read_credential(token: str) -> str:
    """Return the token of what was pasted: one, or an ``Authorization`` header's value.

    Raises:
        TokenMalformed: it is not one credential.
    """
    token = token.strip()
    is_header = token[:7].rstrip().lower() == "bearer"
    # Not None, which is for another scheme.
    return cast("str", read_bearer_token(token if is_header else f"Bearer {token}"))


def _expect_times(policy: Policy) -> str:
    seconds = policy.uncategorized_token_max_seconds
    bound = f"; without session category exp at most {seconds:g} s ahead" if seconds else ""
    return (
        f"exp in the future, nbf and iat in the past; {policy.leeway_seconds:g} s of leeway{bound}"
    )


def _expect_text(policy: Policy) -> str:
    return f"ASCII, at most {count(policy.max_token_bytes, 'character')}, three parts of base64url"


def _expect_party(policy: Policy) -> str:
    parties = _any_of("azp", policy.authorized_parties)
    return parties if policy.party_required or not parties else f"{parties} or none"


def _expect_identity(policy: Policy) -> str:
    colon = " or with a colon" if policy.is_one_of_several else ""
    return f"sub and sid of 1 to 255 visible characters; sub not of a machine (mch_){colon}"


def _expect_session(policy: Policy) -> str:
    pending = ', "pending"' if policy.accept_pending else ""
    return f'sts "active"{pending} or none'


def _any_of(claim: str, values: Collection[str]) -> str:
    return f"{claim} {' or '.join(map(show, sorted(values)))}" if values else ""


_GET_TOKEN = "Send what Clerk's getToken() returns."

RULES = (
    Rule(
        1,
        "credential",
        lambda seen: read_credential(seen.pasted),
        (),
        expected="one word, or Bearer and one word",
        remedy="Give only the token, or Bearer and the token.",
        found=lambda seen: count(len(seen.pasted.split()), "word"),
    ),
    Rule(
        2,
        "text",
        Evidence.split,
        (),
        expected=_expect_text,
        remedy="Copy the whole token, without line breaks.",
        found=lambda seen: count(len(seen["credential"]), "character"),
    ),
    Rule(
        3,
        "header",
        Evidence.check_header,
        ("alg", "typ", "crit", "b64"),
        expected=f'a JSON object: alg "{tokens.ALGORITHM}", typ "JWT" or none, no crit or b64',
        remedy=_GET_TOKEN,
        found=lambda seen: show_members(seen.header, "alg", "typ"),
    ),
    Rule(
        4,
        "class",
        Evidence.check_class,
        ("cat", "typ"),
        expected=f'cat "{tokens.SESSION_CATEGORY}" (session), "{tokens.IGNORED_CATEGORY}" or none',
        remedy="Call getToken() without a template; API keys (ak_), machine tokens (mt_) and OAuth "
        "tokens (oat_) are not accepted.",
        found=Evidence.describe_class,
    ),
    Rule(
        5,
        "key",
        Evidence.find_keys,
        ("kid",),
        expected=lambda policy: (
            "a key id of the key set" if policy.kid_required else "any: JWT_KEY ignores it"
        ),
        remedy="It is of another Clerk instance, often the development one: compare the front "
        "end's publishable key with FRONTEND_API. A key that Clerk has just rotated in is fetched "
        "by the first request that needs it, or by clerk_keys refresh.",
        found=lambda seen: show_kid(seen["header"], seen.source.status().keys),
    ),
    Rule(
        6,
        "signature",
        Evidence.find_signing_key,
        (),
        expected="made by the key, or one of the keys, under this key id",
        remedy="It was forged, or damaged on its way. With JWT_KEY, the key may have been rotated.",
        found=lambda seen: ", ".join(f"RSA {key.bits} {key.thumbprint}" for key in seen["key"]),
    ),
    Rule(
        7,
        "payload",
        lambda seen: tokens.parse_part("payload", seen["text"][1].payload),
        (),
        expected="a JSON object in UTF-8 without duplicate members",
        remedy="Clerk does not write such a payload: find out who made the token.",
        found=lambda seen: count(len(seen["text"][1].payload), "byte"),
    ),
    Rule(
        7,
        "time",
        Evidence.check_times,
        ("exp", "nbf", "iat"),
        expected=_expect_times,
        remedy="exp: ask getToken() before each request. nbf, iat: the clock of this host is "
        "behind; clerk_selftest compares it. Too far ahead: call getToken() without a template, or "
        "see UNCATEGORIZED_TOKEN_MAX_SECONDS.",
        found=Evidence.describe_times,
    ),
    Rule(
        8,
        "issuer",
        lambda seen: tokens.check_issuer(seen["payload"], seen.policy),
        ("iss",),
        expected=lambda policy: _any_of("iss", policy.issuers),
        remedy="FRONTEND_API or ISSUER names another instance than the front end's publishable "
        "key, or ISSUER lacks the alias of a proxy.",
    ),
    Rule(
        9,
        "identity",
        lambda seen: tokens.check_identity(seen["payload"], seen.policy),
        ("sub", "sid"),
        expected=_expect_identity,
        remedy="Call getToken() without a template: a token without sid belongs to no session, and "
        "one of a machine (mch_) to no user.",
    ),
    Rule(
        10,
        "party",
        lambda seen: tokens.check_party(seen["payload"], seen.policy),
        ("azp",),
        expected=_expect_party,
        remedy="Add the origin to AUTHORIZED_PARTIES if it is yours. For tokens without azp, of "
        "native apps and servers, see AZP_POLICY.",
        unchecked_if=lambda policy: None if policy.authorized_parties else "AUTHORIZED_PARTIES",
    ),
    Rule(
        10,
        "audience",
        lambda seen: tokens.check_audience(seen["payload"], seen.policy),
        claims=("aud",),
        expected=lambda policy: _any_of("aud", policy.audiences),
        remedy="Give the session's claims this aud in Clerk's dashboard, or correct AUDIENCE.",
        unchecked_if=lambda policy: None if policy.audiences else "AUDIENCE",
    ),
    Rule(
        11,
        "session",
        lambda seen: tokens.check_session(seen["payload"], seen.policy),
        ("sts",),
        expected=_expect_session,
        remedy="Let the user finish the session's tasks, or see ACCEPT_PENDING.",
    ),
    # Whose turn comes once the rules have passed.
    Rule(
        None,
        "user",
        lambda seen: None,
        (),
        expected="",
        remedy="",
        unchecked_if=lambda policy: "USER_RESOLVER",
        found=lambda seen: "it may answer user_unknown or user_inactive",
    ),
)
NAMES = tuple(rule.name for rule in RULES)
