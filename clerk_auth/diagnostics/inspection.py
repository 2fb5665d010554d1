"""An inspection: what each rule says of one token, and what the verifier says of it.

The rules are the functions of ``core.tokens``, called one by one; the verdict is that of
``Verifier.check`` on the same policy and keys. Nothing is counted, logged, stored or forced: keys
come from a snapshot, so that an unknown or wrong key spends no cooldown of the fleet.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from clerk_auth.authentication import read_bearer_token
from clerk_auth.conf import Config
from clerk_auth.core.claims import Claims, Verified
from clerk_auth.core.encoding import decode_checked
from clerk_auth.core.error_reports import hide_locals
from clerk_auth.core.errors import ClerkAuthError, KeySetInvalid, KeysUnavailable, TokenMalformed
from clerk_auth.core.keys import VerifyingKey, describe_key, hash_kid, parse_jwks
from clerk_auth.core.tokens import (
    OPAQUE_PREFIXES,
    Policy,
    UnverifiedToken,
    check_audience,
    check_class,
    check_header,
    check_identity,
    check_issuer,
    check_party,
    check_session,
    check_times,
    find_signing_key,
    read_header,
    read_kid,
    read_payload,
    read_times,
    split_token,
)
from clerk_auth.diagnostics.explanations import (
    RULES,
    count,
    describe_time,
    expected_by,
    remedy_for,
    show,
    show_kid,
    show_members,
)
from clerk_auth.diagnostics.shared_keys import load_shared
from clerk_auth.issuer.development import find_dev_directory
from clerk_auth.jwks.cached import CachedKeySource
from clerk_auth.jwks.document import fetch_document
from clerk_auth.jwks.source import Keys, StaticKeySource
from clerk_auth.jwks.wiring import make_source
from clerk_auth.transport import FetchFailed
from clerk_auth.verifier import Verifier

T = TypeVar("T")

SCHEMA_VERSION = 1
PASSED, FAILED, NOT_CHECKED = "passed", "failed", "not_checked"
ACCEPTED, REFUSED, UNKNOWN = "accepted", "refused", "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule says: ``reason`` why it failed or was not checked, ``found`` what is there."""

    rule: str
    status: str
    found: str = ""
    expected: str = ""
    reason: str = ""
    code: str | None = None
    remedy: str = ""


@dataclass(slots=True)
class Inspection:
    """All that is known of one token; instants are Unix seconds.

    ``verdict`` is ``unknown`` where the keys cannot be had. ``header`` and ``payload`` are as the
    token has them, ``None`` where they cannot be read. Anybody may have written the payload unless
    ``key``, which made the signature, is there. ``key_directory`` is where the key of development
    mode lies, ``None`` in any other.
    """

    policy: Policy
    checked_at: float
    key_directory: Path | None = None
    findings: list[Finding] = field(default_factory=list)
    verdict: str = ACCEPTED
    code: str | None = None
    reason: str = ""
    header: dict[str, Any] | None = None
    payload: dict[str, Any] | None = None
    key: VerifyingKey | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict; its shape changes only with ``schema_version``."""
        kid = (self.header or {}).get("kid")
        return {
            "schema_version": SCHEMA_VERSION,
            "verdict": self.verdict,
            "code": self.code,
            "reason": self.reason,
            "checked_at": self.checked_at,
            "rules": [asdict(finding) for finding in self.findings],
            "kid": kid if isinstance(kid, str) else None,
            "kid_sha256": hash_kid(kid) if isinstance(kid, str) else None,
            "key": describe_key(self.key) if self.key else None,
            "is_signed": self.key is not None,
            "claims": self.payload,
            "session": self.session,
        }

    @property
    def session(self) -> dict[str, Any] | None:
        """What views read from ``request.auth`` beside the checked claims, JSON-ready."""
        if self.payload is None:
            return None
        # For display alone: these are the properties that read nothing but the payload.
        nobody = Verified("", "", "", 0, None, None, None, "", b"{}")
        claims = Claims(nobody, self.payload)
        organization = claims.organization
        seen = {
            "version": claims.version,
            "organization": asdict(organization) if organization else None,
            "features": claims.features,
            "plans": claims.plans,
            "factor_ages": claims.factor_ages,
            "actor": claims.actor,
        }
        document: dict[str, Any] = json.loads(json.dumps(seen, default=dict))
        return document

    def judge(self, rule: str, check: Callable[[], T], found: str) -> T | None:
        """Note what ``check`` says; return what it returns, ``None`` if it refuses."""
        expected = expected_by(rule, self.policy)
        try:
            value = check()
        except ClerkAuthError as error:
            remedy = remedy_for(rule, error, key_directory=self.key_directory)
            why = error.reason, error.code, remedy
            self.findings.append(Finding(rule, FAILED, found, expected, *why))
            return None
        self.findings.append(Finding(rule, PASSED, found, expected))
        return value

    def skip(self, reason: str, *rules: str, found: str = "") -> None:
        """Note why ``rules`` were not checked."""
        self.findings.extend(
            Finding(rule, NOT_CHECKED, found, expected_by(rule, self.policy), reason)
            for rule in rules
        )


def load_keys(config: Config) -> Keys:
    """Return the keys in force: those the fleet shares, fetched where it holds none.

    Nothing is stored, and no failure is counted. Empty when the keys cannot be had.
    """
    source = make_source(config)
    if not isinstance(source, CachedKeySource) or config.jwks_url is None:
        return source.status().keys
    shared = load_shared(source)
    if shared.state != "cold":
        return shared.keys
    try:
        return parse_jwks(fetch_document(config.jwks_url, config.jwks_timeout_seconds).body).keys
    except (FetchFailed, KeySetInvalid):
        return ()


def read_credential(token: str) -> str:
    """Return the token of what was pasted: one, or an ``Authorization`` header's value.

    Raises:
        TokenMalformed: it is not one credential.
    """
    token = token.strip()
    is_header = token[:7].rstrip().lower() == "bearer"
    # Not None, which is for another scheme.
    return cast("str", read_bearer_token(token if is_header else f"Bearer {token}"))


@hide_locals
def inspect_now(token: str, config: Config, keys: Keys) -> Inspection:
    """Judge a token as :func:`inspect` does, by these settings and at this moment."""
    directory = find_dev_directory() if config.dev_mode else None
    return inspect(token, config.policy, keys, now=time.time(), key_directory=directory)


@hide_locals
def inspect(
    token: str, policy: Policy, keys: Keys, *, now: float, key_directory: Path | None = None
) -> Inspection:
    """Judge a token, or an ``Authorization`` header's value, by every rule and as a whole."""
    source = StaticKeySource(keys, ignore_kid=not policy.kid_required)
    inspection = Inspection(policy, now, key_directory)
    try:
        Verifier(source, policy, now=lambda: now).check(read_credential(token))
    except ClerkAuthError as error:
        is_ours = isinstance(error, KeysUnavailable)
        inspection.verdict = UNKNOWN if is_ours else REFUSED
        inspection.code, inspection.reason = error.code, error.reason
    found = count(len(token.split()), "word")
    token = inspection.judge("credential", lambda: read_credential(token), found) or ""
    if not token:
        inspection.skip("there is no token", *RULES[1:])
        return inspection
    if token.startswith(OPAQUE_PREFIXES) and len(token) <= policy.max_token_bytes:
        inspection.skip("the text is no JWT", "text", "header")
        prefix = show(token.partition("_")[0] + "_...")
        inspection.judge("class", lambda: split_token(token, policy), prefix)
        inspection.skip("the text is no JWT", *RULES[RULES.index("class") + 1 :])
        return inspection
    segments = inspection.judge(
        "text", lambda: split_token(token, policy), count(len(token), "character")
    )
    if segments is None:
        inspection.skip("the text is no token", *RULES[2:])
        return inspection
    has_category = _judge_signature(inspection, segments, source)
    _judge_claims(inspection, segments[1], has_category)
    inspection.skip(
        "the user resolver is not run; it may answer user_unknown or user_inactive", "user"
    )
    return inspection


def _judge_signature(
    inspection: Inspection, segments: list[bytes], source: StaticKeySource
) -> bool:
    """Judge header, class, key and signature; tell whether the header says that it is a session."""
    try:
        header = inspection.header = read_header(segments[0])
    except TokenMalformed:
        inspection.judge("header", lambda: read_header(segments[0]), "")
        inspection.skip("the header cannot be read", "class", "key", "signature")
        return False
    inspection.judge("header", lambda: check_header(header), show_members(header, "alg", "typ"))
    is_allowed = inspection.findings[-1].status == PASSED
    found = show_members(header, "cat", "typ")
    has_category = bool(inspection.judge("class", lambda: check_class(header), found))
    if not is_allowed:
        inspection.skip("the header is not allowed", "key", "signature")
        return has_category
    kid_required = inspection.policy.kid_required

    def find_keys() -> Keys:
        kid = read_kid(header) if kid_required else ""
        return source.keys_for(kid) or source.search(kid)

    keys = inspection.judge("key", find_keys, show_kid(header, source.status().keys))
    if keys is None:
        inspection.skip("there is no key to check it with", "signature")
        return has_category
    token = UnverifiedToken.from_segments("", segments, has_category)
    found = ", ".join(f"RSA {key.bits} {key.thumbprint}" for key in keys)
    key = inspection.judge("signature", lambda: find_signing_key(token, keys), found)
    inspection.key = key
    return has_category


def _judge_claims(inspection: Inspection, segment: bytes, has_category: bool) -> None:
    text = decode_checked(segment)
    payload = inspection.judge("payload", lambda: read_payload(text), count(len(text), "byte"))
    if payload is None:
        inspection.skip("the payload cannot be read", *RULES[RULES.index("payload") + 1 : -1])
        return
    inspection.payload = payload
    policy, now = inspection.policy, inspection.checked_at
    times = ", ".join(
        f"{claim} {describe_time(payload[claim], now)}"
        for claim in ("exp", "nbf", "iat")
        if claim in payload
    )

    def check_window() -> None:
        check_times(read_times(payload), policy, has_category=has_category, now=now)

    inspection.judge("time", check_window, times or "no times")
    unchecked = {
        "party": "" if policy.authorized_parties else "AUTHORIZED_PARTIES is empty",
        "audience": "" if policy.audiences else "AUDIENCE is not set",
    }
    checks: dict[str, tuple[Callable[[], object], tuple[str, ...]]] = {
        "issuer": (lambda: check_issuer(payload, policy), ("iss",)),
        "identity": (lambda: check_identity(payload), ("sub", "sid")),
        "party": (lambda: check_party(payload, policy), ("azp",)),
        "audience": (lambda: check_audience(payload, policy), ("aud",)),
        "session": (lambda: check_session(payload, policy), ("sts",)),
    }
    for rule, (check, claims) in checks.items():
        found = show_members(payload, *claims)
        if why := unchecked.get(rule):
            inspection.skip(why, rule, found=found)
        else:
            inspection.judge(rule, check, found)
